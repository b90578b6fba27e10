"""The sentences about the arms of one study: who helped, by how much, how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from throughtime.trials.treatment.result import Arm
from throughtime.trials.treatment.statistics import LEVEL, Comparison, seeds_needed


def rank(arm: Arm) -> tuple[int, float, float]:
    """Smaller is better: seeds solved, updates needed, loss."""
    needed = math.inf if arm.updates_needed is None else arm.updates_needed
    return -arm.solved, needed, arm.loss


class Telling:
    """The sentences about the arms of one study."""

    def __init__(
        self, untreated: Arm, judged: Sequence[Arm], criterion: str | None, loss_name: str
    ) -> None:
        self._untreated, self._judged = untreated, judged
        self._criterion, self._loss_name = criterion, loss_name

    def solved_already(self) -> str:
        """No remedy was needed."""
        solved = f"{_share(self._untreated)} seeds, {_updates(self._untreated)}"
        return f"The untreated model already solves it: {solved}."

    def sooner(self) -> tuple[str, ...]:
        """What makes it learn faster all the same."""
        before = self._untreated.updates_needed or 0.0
        all_solved = [arm for arm in self._judged if arm.solved == len(arm.ends)]
        faster = [arm for arm in all_solved if (arm.updates_needed or before) < before]
        if not faster:
            return ()
        first = min(faster, key=rank)
        return (f"With {first.remedy} it does so {_updates(first)}.",)

    def neither_learned(self, trivial_loss: float) -> str:
        """No arm ended below the loss of an answer that ignores the input."""
        losses = [f"{arm.remedy} {_median(arm)}" for arm in self._judged]
        none = "Neither learned" if len(losses) == 1 else "None learned"
        return (
            f"{none}: every training ended at the trivial loss, {trivial_loss:.3g}, that of the "
            f"best answer without a look at the input ({self._loss_name}, median: untreated "
            f"{_median(self._untreated)}, {', '.join(losses)}). A difference there is no help: "
            "train longer, or with another learning rate."
        )

    def none(self) -> str:
        """No remedy is shown to help."""
        before = f"the untreated model {self._outcome(self._untreated)}"
        if not self._judged:
            return f"No remedy helped, since none was tried: {before}."
        closest, number = min(self._judged, key=rank), len(self._judged)
        after = self._outcome(closest)
        if self._leans(closest, better=True):
            if number == 1:
                return f"{closest.remedy} is not proven to help: it {after}; {before}."
            none = f"None of {number} remedies is proven to help"
        elif number == 1:
            return f"{closest.remedy} did not help: it {after}; {before}."
        else:
            none = f"None of {number} remedies helped"
        return f"{none}: the best, {closest.remedy}, {after}; {before}."

    def why_none(self) -> tuple[str, ...]:
        """A difference that may be chance, and one that is not what was asked for."""
        said = []
        closest = min(self._judged, key=rank, default=self._untreated)
        gain = closest.decisive
        if gain is not None and gain.proven:
            said.append(
                f"{closest.remedy} lowered the loss, but most seeds are at the trivial one."
            )
        elif gain is not None and gain.mean and (gain.mean > 0) == bool(self._criterion):
            said.append(f"The difference may be chance: {self._test(gain)}.")
        solving = [arm for arm in self._judged if arm.solved_gain is not None]
        lower = [arm for arm in solving if arm.loss_change and arm.loss_change.proven]
        if lower:
            least = min(lower, key=lambda arm: arm.loss)
            said.append(f"{least.remedy} lowered the loss without solving it: {self._loss(least)}.")
        return tuple(said)

    def helped(self, best: Arm) -> str:
        """One remedy at least helped."""
        if not self._criterion:
            return f"{best.remedy} helped: {self._loss(best)}."
        after = f"it solved {_share(best)} seeds, {_updates(best)}"
        before = f"the untreated model {_share(self._untreated)}"
        return f"{best.remedy} helped: {after}, and {before}; {self._loss(best)}."

    def proof(self, best: Arm, others: Sequence[Arm]) -> tuple[str, ...]:
        """How sure that is, and what else helped."""
        said = [f"Proof: {self._test(decisive_of(best))}."]
        also = [arm.remedy for arm in others if decisive_of(arm).proven]
        maybe = [
            arm.remedy
            for arm in others
            if self._leans(arm, better=True) and not decisive_of(arm).proven
        ]
        said += [f"Also helped: {', '.join(also)}."] if also else []
        said += [f"Better as well, but not proven: {', '.join(maybe)}."] if maybe else []
        return tuple(said)

    def harm(self) -> list[str]:
        """What made it worse."""
        before = self._outcome(self._untreated)
        harmed = [arm for arm in self._judged if self._leans(arm, better=False)]
        words = {True: "made it worse", False: "seems to make it worse"}
        return [
            f"{arm.remedy} {words[decisive_of(arm).harmful]}: it {self._outcome(arm)}, the "
            f"untreated model {before}."
            for arm in harmed
        ]

    def _leans(self, arm: Arm, *, better: bool) -> bool:
        """Whether the interval of what decides lies on this side: a hint, which decides nothing."""
        up = better if arm.solved_gain is not None else not better
        return decisive_of(arm).away(+1 if up else -1)

    def _outcome(self, arm: Arm) -> str:
        said = f"solved {_share(arm)} seeds," if self._criterion else "had"
        return f"{said} {self._loss_name} {_median(arm)}"

    def _loss(self, arm: Arm) -> str:
        change = arm.loss_change
        assert change is not None
        interval = ""
        if change.low is not None:
            interval = f" (95 % interval {change.low:+.3g} to {change.high:+.3g})"
        return (
            f"{self._loss_name} {_median(arm)} against {_median(self._untreated)} (median), mean "
            f"paired difference {change.mean:+.3g}{interval}"
        )

    def _test(self, comparison: Comparison) -> str:
        number, pairs = len(self._judged), len(comparison.differences)
        corrected = f", corrected for {number} remedies" if number > 1 else ""
        said = f"p = {comparison.corrected:.2g} (paired permutation test{corrected})"
        if comparison.proven or comparison.smallest <= LEVEL:
            return said
        seeds = "1 seed" if pairs == 1 else f"{pairs} seeds"
        return (
            f"{said}; {seeds} cannot give less than {comparison.smallest:.2g}, "
            f"{seeds_needed(number)} could give less than {LEVEL:g}"
        )


def decisive_of(arm: Arm) -> Comparison:
    """What the answer rests on, of an arm that is judged."""
    assert arm.decisive is not None, "only what has all its results is judged"
    return arm.decisive


def _share(arm: Arm) -> str:
    return f"{arm.solved} of {len(arm.ends)}"


def _updates(arm: Arm) -> str:
    needed = arm.updates_needed
    return "" if needed is None else f"after {needed:,.0f} updates (median)"


def _median(arm: Arm) -> str:
    return f"{arm.loss:.3g}" if math.isfinite(arm.loss) else "diverged"
