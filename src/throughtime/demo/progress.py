"""Progress that people can watch: a live bar in a terminal, one plain line elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Update = Callable[[int, str], None]  # how many steps are done, and a note


@contextmanager
def shown(console: Console, what: str, steps: int) -> Iterator[Update]:
    """Show that ``what`` takes ``steps`` steps; afterwards, and on Ctrl-C, the bar is gone."""
    if not console.is_terminal:
        console.print(f"{what} ...", markup=False, highlight=False)
        yield lambda done, note: None  # noqa: ARG005  — nobody looks
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, expand=True) as progress:
        task = progress.add_task(what, total=steps, note="")
        yield lambda done, note: progress.update(task, completed=done, note=note)
