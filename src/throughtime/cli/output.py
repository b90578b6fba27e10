"""Where things are printed: the answer on standard output, all else on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from throughtime.errors import plain

if TYPE_CHECKING:
    from throughtime.findings import Diagnosis


def show(found: Diagnosis, report: Path | None, as_json: bool, language: str = "en") -> None:
    """Print what was found, and write the report if one is asked for.

    Raises ``InputError`` or ``OSError`` if the report cannot be written; the answer is printed then
    as well.
    """
    try:
        if report is not None:
            with working("drawing the report"):
                from throughtime.report import write_report

                write_report(found, report, language=language)
    finally:
        if as_json:
            sys.stdout.write(f"{found.to_json()}\n")
        else:
            from throughtime.report.text import render_text

            render_text(found, Console(), language)
    if report is not None and not as_json:
        sys.stdout.write(f"\nThe report is in {plain(report)}\n")


def print_json(data: object) -> None:
    """One line of JSON in ASCII, which any locale can print."""
    sys.stdout.write(f"{json.dumps(data, allow_nan=False)}\n")


@contextmanager
def quiet(as_json: bool) -> Iterator[None]:
    """Under ``--json`` all that is printed inside goes to standard error.

    Not only what Python prints, but also C code, and the processes that a user's code starts.
    """
    if not as_json:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def working(what: str) -> Iterator[None]:
    """A moving sign of life on standard error, where that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    sign = SpinnerColumn("dots" if console.encoding.startswith("utf") else "line")
    columns = sign, TextColumn("{task.description}"), TimeElapsedColumn()
    # What a user's code prints meanwhile stands above the sign; or in its file, if it has one.
    redirect = sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, redirect_stdout=redirect) as progress:
        progress.add_task(what, total=None)
        yield
