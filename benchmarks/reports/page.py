"""The page of results: all reports, the confusion table, and every error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.reports.judge import Answer
from benchmarks.tables import Table

ENOUGH_RIGHT, TOLERATED_FALSE = 0.85, 2


def tables(answers: Sequence[Answer]) -> list[Table]:
    return [_reports(answers), _confusion(answers)]


def share_right(answers: Sequence[Answer]) -> float:
    """The share of reports with the right first cause."""
    return sum(answer.right for answer in answers) / len(answers)


def false_causes(answers: Sequence[Answer]) -> int:
    """The number of false causes in all reports."""
    return sum(len(answer.false_causes) for answer in answers)


def _reports(answers: Sequence[Answer]) -> Table:
    rows = [
        (
            answer.report.name,
            answer.report.address,
            _or(answer.report.right),
            answer.first,
            "yes" if answer.right else "no",
            ", ".join(sorted(answer.false_causes)),
        )
        for answer in answers
    ]
    share, false = share_right(answers), false_causes(answers)
    right = sum(answer.right for answer in answers)
    return Table(
        f"{len(answers)} public reports",
        "First cause: the conclusion of the thread, written down before the first diagnosis. "
        "First answer: the first cause of the diagnosis (other than the budget and an assumed "
        "span), else its verdict, or the error it raised. A false cause is a first answer, or a "
        "finding about a mistake in the code, that is neither the cause nor noted as true of the "
        "model.",
        ("report", "thread", "first cause", "first answer of throughtime", "right", "false causes"),
        tuple(rows),
        f"The first cause is right in {right} of {len(answers)} reports ({share:.0%}); "
        f"{false} false causes. Bars: at least {ENOUGH_RIGHT:.0%} right: "
        f"{_held(share >= ENOUGH_RIGHT)}; at most {TOLERATED_FALSE} false causes: "
        f"{_held(false <= TOLERATED_FALSE)}.",
    )


def _confusion(answers: Sequence[Answer]) -> Table:
    """Count pairs of first cause and first answer; a right answer stands for its cause."""
    counts = Counter((_wanted(answer), answer.first) for answer in answers)
    wanted = sorted({row for row, _ in counts})
    said = sorted({column for _, column in counts})
    rows = [(row, *(str(counts[row, column] or "") for column in said)) for row in wanted]
    return Table(
        "Confusion table",
        "Number of reports. Rows: first cause. Columns: first answer of throughtime.",
        ("first cause", *said),
        tuple(rows),
    )


def errors(answers: Sequence[Answer]) -> str:
    """Every report with a wrong first answer or a false cause."""
    lines = [
        f"- **{answer.report.name}** ({answer.report.address}). Report: {answer.report.saw} "
        f"Cause: {answer.report.cause} ({_or(answer.report.right)}). "
        f"Answer: {answer.first}: {answer.sentence}"
        for answer in answers
        if not answer.right or answer.false_causes
    ]
    return "\n".join(["## Errors\n", *(lines or ["None."]), ""])


def _wanted(answer: Answer) -> str:
    return answer.first if answer.right else _or(answer.report.right)


def _or(names: frozenset[str]) -> str:
    return " or ".join(sorted(names))


def _held(held: bool) -> str:
    return "held" if held else "MISSED"
