"""One setting of a sweep: the trial at a point of a grid."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from throughtime.problem import Problem
from throughtime.tasks import make_task
from throughtime.trials import remedy
from throughtime.trials.trial import keyed


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One training: task, cell, remedy, length and seed, and all else that its numbers depend on.

    Attributes:
        task: name of the task (``throughtime.tasks.TASKS``).
        cell: name of the cell (``throughtime.cells.CELLS``).
        remedy: what is tried, see ``remedy.py``: ``none``, ``clip``, ``orthogonal+clip`` …
        length: of the task, in its own measure: steps, delay, distance or window.
        seed: of initialisation and batches: the same under every remedy.
        steps: updates.
        variant: of the task; None for its own first one.
        hidden: hidden units H.
        batch: sequences at a time; None for the task's own.
        lr: learning rate; None for the task's own.
        schedule: of the learning rate; None for constant.
        clip: longest gradient, where the remedy clips.
        window: steps of truncated backpropagation; None for all.
        until_solved: end the training once the task is solved.
        evaluate_every: updates between two evaluations.
        measure_every: updates between two measured horizons.
        checkpoint_every: updates between two checkpoints.
    """

    task: str
    cell: str
    remedy: str
    length: int
    seed: int
    steps: int
    variant: str | None = None
    hidden: int = 128
    batch: int | None = None
    lr: float | None = None
    schedule: str | None = None
    clip: float | None = None
    window: int | None = None
    until_solved: bool = False
    evaluate_every: int
    measure_every: int
    checkpoint_every: int = 100

    @property
    def facts(self) -> dict[str, Any]:
        """All of it in plain values; what is None is left to the task."""
        return asdict(self)

    @property
    def key(self) -> str:
        """A readable name and a short digest of all of it: the name of its run directory."""
        name = f"{self.task}-{self.length}-{self.cell}-{self.remedy}-seed{self.seed}"
        return keyed(name, self.facts)

    @property
    def cost(self) -> float:
        """How long it takes beside other settings: time steps of all updates."""
        return self.steps * self.length

    def problem(self) -> Problem:
        """The task with its first weights: paired over all remedies of the same seed."""
        more = {} if self.variant is None else {"variant": self.variant}
        problem = make_task(
            self.task,
            cell=self.cell,
            length=self.length,
            hidden=self.hidden,
            batch=self.batch,
            seed=self.seed,
            **more,
        )
        remedy.initialise(problem, self.remedy, self.seed)
        return problem

    def options(self) -> dict[str, Any]:
        """How ``train`` is called; no remedy but clipping has a part in it."""
        return {
            "steps": self.steps,
            "seed": self.seed,
            "lr": self.lr,
            "schedule": self.schedule,
            "clip": self.clip,
            "window": self.window,
            "measure_every": self.measure_every,
            "evaluate_every": self.evaluate_every,
            "stop": "solved" if self.until_solved else None,
            "checkpoint_every": self.checkpoint_every,
        }
