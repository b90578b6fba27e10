"""Ask throughtime about a report, as a person would, and hold its answer against the thread's."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import throughtime as tt
from benchmarks.reports.report import Report

VERDICTS = frozenset({"healthy", "vanishing", "exploding", "non-finite", "unknown"})
REMARKS = frozenset({"budget", "assumed span"})
"""Findings that explain or remark, and are no cause."""
MADE = frozenset(
    {
        "no gradient",
        "too short",
        "partial loss",
        "axes swapped",
        "dead parameters",
        "weights changed",
        "episodes",
        "truncated",
        "partly detached",
        "state not handed on",
        "state carried",
    }
)
"""What a person made, and a measurement did not: a wrong one of these sends the person astray."""
NO_CAUSE = frozenset({"healthy", "unknown"})


@dataclass(frozen=True)
class Answer:
    """What was said of one report.

    Attributes:
        report: the report.
        first: the first cause; the verdict if there is none; the name of an error.
        verdict: the verdict; empty where an error was raised.
        found: the diseases of all findings.
        sentence: the sentence of the first cause, or the error's.
    """

    report: Report
    first: str
    verdict: str
    found: frozenset[str]
    sentence: str

    @property
    def right(self) -> bool:
        return self.first in self.report.right

    @property
    def false_causes(self) -> frozenset[str]:
        """Named first, or made by a person, and neither the cause nor true beside it."""
        named = self.found & MADE
        if self.verdict and self.first not in NO_CAUSE:
            named |= {self.first}
        return named - self.report.right - self.report.also


def answers(reports: Sequence[Report], seed: int) -> Iterator[Answer]:
    """The answer to each report, all of them drawn from ``seed``."""
    for report in reports:
        yield ask(report, seed)


def ask(report: Report, seed: int) -> Answer:
    """Observe one forward and backward pass of the report's closure, and diagnose it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, closure = report.build(seed)
        try:
            diagnosis = tt.diagnose(tt.observe(model, closure), span=report.span)
        except Exception as error:  # noqa: BLE001  # also what nobody meant to raise
            return Answer(report, type(error).__name__, "", frozenset(), str(error))
    causes = [cause for cause in diagnosis.causes if cause.disease not in REMARKS]
    first, sentence = (
        (causes[0].disease, causes[0].sentence)
        if causes
        else (diagnosis.verdict, diagnosis.sentence)
    )
    found = frozenset(finding.disease for finding in diagnosis.findings)
    return Answer(report, first, diagnosis.verdict, found, sentence)
