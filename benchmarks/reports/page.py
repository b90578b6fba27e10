"""The page of results: every report, the causes against each other, and what is still wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.reports.judge import Answer
from benchmarks.tables import Table

ENOUGH_RIGHT, TOLERATED_FALSE = 0.85, 2


def tables(answers: Sequence[Answer]) -> list[Table]:
    return [_reports(answers), _confusion(answers)]


def share_right(answers: Sequence[Answer]) -> float:
    """The share of reports whose first cause is right."""
    return sum(answer.right for answer in answers) / len(answers)


def false_causes(answers: Sequence[Answer]) -> int:
    """How many causes were named that are neither the thread's nor true beside it."""
    return sum(len(answer.false_causes) for answer in answers)


def _reports(answers: Sequence[Answer]) -> Table:
    rows = [
        (
            answer.report.name,
            f"[{_thread(answer)}]({answer.report.address})",
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
        "Right first cause: what the thread concludes, written down before throughtime was asked. "
        "Said first: the first of the causes (the budget and an assumed span are none), else the "
        "verdict, else the error. False causes: named first, or of a kind that a person makes, and "
        "neither the cause nor true of the rebuilt model as well.",
        ("report", "thread", "right first cause", "said first", "right", "false causes"),
        tuple(rows),
        f"The first cause is right in {right} of {len(answers)} reports ({share:.0%}); "
        f"{false} false causes. Bars: at least {ENOUGH_RIGHT:.0%} right: "
        f"{_held(share >= ENOUGH_RIGHT)}; at most {TOLERATED_FALSE} false causes: "
        f"{_held(false <= TOLERATED_FALSE)}.",
    )


def _confusion(answers: Sequence[Answer]) -> Table:
    """Right against said; where several names are right, the one said, else all of them."""
    counts = Counter((_wanted(answer), answer.first) for answer in answers)
    wanted = sorted({row for row, _ in counts})
    said = sorted({column for _, column in counts})
    rows = [(row, *(str(counts[row, column] or "") for column in said)) for row in wanted]
    return Table(
        "The right cause against the one said first",
        "Rows: the right first cause. Columns: what was said first. How many reports.",
        ("right \\ said", *said),
        tuple(rows),
    )


def errors(answers: Sequence[Answer]) -> str:
    """Every report whose first cause is wrong, or of which a false cause was named."""
    lines = [
        f"- **{answer.report.name}** ({_thread(answer)}). Saw: {answer.report.saw} "
        f"Cause: {answer.report.cause} Right: {_or(answer.report.right)}. "
        f"Said: {answer.first}: {answer.sentence}"
        for answer in answers
        if not answer.right or answer.false_causes
    ]
    return "\n".join(["## What is wrong\n", *(lines or ["Nothing."]), ""])


def _wanted(answer: Answer) -> str:
    return answer.first if answer.right else _or(answer.report.right)


def _or(names: frozenset[str]) -> str:
    return " or ".join(sorted(names))


def _thread(answer: Answer) -> str:
    source = answer.report.source
    return source if "#" in source else source.split("/")[2]


def _held(held: bool) -> str:
    return "held" if held else "MISSED"
