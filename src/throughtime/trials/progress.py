"""A study as it goes, on standard error: a live bar in a terminal, plain lines elsewhere.

How far a trial has come is read from its journal, so that it is seen wherever it runs.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from throughtime.errors import plain
from throughtime.files import read_end
from throughtime.runs.plain_json import from_json
from throughtime.trials.one import FINAL, Outcome, claim_path, is_finished, result_of, run_path
from throughtime.trials.trial import Trial

_LOOK, _LINE = 1.0, 10.0  # seconds between two looks, and between two plain lines
_TAIL = 4096  # bytes at the end of a journal that hold its last whole line


class Progress:
    """What is known of a study under way.

    Args:
        trials: all of them.
        folder: the study's directory.
    """

    def __init__(self, trials: Sequence[Trial], folder: Path) -> None:
        self._folder = folder
        self._left: dict[Trial, float] = {}  # what is not finished, and which share of it is done
        self.total = len(trials)
        self.counts: Counter[str] = Counter()
        for trial in trials:
            result = result_of(run_path(folder, trial))
            if result is not None and is_finished(result):
                self.counts[result["status"]] += 1
            else:
                self._left[trial] = self._share(trial)
        self._first = self._cost_left()
        self._began = time.monotonic()

    @property
    def done(self) -> int:
        """Trials that this study is through with."""
        return self.total - len(self._left)

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Take note of an outcome."""
        if outcome.status in (*FINAL, "failed") and trial in self._left:
            del self._left[trial]
            self.counts[outcome.status] += 1

    def described(self) -> str:
        """Trials running, diverged and failed, and the time that is left, in words."""
        running = [one for one in list(self._left) if claim_path(self._folder, one).exists()]
        for trial in running:
            self._left[trial] = self._share(trial)
        counts = {"running": len(running)} | {name: self.counts[name] for name in _TROUBLES}
        said = [f"{number} {name}" for name, number in counts.items() if number]
        return ", ".join([*said, *self._time_left()])

    def _time_left(self) -> list[str]:
        left = self._cost_left()
        made, took = self._first - left, time.monotonic() - self._began
        return [f"{_clock(left * took / made)} left"] if made > 0 and left > 0 else []

    def _cost_left(self) -> float:
        return sum(trial.cost * (1 - share) for trial, share in self._left.items())

    def _share(self, trial: Trial) -> float:
        """The share of its updates that a trial has made, by the last line of its journal."""
        with suppress(OSError, ValueError, IndexError, TypeError, ArithmeticError):
            journal = run_path(self._folder, trial) / "journal.jsonl"
            whole = read_end(journal, _TAIL).rpartition(b"\n")[0]
            step = from_json(whole.split(b"\n")[-1]).get("step", 0)
            return max(0.0, min(1.0, float(step / trial.steps)))
        return 0.0


_TROUBLES = ("diverged", "failed")

Tell = Callable[[Trial, Outcome], None]


@contextmanager
def shown(trials: Sequence[Trial], folder: Path, *, wanted: bool) -> Iterator[Tell]:
    """Show how a study comes on; gives what takes note of an outcome.

    Args:
        trials: all of them.
        folder: the study's directory.
        wanted: False shows nothing but who is waited for.
    """
    progress = Progress(trials, folder)
    console = Console(stderr=True)
    over = threading.Event()
    told: set[tuple[Trial, Outcome]] = set()
    waiting_for: set[Trial] = set()

    def reason(trial: Trial, outcome: Outcome) -> None:
        if outcome.reason and (trial, outcome) not in told:  # who waits asks again and again
            told.add((trial, outcome))
            line = f"{trial.key}: {outcome.status}: {plain(outcome.reason)}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def tell_waiting(trial: Trial, outcome: Outcome) -> None:
        progress.tell(trial, outcome)
        if outcome.status == "busy" and trial in waiting_for:  # a second time: it may be for hours
            reason(trial, outcome)
        waiting_for.add(trial)

    if not wanted:
        yield tell_waiting
        return
    with _bar(console, progress) if console.is_terminal else _lines(console, progress) as show:

        def look() -> None:
            while not over.wait(_LOOK):
                show()

        def tell(trial: Trial, outcome: Outcome) -> None:
            progress.tell(trial, outcome)
            reason(trial, outcome)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield tell
        finally:
            over.set()
            thread.join()
            show()


def say(line: str) -> None:
    """A line on standard error."""
    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def waiting(what: str, *, wanted: bool) -> Iterator[None]:
    """Say on standard error what is done inside the block; ``wanted``: False says nothing."""
    console = Console(stderr=True)
    if not wanted:
        yield
    elif console.is_terminal:
        with console.status(what):
            yield
    else:
        console.print(what, markup=False, highlight=False, soft_wrap=True)
        yield


@contextmanager
def _bar(console: Console, progress: Progress) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("trials"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Bar(*columns, console=console, transient=True, expand=True) as bar:
        task = bar.add_task("", total=progress.total, completed=progress.done)
        yield lambda: bar.update(task, completed=progress.done, description=progress.described())


@contextmanager
def _lines(console: Console, progress: Progress) -> Iterator[Callable[[], None]]:
    last, before = time.monotonic(), progress.done

    def show() -> None:
        nonlocal last, before
        now = time.monotonic()
        if now - last < _LINE and progress.done == before:
            return
        last, before = now, progress.done
        said = [f"trials {before}/{progress.total}", progress.described()]
        line = ", ".join(part for part in said if part)
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    yield show


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
