"""The verdict of paired trials in plain sentences: which remedy helped, by how much; or none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from throughtime.trials.treatment.result import Answer, Arm
from throughtime.trials.treatment.statistics import Comparison, seeds_needed

_ALL_DIVERGED = (
    "None helped: every training diverged, with remedies and without. Look at the data, the loss "
    "function, the read-out and the learning rate."
)


class Verdict(NamedTuple):
    """The answer, the best remedy if one helped, both in a sentence, and what supports it."""

    answer: Answer
    best: str | None
    sentence: str
    evidence: tuple[str, ...] = ()


def judge(arms: Sequence[Arm], criterion: str | None, loss_name: str) -> Verdict:
    """What the trials show.

    A remedy helped where more seeds end solved, or without a criterion where the loss is lower, and
    the interval of the paired difference leaves out 0. Until the test calls it proof the sentence
    says no more than that it seems to.

    Args:
        arms: the untreated model first, compared.
        criterion: when a trial counts as solved; None without one.
        loss_name: what the losses are.
    """
    untreated, tried = arms[0], arms[1:]
    judged = [arm for arm in tried if arm.loss_change is not None]
    if not untreated.is_complete or (tried and not judged):
        return Verdict("unknown", None, f"No answer: {_trouble(arms)}")
    helped = [arm for arm in judged if _moved(arm, better=True)]
    told = _Telling(untreated, judged, criterion, loss_name)
    if criterion is not None and untreated.solved == len(untreated.ends):
        verdict = Verdict("solved already", None, told.solved_already(), told.sooner())
    elif judged and all(arm.diverged == len(arm.ends) for arm in (untreated, *judged)):
        verdict = Verdict("none", None, _ALL_DIVERGED)
    elif not helped:
        verdict = Verdict("none", None, told.none(), told.why_none())
    else:
        best = min(helped, key=_rank)
        others = [arm for arm in helped if arm is not best]
        verdict = Verdict("helped", best.remedy, told.helped(best), told.proof(best, others))
    missing = () if all(arm.is_complete for arm in tried) else (f"Not judged: {_trouble(arms)}",)
    return verdict._replace(evidence=(*verdict.evidence, *told.harm(), *missing))


def _moved(arm: Arm, better: bool) -> bool:
    """Whether what decides went this way: more seeds solved are better, and less loss."""
    up = better if arm.solved_gain is not None else not better
    return _decisive(arm).away(+1 if up else -1)


def _decisive(arm: Arm) -> Comparison:
    assert arm.decisive is not None, "only what has all its results is judged"
    return arm.decisive


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
        first = min(faster, key=_rank)
        return (f"With {first.remedy} it does so {_updates(first)}.",)

    def none(self) -> str:
        """No remedy helped."""
        before = f"the untreated model {self._outcome(self._untreated)}"
        if not self._judged:
            return f"No remedy helped, since none was tried: {before}."
        closest = min(self._judged, key=_rank)
        after = self._outcome(closest)
        if len(self._judged) == 1:
            return f"{closest.remedy} did not help: it {after}; {before}."
        none = f"None of {len(self._judged)} remedies helped"
        return f"{none}: the best, {closest.remedy}, {after}; {before}."

    def why_none(self) -> tuple[str, ...]:
        """A difference that may be chance, and one that is not what was asked for."""
        said = []
        closest = min(self._judged, key=_rank, default=self._untreated)
        gain = closest.decisive
        if gain is not None and gain.mean and (gain.mean > 0) == bool(self._criterion):
            said.append(f"The difference may be chance: {self._test(gain)}.")
        solving = [arm for arm in self._judged if arm.solved_gain is not None]
        lower = [arm for arm in solving if arm.loss_change and arm.loss_change.away(-1)]
        if lower:
            least = min(lower, key=lambda arm: arm.loss)
            said.append(f"{least.remedy} lowered the loss without solving it: {self._loss(least)}.")
        return tuple(said)

    def helped(self, best: Arm) -> str:
        """One remedy at least helped."""
        helped = f"{best.remedy} {'helped' if _decisive(best).proven else 'seems to help'}"
        if not self._criterion:
            return f"{helped}: {self._loss(best)}."
        after = f"it solved {_share(best)} seeds, {_updates(best)}"
        before = f"the untreated model {_share(self._untreated)}"
        return f"{helped}: {after}, and {before}; {self._loss(best)}."

    def proof(self, best: Arm, others: Sequence[Arm]) -> tuple[str, ...]:
        """How sure that is, and what else helped."""
        gain = _decisive(best)
        said = [f"{'Proof' if gain.proven else 'Not yet proof'}: {self._test(gain)}."]
        for word, proven in (("Also helped", True), ("May help too", False)):
            names = [arm.remedy for arm in others if _decisive(arm).proven == proven]
            said += [f"{word}: {', '.join(names)}."] if names else []
        return tuple(said)

    def harm(self) -> list[str]:
        """What made it worse."""
        before = self._outcome(self._untreated)
        harmed = [arm for arm in self._judged if _moved(arm, better=False)]
        words = {True: "made it worse", False: "seems to make it worse"}
        return [
            f"{arm.remedy} {words[_decisive(arm).proven]}: it {self._outcome(arm)}, the "
            f"untreated model {before}."
            for arm in harmed
        ]

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
        if comparison.proven or comparison.corrected > comparison.smallest * 1.001:
            return said
        seeds = "1 seed" if pairs == 1 else f"{pairs} seeds"
        return (
            f"{said}, the least that {seeds} can give; {seeds_needed(number)} could give less "
            "than 0.05"
        )


def _share(arm: Arm) -> str:
    return f"{arm.solved} of {len(arm.ends)}"


def _updates(arm: Arm) -> str:
    needed = arm.updates_needed
    return "" if needed is None else f"after {needed:,.0f} updates (median)"


def _median(arm: Arm) -> str:
    return f"{arm.loss:.3g}" if math.isfinite(arm.loss) else "diverged"
