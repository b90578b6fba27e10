"""``Treated``: what the paired trials came to, arm by arm, as plain values."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from throughtime.trials.treatment.patch import Patch
from throughtime.trials.treatment.statistics import Comparison

Answer = Literal["helped", "none", "solved already", "neither learned", "unknown"]

SATISFIED = ("helped", "solved already")
"""The answers after which nothing is left to find."""

_LEARNED = 0.95
"""Times the trivial loss: what ends above has learned nothing that is worth its name."""


@dataclass(frozen=True)
class End:
    """How one trial ended.

    Attributes:
        seed: of the trial.
        status: ``solved``, ``done`` or ``diverged``; any other means that it has no result.
        solved: whether the score after the last update meets the criterion; None without one.
        solved_at: updates after which an evaluation first met it, of a trial that ended solved.
        loss: on held-out data where ``evaluate`` gives a ``loss``, else the mean over the last
            tenth of the training; infinite where it diverged.
        horizon: after the last update, in steps; None where it was not measured.
        updates: made.
        reason: one line about a trial without a good end.
    """

    seed: int
    status: str
    solved: bool | None = None
    solved_at: int | None = None
    loss: float = math.inf
    horizon: int | None = None
    updates: int = 0
    reason: str = ""

    @property
    def has_result(self) -> bool:
        """Whether the trial was carried out, to whatever end."""
        return self.status in ("solved", "done", "diverged")


@dataclass(frozen=True)
class Arm:
    """All seeds under one remedy.

    Attributes:
        remedy: its name; ``none`` for the untreated model.
        ends: one for each seed.
        solved_gain: solved (1) or not (0) against the untreated model; None without a criterion,
            for the untreated model itself, and where a trial has no result.
        loss_change: the same for the loss; what diverged counts as the largest loss that any trial
            began or ended with.
    """

    remedy: str
    ends: tuple[End, ...]
    solved_gain: Comparison | None = None
    loss_change: Comparison | None = None

    @property
    def decisive(self) -> Comparison | None:
        """What the answer rests on: seeds solved where there is a criterion, else the loss."""
        return self.loss_change if self.solved_gain is None else self.solved_gain

    @property
    def is_complete(self) -> bool:
        """Whether every trial has a result."""
        return all(end.has_result for end in self.ends)

    @property
    def solved(self) -> int:
        """How many seeds ended solved."""
        return sum(bool(end.solved) for end in self.ends)

    @property
    def diverged(self) -> int:
        """How many seeds diverged."""
        return sum(end.status == "diverged" for end in self.ends)

    @property
    def loss(self) -> float:
        """The median over the seeds; infinite where most diverged."""
        return statistics.median(end.loss for end in self.ends)

    def learned(self, trivial_loss: float | None) -> bool:
        """Whether a seed was solved, or most ended well below the trivial loss, if one is known."""
        return bool(self.solved) or _is_below(self.loss, trivial_loss)

    def ever_learned(self, trivial_loss: float | None) -> bool:
        """Whether a seed was solved or ended well below the trivial loss, if one is known."""
        return bool(self.solved) or any(_is_below(end.loss, trivial_loss) for end in self.ends)

    @property
    def updates_needed(self) -> float | None:
        """The median number of updates of the seeds that ended solved; None where none did."""
        needed = [end.solved_at for end in self.ends if end.solved and end.solved_at is not None]
        return statistics.median(needed) if needed else None

    @property
    def horizon(self) -> int | None:
        """The median after training, in steps; None where it was never measured."""
        found = [end.horizon for end in self.ends if end.horizon is not None]
        return statistics.median_low(found) if found else None


@dataclass(frozen=True)
class Treated:
    """The proof: paired trials of a model with and without remedies.

    Attributes:
        subject: what was treated.
        span: how many steps back the task needs to see.
        steps: updates of each trial.
        seeds: one pair of trials each.
        criterion: when a trial counts as solved, in words; None without one.
        loss_name: what the losses of the arms are.
        arms: the untreated model first, then the remedies in the order in which they were tried.
        trivial_loss: of the best answer that never looks at its input; None where not known.
        answer: ``helped``, ``none`` (none is proven to), ``solved already`` (the untreated model),
            ``neither learned`` (all ended at the trivial loss), or ``unknown`` (no arm has all its
            results).
        best: the remedy that helped most; None where none is proven to.
        verdict: the answer in a plain sentence.
        evidence: sentences about how sure that is, and about the other remedies.
        notes: what a reader must know about the trials themselves.
        patch: what to change in the user's file; None without a best remedy, or without a file.
        folder: the directory of the study.
        files: what was written there.
    """

    subject: str
    span: int
    steps: int
    seeds: tuple[int, ...]
    criterion: str | None
    loss_name: str
    trivial_loss: float | None
    arms: tuple[Arm, ...]
    answer: Answer
    best: str | None
    verdict: str
    evidence: tuple[str, ...]
    notes: tuple[str, ...]
    patch: Patch | None
    folder: Path
    files: tuple[str, ...]

    def arm(self, remedy: str) -> Arm:
        """The arm of a remedy, ``none`` for the untreated one. Raises ``KeyError``."""
        return {arm.remedy: arm for arm in self.arms}[remedy]

    @property
    def proven(self) -> bool:
        """Whether a remedy helped, chance being an unlikely explanation."""
        return self.best is not None

    @property
    def exit_code(self) -> int:
        """That of the command line: 0 where a remedy helped or none was needed, else 1."""
        return 0 if self.answer in SATISFIED else 1

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists; what is not finite as ``"inf"`` or ``"nan"``."""
        found = asdict(self) | {"folder": str(self.folder), "proven": self.proven}
        for arm, plain in zip(self.arms, found["arms"], strict=True):
            plain |= {
                "solved": arm.solved if self.criterion else None,
                "updates_needed": arm.updates_needed,
                "loss": arm.loss,
                "horizon": arm.horizon,
                "diverged": arm.diverged,
            }
        encoded = _encoded(found)
        assert isinstance(encoded, dict)
        return encoded


def end_of(seed: int, result: Mapping[str, Any]) -> End:
    """The end of a trial from its recorded result, or from how its worker left it."""
    status = str(result.get("status"))
    solved = result.get("solved") if status != "diverged" else _unsolved(result)
    return End(
        seed,
        status,
        solved,
        result.get("solved_at") if solved else None,
        math.inf if status == "diverged" else _loss(result),
        result.get("horizon"),
        result.get("updates", 0),
        result.get("reason", ""),
    )


def largest_loss(results: Sequence[Mapping[str, Any]]) -> float:
    """The largest finite loss that any trial began or ended with; 0 where there is none."""
    seen = [loss for result in results for _, loss in list(result.get("curve", ()))[:1]]
    seen += [_loss(result) for result in results if result.get("status") != "diverged"]
    return max((loss for loss in seen if math.isfinite(loss)), default=0.0)


def _is_below(loss: float, trivial: float | None) -> bool:
    return trivial is None or trivial <= 0 or loss < _LEARNED * trivial


def _loss(result: Mapping[str, Any]) -> float:
    """That on held-out data, else that of the end of training; what is no number is the worst."""
    held_out = result.get("scores", {}).get("loss")
    loss = result.get("closing_loss") if held_out is None else held_out
    return float(loss) if loss is not None and math.isfinite(loss) else math.inf


def _unsolved(result: Mapping[str, Any]) -> bool | None:
    return None if result.get("criterion") is None else False


def _encoded(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _encoded(inner) for name, inner in value.items()}
    return [_encoded(inner) for inner in value] if isinstance(value, (list, tuple)) else value
