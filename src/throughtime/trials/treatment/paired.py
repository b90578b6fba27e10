"""``PairedTrial``: the same training with a remedy, or with none."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from throughtime.prescription import treated
from throughtime.problem import Problem
from throughtime.trials.trial import keyed

Make = Callable[[int], Problem]

UNTREATED = "none"
_LONGEST = 60  # letters of a subject in the name of a run directory
_UNFIT = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, kw_only=True)
class PairedTrial:
    """One training of a problem under a remedy.

    For one seed all remedies change the same first weights and read the same batches, over the same
    number of updates.

    Attributes:
        make: ``make(seed)`` gives the untreated problem; sent to other processes (pickled).
        subject: what is treated, in a word or two.
        source: what ``make`` is, so exactly that another one has another text; see ``described``.
        remedy: ``none``, a name in ``TREATMENTS``, or several joined by ``+``.
        span: how many steps back the task needs to see.
        seed: of the first weights, of what the remedy draws and of the batches.
        steps: updates.
        until_solved: end the training once the problem is solved.
        evaluate_every: updates between two evaluations; 0: after the last one alone.
        measure_every: updates between two measured horizons; 0 for none.
        checkpoint_every: updates between two checkpoints.
    """

    make: Make
    subject: str
    source: str
    remedy: str
    span: int
    seed: int
    steps: int
    until_solved: bool = False
    evaluate_every: int = 0
    measure_every: int = 0
    checkpoint_every: int = 100

    @property
    def key(self) -> str:
        """Subject, span, remedy and seed, and a short digest of all facts."""
        name = _UNFIT.sub("-", self.subject).strip("-.")[:_LONGEST]
        return keyed(f"{name}-{self.span}-{self.remedy}-seed{self.seed}", self.facts)

    @property
    def facts(self) -> dict[str, Any]:
        """All but ``make``, for which ``source`` stands."""
        return {name: value for name, value in vars(self).items() if name != "make"}

    @property
    def cost(self) -> float:
        """Updates: the time steps of a batch are the same for all."""
        return self.steps

    def problem(self) -> Problem:
        """A new one with the remedy applied. Raises ``InputError`` where that does not fit."""
        return treated(self.make(self.seed), self.remedy, self.span, self.seed)

    def options(self) -> dict[str, Any]:
        """How ``train`` is called: all that a remedy may change it takes from the problem."""
        return {
            "steps": self.steps,
            "seed": self.seed,
            "span": self.span,
            "measure_every": self.measure_every,
            "evaluate_every": self.evaluate_every,
            "stop": "solved" if self.until_solved else None,
            "checkpoint_every": self.checkpoint_every,
        }
