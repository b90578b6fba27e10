"""A diagnosis of one very long sequence, as the command makes it, against plain training steps."""

from __future__ import annotations

from collections.abc import Sequence

import throughtime as tt
from benchmarks.networks import Size, Task
from benchmarks.tables import Table, at_most, milliseconds
from benchmarks.timing import interleaved, ratio, total

LENGTHS = {5_000: 20.0, 20_000: 30.0}  # steps, and the bar in plain steps
KINDS = ("LSTM", "GRU", "RNN")
BATCH, HIDDEN, ROUNDS = 4, 64, 3


def measure(
    lengths: dict[int, float] = LENGTHS, kinds: Sequence[str] = KINDS, rounds: int = ROUNDS
) -> Table:
    """How many plain training steps `tt.diagnose(model, closure)` takes at each length."""
    rows = [
        _row(kind, Size(steps, BATCH, HIDDEN), bar, rounds)
        for steps, bar in lengths.items()
        for kind in kinds
    ]
    return Table(
        "A diagnosis of a long sequence",
        f"`tt.diagnose(model, closure)`, span T − 1, with its checks against autograd: B={BATCH}, "
        f"H={HIDDEN}, float32, a read-out and a loss at every step, weights as torch draws them. "
        f"Medians of at most {rounds} interleaved rounds, quartiles of the ratio in brackets.",
        ("layer", "T", "plain step ms", "diagnosis ms", "plain steps", "bar"),
        tuple(rows),
    )


def _row(kind: str, size: Size, bar: float, rounds: int) -> tuple[str, ...]:
    task = Task.make(kind, size)

    def diagnosed(*_: object) -> None:
        tt.diagnose(task.model, lambda: task.losses(task.model(task.inputs)).sum())

    laps = interleaved({"step": (lambda *_: task.step(),), "diagnosis": (diagnosed,)}, rounds)
    step, whole = total(laps["step"]), total(laps["diagnosis"])
    found = ratio(whole, step)
    return (
        kind, f"{size.steps:,}", milliseconds(step), milliseconds(whole), str(found),
        at_most(bar, found),
    )  # fmt: skip  # a list, not a column
