"""A table of results, for the terminal and for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, Group
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.timing import Spread


@dataclass(frozen=True)
class Table:
    """Rows of text under a header, the sentence before them and the note after."""

    title: str
    about: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        lines = [
            "| " + " | ".join(self.header) + " |",
            "|" + "---|" * len(self.header),
            *("| " + " | ".join(row) + " |" for row in self.rows),
        ]
        return (
            "\n".join([f"## {self.title}\n\n{self.about}\n", *lines, "", self.note]).rstrip() + "\n"
        )

    def show(self, console: Console) -> None:
        table = RichTable(title=self.title, title_justify="left", box=box.SIMPLE_HEAD)
        for name in self.header:
            table.add_column(name)
        for row in self.rows:
            table.add_row(*row)
        console.print(Group(table, Text(f"{self.about} {self.note}\n")))


def at_most(bar: float, found: Spread) -> str:
    """Whether a ratio keeps below its bar."""
    return f"at most {bar:g}x: {_verdict(found.median <= bar)}"


def at_least(bar: float, found: Spread) -> str:
    """Whether a ratio reaches its bar."""
    return f"at least {bar:g}x: {_verdict(found.median >= bar)}"


def _verdict(held: bool) -> str:
    return "held" if held else "MISSED"


def milliseconds(seconds: Sequence[float]) -> str:
    return f"{1e3 * Spread.of(seconds).median:.1f}"
