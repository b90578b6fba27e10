"""``Plan``: how to train, as ``train`` was told; checked before any work."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from torch.optim import Optimizer

from throughtime.errors import InputError
from throughtime.problem import Clipper, MakeOptimizer, Problem
from throughtime.runs import RunDirectory
from throughtime.training.schedules import Schedule, check_schedule
from throughtime.training.stopping import Stop, check_stop
from throughtime.typed import checked_count

Run = str | os.PathLike[str] | RunDirectory | None
_OFF = (None, False)
OnStep = Callable[[int, float], object]
Own = Literal["own"]  # the problem's own


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The arguments of ``train``, which explains them, beside the problem."""

    steps: int
    seed: int
    optimizer: MakeOptimizer | None
    lr: float | None
    schedule: str | Schedule | None
    clip: float | Clipper | Own | None
    window: int | Own | None
    measure_every: int
    span: int | None
    evaluate_every: int
    stop: Stop
    run: Run
    resume: bool
    checkpoint_every: int
    settings: Mapping[str, Any] | None
    on_step: OnStep | None
    progress: bool

    def settled(self, problem: Problem) -> Self:
        """The same plan with what it left to the problem; checked.

        Raises:
            InputError: with what to give instead.
        """
        clip = problem.clip if self.clip == "own" else self.clip
        window = problem.window if self.window == "own" else self.window
        plan = replace(self, clip=clip, window=window)
        plan.check(problem)
        return plan

    def check(self, problem: Problem) -> None:
        """Refuse what is out of range, and what the problem has not got.

        Raises:
            InputError: with what to give instead.
        """
        for name in ("steps", "measure_every", "evaluate_every"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}: give at least 0")
        for name in ("span", "window", "checkpoint_every"):
            if getattr(self, name) is not None:
                checked_count(getattr(self, name), name, "train")
        if isinstance(self.clip, int | float) and not self.clip > 0:
            raise InputError(f"clip is {self.clip}: give a norm above 0, or None to clip nothing")
        if self.lr is not None and not self.lr >= 0:
            raise InputError(f"lr is {self.lr}: give a learning rate of at least 0")
        if self.window is not None and (problem.windows is None or problem.carry is None):
            raise InputError(
                f"{problem.name} cannot be cut through time: give its Problem windows= and carry="
            )
        if self.evaluate_every and problem.evaluate is None:
            raise InputError(f"{problem.name} cannot be evaluated: give its Problem evaluate=")
        check_schedule(self.schedule)
        check_stop(self.stop, problem, self.evaluate_every)

    def describe(self, problem: Problem, optimizer: Optimizer, processes: int) -> dict[str, Any]:
        """What the numbers of a training depend on, in plain values: what a resumed one must share.

        How often it is measured, evaluated and saved is not among them.
        """
        schedule = self.schedule
        return {
            "problem": problem.name,
            "seed": self.seed,
            "optimizer": _described(optimizer),
            "schedule": schedule.__qualname__ if callable(schedule) else schedule,
            "clip": repr(self.clip) if callable(self.clip) else self.clip,
            "window": self.window,
            "processes": processes,
            **({"backward": _named(problem.backward)} if problem.backward else {}),
            **(self.settings or {}),
        }


def _described(optimizer: Optimizer) -> str:
    """The name of an optimiser and the options of its groups, as in ``Adam(lr=0.001, ...)``."""
    groups = []
    for group in optimizer.param_groups:
        options = {name: value for name, value in group.items() if name != "params"}
        # What is off is not told: a newer torch has more of it.
        told = ", ".join(f"{name}={value}" for name, value in options.items() if value not in _OFF)
        if told not in groups:
            groups.append(told)
    return f"{type(optimizer).__name__}({'; '.join(groups)})"


def _named(function: object) -> str:
    """An object by its settings, which its ``repr`` tells; a function by its name."""
    return str(getattr(function, "__qualname__", repr(function)))
