"""The verdict of paired trials in plain sentences: which remedy helped, by how much; or none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from throughtime.trials.treatment.result import Answer, Arm
from throughtime.trials.treatment.statistics import Comparison, seeds_needed

_PERCENT = 95


class Verdict(NamedTuple):
    """The answer, the best remedy if one helped, and both in sentences."""

    answer: Answer
    best: str | None
    sentence: str


def judge(arms: Sequence[Arm], criterion: str | None, loss_name: str) -> Verdict:
    """What the trials show.

    A remedy helped where more seeds end solved, or without a criterion where the loss is lower, and
    the interval of the paired difference leaves out 0. Whether that is proof, the test tells.

    Args:
        arms: the untreated model first, compared.
        criterion: when a trial counts as solved; None without one.
        loss_name: what the losses are.
    """
    untreated, tried = arms[0], arms[1:]
    judged = [arm for arm in tried if arm.loss_change is not None]
    if not untreated.is_complete or (tried and not judged):
        return Verdict("unknown", None, f"No answer: {_trouble(arms)}")
    told = _Telling(untreated, criterion, loss_name, len(tried))
    if criterion is not None and untreated.solved == len(untreated.ends):
        return Verdict("solved already", None, told.solved_already(judged))
    helped = [arm for arm in judged if _helped(arm, criterion)]
    if not helped:
        return Verdict("none", None, told.none(judged))
    best = min(helped, key=_rank)
    return Verdict("helped", best.remedy, told.helped(best, judged))


def _helped(arm: Arm, criterion: str | None) -> bool:
    if criterion is not None:
        return arm.solved_gain is not None and arm.solved_gain.away(+1)
    return arm.loss_change is not None and arm.loss_change.away(-1)


def _harmed(arm: Arm, criterion: str | None) -> bool:
    if criterion is not None:
        return arm.solved_gain is not None and arm.solved_gain.away(-1)
    return arm.loss_change is not None and arm.loss_change.away(+1)


def _rank(arm: Arm) -> tuple[int, float, float]:
    """Smaller is better: seeds solved, updates needed, loss."""
    needed = math.inf if arm.updates_needed is None else arm.updates_needed
    return -arm.solved, needed, arm.loss


def _trouble(arms: Sequence[Arm]) -> str:
    end = next(end for arm in arms for end in arm.ends if not end.has_result)
    arm = next(arm for arm in arms if end in arm.ends)
    who = "the untreated model" if arm is arms[0] else arm.remedy
    why = f"{end.status}: {end.reason}" if end.reason else end.status
    return f"{who}, seed {end.seed}, has no result ({why})."


class _Telling:
    """The sentences about the arms of one study."""

    def __init__(
        self, untreated: Arm, criterion: str | None, loss_name: str, comparisons: int
    ) -> None:
        self._untreated, self._criterion, self._loss_name = untreated, criterion, loss_name
        self._seeds, self._comparisons = len(untreated.ends), comparisons

    def solved_already(self, judged: Sequence[Arm]) -> str:
        """No remedy was needed."""
        needed = _updates(self._untreated)
        said = [f"The untreated model already solves it: {self._share(self._untreated)}, {needed}."]
        before = self._untreated.updates_needed or 0.0
        sooner = [
            arm
            for arm in judged
            if arm.solved == self._seeds and (arm.updates_needed or before) < before
        ]
        if sooner:
            first = min(sooner, key=_rank)
            said.append(f"With {first.remedy} it does so {_updates(first)}.")
        return " ".join([*said, *self._harm(judged)])

    def none(self, judged: Sequence[Arm]) -> str:
        """No remedy helped."""
        if not judged:
            return f"None did: no remedy was tried. {self._before()}."
        closest = min(judged, key=_rank)
        best = f"the best of {len(judged)}, {closest.remedy}: {self._outcome(closest)}"
        said = [f"None did. {self._before()}; {best}."]
        gain = closest.solved_gain if self._criterion else closest.loss_change
        if gain is not None and gain.mean != 0 and (gain.mean > 0) == bool(self._criterion):
            said.append(f"That may be chance: {self._evidence(gain)}.")
        lower = [arm for arm in judged if self._criterion and _helped(arm, None)]
        if lower:
            least = min(lower, key=lambda arm: arm.loss)
            said.append(f"{least.remedy} lowered the loss without solving it: {self._loss(least)}.")
        return " ".join([*said, *self._harm(judged)])

    def helped(self, best: Arm, judged: Sequence[Arm]) -> str:
        """One remedy at least helped."""
        gain = best.solved_gain if self._criterion else best.loss_change
        assert gain is not None
        if self._criterion:
            after = f"it solved {self._share(best)}, {_updates(best)}"
            before = f"the untreated model {self._share(self._untreated)}"
            said = [
                f"{best.remedy} helped: {after}; {before}.",
                f"{self._loss(best).capitalize()}.",
            ]
        else:
            said = [f"{best.remedy} helped: {self._loss(best)}."]
        said.append(f"{'Proof' if gain.proven else 'Not yet proof'}: {self._evidence(gain)}.")
        others = [arm.remedy for arm in judged if _helped(arm, self._criterion) and arm is not best]
        if others:
            said.append(f"So did {' and '.join(others)}.")
        return " ".join([*said, *self._harm(judged)])

    def _before(self) -> str:
        return f"The untreated model: {self._outcome(self._untreated)}"

    def _share(self, arm: Arm) -> str:
        return f"{arm.solved} of {self._seeds} seeds"

    def _outcome(self, arm: Arm) -> str:
        solved = f"solved {self._share(arm)}, " if self._criterion else ""
        return f"{solved}{self._loss_name} {_median(arm)}"

    def _loss(self, arm: Arm) -> str:
        change = arm.loss_change
        assert change is not None
        interval = (
            ""
            if change.low is None
            else (f", {_PERCENT} % interval {change.low:+.3g} to {change.high:+.3g}")
        )
        return (
            f"{self._loss_name} {_median(arm)} against {_median(self._untreated)} (median), mean "
            f"paired difference {change.mean:+.3g}{interval}"
        )

    def _evidence(self, comparison: Comparison) -> str:
        corrected = f", corrected for {self._comparisons} remedies" if self._comparisons > 1 else ""
        said = f"p = {comparison.corrected:.2g} (paired permutation test{corrected})"
        if comparison.proven or comparison.corrected > comparison.smallest * 1.001:
            return said
        pairs = len(comparison.differences)
        return (
            f"{said}, the least that {pairs} {'seed' if pairs == 1 else 'seeds'} can give; "
            f"{seeds_needed(self._comparisons)} could give less than 0.05"
        )

    def _harm(self, judged: Sequence[Arm]) -> list[str]:
        return [
            f"{arm.remedy} made it worse: {self._outcome(arm)}."
            for arm in judged
            if _harmed(arm, self._criterion)
        ]


def _updates(arm: Arm) -> str:
    needed = arm.updates_needed
    return "" if needed is None else f"after {needed:,.0f} updates (median)"


def _median(arm: Arm) -> str:
    return f"{arm.loss:.3g}" if math.isfinite(arm.loss) else "diverged"
