"""``Training``: what a training has done so far, and in the end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Status = Literal["running", "done", "solved", "stopped", "diverged"]
Scores = dict[str, float]


class Reach(NamedTuple):
    """How far back the gradient of the model reached after so many updates.

    Attributes:
        step: updates made before it was measured.
        horizon: the largest lag at which at least 1 % of the gradient is left, in steps; None where
            nothing was finite.
        gain_at_span: log10 of the median gain at the span, or None.
    """

    step: int
    horizon: int | None
    gain_at_span: float | None


@dataclass
class Training:
    """What a training has done so far, and in the end.

    Attributes:
        losses: the loss of each update's batch, before the update; that of update n is at n - 1.
        norms: the norm of each update's gradient, before clipping: what ``suggest_clip`` reads.
        evaluations: update by update at which the model was evaluated, its scores.
        horizons: how far back the gradient reached, wherever it was measured.
        clipped_steps: how many updates had a gradient longer than ``clip``.
        solved_at: the first update after which an evaluation met the problem's criterion.
        seconds: time that the training took, over all of its sittings.
        status: ``done`` after all steps, ``solved`` or ``stopped`` where it ended early,
            ``diverged`` where it is no longer finite, and before that ``running``.
        unrecorded: why its run directory was no longer written to; empty if all of it was.
    """

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    evaluations: list[tuple[int, Scores]] = field(default_factory=list)
    horizons: list[Reach] = field(default_factory=list)
    clipped_steps: int = 0
    solved_at: int | None = None
    seconds: float = 0.0
    status: Status = "running"
    unrecorded: str = ""

    @property
    def steps(self) -> int:
        """Updates made so far."""
        return len(self.losses)

    @property
    def loss(self) -> float:
        """The loss of the last update's batch; nan before the first."""
        return self.losses[-1] if self.losses else math.nan

    @property
    def scores(self) -> Scores:
        """What the last evaluation gave; empty before the first."""
        return self.evaluations[-1][1] if self.evaluations else {}

    @property
    def clipped(self) -> float:
        """Share of the updates whose gradient was clipped, from 0 to 1."""
        return self.clipped_steps / self.steps if self.losses else 0.0

    @property
    def horizon(self) -> int | None:
        """The last horizon that was measured, in steps; None if none was."""
        return self.horizons[-1].horizon if self.horizons else None

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists; what is not finite as ``"nan"``, ``"inf"``, ``"-inf"``."""
        found = {
            "status": self.status,
            "steps": self.steps,
            "loss": self.loss,
            "scores": dict(self.scores),
            "solved_at": self.solved_at,
            "horizon": self.horizon,
            "clipped": self.clipped,
            "seconds": self.seconds,
            "unrecorded": self.unrecorded or None,
            "horizons": [list(one) for one in self.horizons],
            "evaluations": [[step, dict(scores)] for step, scores in self.evaluations],
            "losses": list(self.losses),
            "norms": list(self.norms),
        }
        encoded = _encoded(found)
        assert isinstance(encoded, dict)
        return encoded


def _encoded(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _encoded(inner) for name, inner in value.items()}
    return [_encoded(inner) for inner in value] if isinstance(value, list) else value
