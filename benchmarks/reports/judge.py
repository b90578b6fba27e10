"""Diagnose a report as its author would, and compare the answer with the thread."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import throughtime as tt
from benchmarks.reports.report import Report

VERDICTS = frozenset({"healthy", "vanishing", "exploding", "non-finite", "unknown"})
REMARKS = frozenset({"budget", "assumed span"})
"""Findings that are not causes."""
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
"""Findings about mistakes in the code: a wrong one sends its reader in the wrong direction."""
NO_CAUSE = frozenset({"healthy", "unknown"})


@dataclass(frozen=True)
class Answer:
    """The answer to one report.

    Attributes:
        report: the report.
        first: the first cause, else the verdict; or the name of the error that was raised.
        verdict: the verdict; empty if an error was raised.
        found: the diseases of all findings.
        sentence: the sentence of the first cause, or the message of the error.
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
        """First answers and mistakes in the code that are neither the cause nor noted as true."""
        named = self.found & MADE
        if self.verdict and self.first not in NO_CAUSE:
            named |= {self.first}
        return named - self.report.right - self.report.also


def answers(reports: Sequence[Report], seed: int) -> Iterator[Answer]:
    """The answers to all reports, built with ``seed``."""
    for report in reports:
        yield ask(report, seed)


def ask(report: Report, seed: int) -> Answer:
    """Observe one forward and backward pass of the report's closure, and diagnose it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, closure = report.build(seed)
        try:
            diagnosis = tt.diagnose(tt.observe(model, closure), span=report.span)
        except Exception as error:  # noqa: BLE001  — any error is an answer
            return Answer(report, type(error).__name__, "", frozenset(), str(error))
    causes = [cause for cause in diagnosis.causes if cause.disease not in REMARKS]
    first, sentence = (
        (causes[0].disease, causes[0].sentence)
        if causes
        else (diagnosis.verdict, diagnosis.sentence)
    )
    found = frozenset(finding.disease for finding in diagnosis.findings)
    return Answer(report, first, diagnosis.verdict, found, sentence)
