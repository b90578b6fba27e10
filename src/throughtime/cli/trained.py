"""What a training came to: a few lines for people, one object for programs."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughtime.cli.output import print_json
from throughtime.errors import counted, plain

if TYPE_CHECKING:
    from throughtime.errors import DivergedError
    from throughtime.problem import Problem
    from throughtime.training import Training

_OVER = 100  # batches over which the loss is averaged for a reader


def show_training(
    done: Training,
    problem: Problem,
    steps: int,
    run: Path | None,
    as_json: bool,
    error: DivergedError | None = None,
) -> None:
    """Print what came of ``steps`` planned updates; ``error``: why there are no more."""
    if as_json:
        reason = {} if error is None else {"reason": str(error)}
        print_json({**_facts(done, problem, run), **reason})
    else:
        sys.stdout.write("\n".join(_lines(done, problem, steps, run)) + "\n")


def _facts(done: Training, problem: Problem, run: Path | None) -> dict[str, Any]:
    """One object. The losses of all batches are in the journal of the run."""
    facts = done.to_dict()
    del facts["losses"], facts["norms"], facts["evaluations"]
    return {
        "problem": problem.name,
        "span": problem.span,
        "trivial_loss": problem.trivial_loss,
        "criterion": None if problem.solved is None else str(problem.solved),
        "run": None if run is None else str(run),
        **facts,
    }


def _lines(done: Training, problem: Problem, steps: int, run: Path | None) -> list[str]:
    rows = {
        "training loss": _training_loss(done, problem),
        "held out": ", ".join(f"{name} {value:.4g}" for name, value in done.scores.items()),
        "horizon": _horizon(done, problem),
        "clipped": f"{100 * done.clipped:.0f} % of the updates",
        "time": counted(round(done.seconds), "second"),
        "run": "" if run is None else f"{plain(run)} ({_recorded(done)})",
    }
    head = f"{plain(problem.name)}: {_ending(done, problem, steps)}"
    return [head, *(f"  {name:<14} {told}" for name, told in rows.items() if told)]


def _recorded(done: Training) -> str:
    """What the run directory holds of it."""
    if done.unrecorded:
        return f"not recorded to the end: {done.unrecorded}"
    return "journal, and a checkpoint to go on from"


def _ending(done: Training, problem: Problem, steps: int) -> str:
    made = (
        counted(done.steps, "update")
        if done.steps == steps
        else f"{done.steps:,} of {counted(steps, 'update')}"
    )
    if problem.solved is None:
        return f"trained, {made}"
    bound = f"({problem.solved} on data kept apart)"
    if done.solved_at is None:
        return f"not solved after {made} {bound}"
    return f"solved at update {done.solved_at:,} {bound}; {made} made"


def _training_loss(done: Training, problem: Problem) -> str:
    if not done.losses:
        return ""
    last = done.losses[-_OVER:]
    told = (
        f"{math.fsum(last) / len(last):.4g} over the last {counted(len(last), 'batch', 'batches')}"
    )
    if problem.trivial_loss is None:
        return told
    return f"{told}; {problem.trivial_loss:.4g} for an answer that never looks at its input"


def _horizon(done: Training, problem: Problem) -> str:
    if done.horizon is None:
        return ""
    first = done.horizons[0]
    before = f", {first.horizon} before training" if first.step == 0 else ""
    return f"{counted(done.horizon, 'step')}{before}; the task looks {problem.span} back"
