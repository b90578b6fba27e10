"""What a capture leaves behind: a plain step where captures came before, and where none did."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.networks import Size
from benchmarks.tables import Table, milliseconds
from benchmarks.timing import interleaved, ratio, total

ROOT = Path(__file__).parent.parent
SIZE, ROUNDS, STEPS = Size(steps=100, batch=16, hidden=128), 30, 20


def measure(size: Size = SIZE, rounds: int = ROUNDS) -> Table:
    """Two processes that take turns; the ratio of what neighbouring turns took."""
    with ExitStack() as stack:
        never, after = (stack.enter_context(Stepper(size, past)) for past in ("untouched", "used"))
        laps = interleaved({"never": (never.run,), "after": (after.run,)}, rounds)
    seconds = {name: [s / STEPS for s in total(found)] for name, found in laps.items()}
    return Table(
        "Outside of a capture",
        f"A plain training step of nn.LSTM ({size}), in two processes that take turns, {STEPS} "
        f"steps at a time, {rounds} rounds.",
        ("process", "ms", "ratio"),
        (
            ("never captured", milliseconds(seconds["never"]), "1"),
            ("has captured", milliseconds(seconds["after"]),
             str(ratio(seconds["after"], seconds["never"]))),
        ),
    )  # fmt: skip


class Stepper:
    """A process that runs plain training steps when it is told to."""

    def __init__(self, size: Size, past: str) -> None:
        sizes = map(str, (size.steps, size.batch, size.hidden))
        command = [sys.executable, "-m", "benchmarks.worker", "steps", past, *sizes]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Stepper:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        for _ in range(STEPS):
            print(file=stdin, flush=True)
            if not stdout.readline():
                raise RuntimeError("the process that runs the steps has ended")
