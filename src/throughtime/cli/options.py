"""What several commands have in common: the kinds of options, checked before any work."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from throughtime.errors import plain
from throughtime.files import check_writable

_PAGES = (".html", ".htm")
_ROOM = 2**20  # bytes: no report is larger


class Cell(StrEnum):
    """The recurrent layers that the command line can make."""

    RNN = "rnn"
    LSTM = "lstm"
    GRU = "gru"


class Language(StrEnum):
    """The languages of a report, and of the names to recall."""

    EN = "en"
    KO = "ko"


def file_option(name: str, about: str, **more: Any) -> Any:
    """An option that names a file."""
    return typer.Option(name, metavar="FILE", help=about, **more)


def number_option(name: str, about: str, least: int = 1) -> Any:
    """An option that takes a whole number, refused in one line where it is out of range."""

    def checked(number: int | None) -> int | None:
        if number is None or least <= number < 2**63:
            return number
        raise typer.BadParameter(f"{number} is out of range: give a number from {least} to 2^63-1")

    return typer.Option(name, metavar="N", help=about, callback=checked)


def report_place(report: Path | None) -> Path | None:
    """Refused before a minute of work, not after it; absolute, since users' code may chdir."""
    if report is None:
        return None
    if report.is_dir():
        raise typer.BadParameter(f"{plain(report)} is a directory: name a file in it")
    if report.suffix.lower() not in _PAGES:
        raise typer.BadParameter(
            f"{plain(report)}: a report is an HTML page: name a file that ends in .html"
        )
    if not report.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {plain(report.parent)}: make it first")
    check_writable(report, _ROOM)
    return report.absolute()


def names_a_file(target: str, tasks: Collection[str]) -> bool:
    """Whether FILE.py:FUNCTION is meant, or a file of another kind, and no task."""
    return any(sign in target for sign in ":./\\") or (
        target not in tasks and Path(target).is_dir()
    )


def names_of(given: str | None) -> list[str] | None:
    """The names in a list with commas between them."""
    return None if given is None else [name.strip() for name in given.split(",")]


AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")
]
KeepCell = Annotated[
    bool, typer.Option("--keep-cell", help="... but none that replaces the recurrent layers.")
]
Jobs = Annotated[
    int | None, number_option("--jobs", "Processes on this machine; default: one for each core.")
]
Address = Annotated[
    str | None,
    typer.Option("--cluster", metavar="ADDRESS", help="A Dask scheduler instead: tcp://HOST:PORT."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
