"""Small multiples: the loss curves of many trainings, one small panel for each combination.

All panels share their axes, so that they can be compared at a glance. The page knows nothing of
how the trainings were made: it is given names, numbers and reasons, and shows each as text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from throughtime.errors import InputError

Fate = Literal["solved", "unsolved", "diverged", "unfinished"]


class Line(NamedTuple):
    """The loss curve of one training.

    Attributes:
        name: what it is called: ``seed 0``.
        points: (updates, loss); what is not finite, or not above 0, is a gap.
        fate: how it ended.
        solved_at: updates after which it was solved, or None.
        beside: whether it is drawn in grey, for the others to be compared with.
    """

    name: str
    points: Sequence[tuple[int, float]]
    fate: Fate
    solved_at: int | None = None
    beside: bool = False


class Listing(NamedTuple):
    """Text that is shown letter by letter: a program, a patch.

    Attributes:
        title: its heading.
        about: a sentence under it.
        lines: without their ends.
    """

    title: str
    about: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Panel:
    """One small picture: all seeds of one combination.

    Attributes:
        title: what varies from panel to panel of a row: ``length 100``.
        note: what came of it, in a few words.
        lines: its curves.
        level: the loss of the trivial answer, drawn as a dashed line; None for none.
    """

    title: str
    note: str
    lines: Sequence[Line]
    level: float | None = None


@dataclass(frozen=True)
class PanelRow:
    """Panels side by side: one arm of the trial.

    Attributes:
        group: rows of one group stand under one heading: the cell.
        title: what the row is: the remedy.
        panels: from left to right.
    """

    group: str
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Overview:
    """A small table at the top: an entry for each row and column, ``about`` says of what."""

    corner: tuple[str, ...]
    columns: Sequence[str]
    rows: Sequence[tuple[str, ...]]
    entries: Sequence[Sequence[str]]
    about: str = ""


@dataclass(frozen=True)
class Multiples:
    """A page of small multiples.

    Attributes:
        title: its heading.
        lead: one or two sentences under it.
        updates: where the shared axis across ends.
        rows: of panels, those of one group in a row.
        overview: the table at the top.
        facts: names and values beside it.
        troubles: (which training, why it came to no result).
        files: (name, path relative to the page) of what lies beside it.
        question: what the page answers.
        notes: sentences under its first table.
        beside: what the grey curves are; empty where there is none.
        listings: at its end.
    """

    title: str
    lead: str
    updates: int
    rows: Sequence[PanelRow]
    overview: Overview
    facts: Sequence[tuple[str, str]] = ()
    troubles: Sequence[tuple[str, str]] = ()
    files: Sequence[tuple[str, str]] = field(default_factory=tuple)
    question: str = "which remedy learns how far back?"
    notes: Sequence[str] = ()
    beside: str = ""
    listings: Sequence[Listing] = ()

    def __post_init__(self) -> None:
        if self.updates < 1:
            raise InputError(f"updates is {self.updates}: the axis of a page needs at least 1")

    def panels(self) -> Iterable[Panel]:
        """All of them, in order."""
        return (panel for row in self.rows for panel in row.panels)

    def bounds(self) -> tuple[float, float]:
        """log10 of the smallest and the largest loss that all panels show.

        A few losses of a training that explodes do not press all others together: above the trivial
        answer there is one decade, or what nine of ten curves begin with.
        """
        logs, starts = [], []
        for panel in self.panels():
            levels = [] if panel.level is None else [panel.level]
            starts += [math.log10(level) for level in levels if level > 0]
            for line in panel.lines:
                found = [math.log10(loss) for _, loss in line.points if 0 < loss < math.inf]
                logs += found
                starts += found[:1]
        if not starts:
            return -1.0, 1.0
        starts.sort()
        high = min(max([*logs, starts[-1]]), starts[int(0.9 * (len(starts) - 1))] + 1.0)
        low = max(min([*logs, starts[0]]), high - 8.0)
        return (low, high) if high - low > 0.1 else (low - 0.1, low + 0.1)


def render_multiples(page: Multiples) -> str:
    """The page as text: one HTML file, no network, no script.

    Raises ``InputError`` for an axis of no length.
    """
    # Here and not above, so that `import throughtime` loads neither matplotlib nor jinja2.
    from throughtime.report import multiples_page

    return multiples_page.render(page)
