"""A training as it goes, on standard error: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from throughtime.errors import counted, plain
from throughtime.training.result import Training

if TYPE_CHECKING:
    from rich.console import Console

Show = Callable[[Training], None]
_SECONDS = 10.0  # between two plain lines


@contextmanager
def shown(name: str, steps: int, *, wanted: bool = True) -> Iterator[Show]:
    """Show how a training comes on; afterwards, and on Ctrl-C, a bar is gone.

    Args:
        name: what is trained.
        steps: updates in all.
        wanted: False shows nothing.
    """
    if not wanted:
        yield lambda _so_far: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console, name, steps) as show:
            yield show
    else:
        yield _lines(console, name, steps)


@contextmanager
def _bar(console: Console, name: str, steps: int) -> Iterator[Show]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(compact=True),
    )
    pace = Pace()
    # What a user's code prints meanwhile stands above the bar; or in its file, if it has one.
    redirect = sys.stdout.isatty()
    with Progress(
        *columns, console=console, transient=True, expand=True, redirect_stdout=redirect
    ) as progress:
        task = progress.add_task(plain(name), total=steps, note="")

        def show(so_far: Training) -> None:
            note = f"{described(so_far)}  {pace.told(so_far.steps)}"
            progress.update(task, completed=so_far.steps, note=note)

        yield show


def _lines(console: Console, name: str, steps: int) -> Show:
    pace, last = Pace(), 0.0

    def show(so_far: Training) -> None:
        nonlocal last
        now = time.monotonic()
        if so_far.status == "running" and now - last < _SECONDS:
            return
        last = now
        told = (
            f"step {so_far.steps}/{steps}",
            described(so_far),
            pace.told(so_far.steps),
            pace.left(so_far.steps, steps),
        )
        line = "  ".join(part for part in told if part)
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    console.print(
        f"{plain(name)}: {counted(steps, 'step')}", markup=False, highlight=False, soft_wrap=True
    )
    return show


def described(so_far: Training) -> str:
    """Loss, horizon and clip share in a few words."""
    horizon = "" if so_far.horizon is None else f"  horizon {so_far.horizon}"
    return f"loss {so_far.loss:.4g}{horizon}  clipped {100 * so_far.clipped:.0f} %"


class Pace:
    """How fast a sitting of a training is: steps made since it began."""

    def __init__(self) -> None:
        self._began: tuple[float, int] | None = None
        self._rate = 0.0  # steps per second

    def told(self, step: int) -> str:
        """Steps per second so far, in words; empty for the first step."""
        now = time.monotonic()
        if self._began is None:
            self._began = now, step
        began, first = self._began
        if now <= began or step <= first:
            return ""
        self._rate = (step - first) / (now - began)
        return f"{self._rate:.3g} steps/s"

    def left(self, step: int, steps: int) -> str:
        """The time that is left, in words; empty where it cannot be known, or none is."""
        if not self._rate or step >= steps:
            return ""
        minutes, seconds = divmod(round((steps - step) / self._rate), 60)
        return f"{minutes}:{seconds:02} left"
