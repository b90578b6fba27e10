"""Precision, recall and F1 of sets of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.diseases.compare import OURS, PEERS_LABELS, Case
from benchmarks.diseases.truth import HEALTHY, LABELS, NON_FINITE


@dataclass(frozen=True)
class Score:
    """How often a label was named, by whether the network has it."""

    hits: int
    false_alarms: int
    misses: int

    @classmethod
    def of(cls, cases: Sequence[Case], who: str, label: str) -> Score:
        pairs = [(label in case.said[who], label in case.wanted) for case in cases]
        return cls(
            pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True))
        )

    @property
    def support(self) -> int:
        """How many networks have it."""
        return self.hits + self.misses

    @property
    def precision(self) -> float:
        return _share(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        return _share(self.hits, self.support)

    @property
    def f1(self) -> float:
        return _share(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)


def scores(cases: Sequence[Case], who: str = OURS) -> dict[str, Score]:
    """By label. The other tools are asked only about finite runs, and what they have words for."""
    if who == OURS:
        return {label: Score.of(cases, who, label) for label in LABELS}
    finite = [case for case in cases if NON_FINITE not in case.wanted]
    return {label: Score.of(finite, who, label) for label in PEERS_LABELS}


def macro_f1(found: dict[str, Score], labels: Sequence[str] = LABELS) -> float:
    """The plain mean of F1 over the labels."""
    return sum(found[label].f1 for label in labels) / len(labels)


def false_alarms(cases: Sequence[Case], who: str = OURS) -> float:
    """The share of the healthy networks of which a disease is named."""
    healthy = [case for case in cases if HEALTHY in case.wanted]
    return _share(sum(case.said[who] != {HEALTHY} for case in healthy), len(healthy))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
