"""Studies that are drawn instead of trained: the results that ``treat`` would have read.

Every study is concluded by the code that concludes a real one: comparison, verdict, patch, exit
code. Only the trainings are drawn.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from throughtime.loading import FromFile
from throughtime.trials.treatment import Treated
from throughtime.trials.treatment.plan import Plan
from throughtime.trials.treatment.treat import concluded

Draw = Callable[[np.random.Generator, int, int], NDArray[np.float64]]
"""``draw(generator, arms, seeds)``: a loss for each training; infinite where it diverges."""

REMEDIES = ("orthogonal", "identity", "janet", "gru+chrono", "lru")
_BOUND = 0.1
_FILE = """
import torch
import throughtime as tt


def build(seed=0):
    torch.manual_seed(seed)
    model = torch.nn.RNN(2, 4)
    batches = lambda seed: iter([torch.zeros(5, 1, 2)])
    loss = lambda model, x: model(x)[0].square().mean()
    problem = tt.Problem("drawn", model, batches, loss, span=4{more})
    return problem
"""
_SOLVING = ', solved=tt.Criterion("loss", "below", 0.1), evaluate=lambda model: {"loss": 1.0}'


@dataclass(frozen=True)
class World:
    """Where results come from.

    Attributes:
        draw: the losses, the untreated arm first.
        solving: whether there is a bound, 0.1, at which a training counts as solved.
        trivial_loss: of an answer that ignores its input, where it is known.
    """

    draw: Draw
    solving: bool = False
    trivial_loss: float | None = None


def studied(world: World, generator: np.random.Generator, arms: int, seeds: int) -> Treated:
    """One study of so many remedies and seeds, concluded."""
    losses = world.draw(generator, arms + 1, seeds)
    results = [[_result(world, seed, float(one)) for seed, one in enumerate(arm)] for arm in losses]
    folder = _folder()
    with chdir(folder):
        plan = _plan(world.solving, world.trivial_loss, seeds)
        return concluded(plan, ["none", *REMEDIES[:arms]], results, folder, folder)


def _result(world: World, seed: int, loss: float) -> dict[str, Any]:
    """What a run directory records."""
    criterion = f"loss below {_BOUND}" if world.solving else None
    common = {
        "seed": seed,
        "criterion": criterion,
        "trivial_loss": world.trivial_loss,
        "curve": [[1, 1.0 + seed / 1000]],
    }
    if math.isinf(loss):
        return {**common, "status": "diverged", "reason": "at step 3", "updates": 3}
    solved = loss < _BOUND if world.solving else None
    return {
        **common, "status": "solved" if solved else "done", "solved": solved, "updates": 100,
        "scores": {"loss": loss}, "solved_at": 50 if solved else None, "closing_loss": loss,
    }  # fmt: skip  # rows of a table


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="throughtime-chance-"))


@cache
def _plan(solving: bool, trivial_loss: float | None, seeds: int) -> Plan:
    """What ``treat`` makes of its arguments, for a file of this kind."""
    file = f"drawn_{'solving' if solving else 'losing'}_{trivial_loss is not None}.py"
    more = f", trivial_loss={trivial_loss}{_SOLVING if solving else ''}"
    Path(file).write_text(_FILE.format(more=more), encoding="utf-8")
    return Plan(
        make=FromFile.of(f"{file}:build"), steps=100, span=None, seeds=seeds, remedies=None,
        keep_cell=False, subject=None, target=f"{file}:build", evaluate_every=None, measure=False,
        until_solved=False, checkpoint_every=100,
    )  # fmt: skip  # all that treat is asked
