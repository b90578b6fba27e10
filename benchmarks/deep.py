"""A deep diagnosis, from the captured step to the last finding, against plain training steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import throughtime as tt
from benchmarks.networks import Size, Task
from benchmarks.tables import Table, at_most, milliseconds
from benchmarks.timing import interleaved, ratio, total
from throughtime.diagnosis import pictures

SIZE = Size(steps=200, batch=16, hidden=256)
ROUNDS = 9
BAR = 20.0
KINDS = ("LSTM", "GRU", "RNN")
STEPS = 5  # plain steps in a row, of which the median round counts one

CAPTURE, QUICK = "capture", "verdict, causes"
DEEP = ("lyapunov", "spectrum", "memory", "contributions", "directions")
HEADER = (
    "layer",
    "plain step ms",
    "deep diagnosis ms",
    "plain steps",
    "bar",
    CAPTURE,
    QUICK,
    *DEEP,
)


def measure(size: Size = SIZE, rounds: int = ROUNDS, kinds: Sequence[str] = KINDS) -> Table:
    """How many plain training steps a deep diagnosis takes, and which part takes how much."""
    rows = [_row(kind, size, rounds) for kind in kinds]
    return Table(
        "A deep diagnosis",
        f"{size}, float32, as many input features as hidden units, a read-out and a loss at every "
        "step, weights as torch draws them. All of `throughtime diagnose --deep`: one captured "
        "training step, its trace, `tt.diagnose(trace, span, deep=True)`, span = T. Medians of at "
        f"most {rounds} interleaved rounds, quartiles of the ratio of neighbours in brackets.",
        HEADER,
        tuple(rows),
        "The columns from `capture` on: the share of each part in the same rounds.",
    )


def deep_diagnosis(task: Task) -> tt.Diagnosis:
    """What the command does, from the model on."""
    return tt.diagnose(_captured(task), task.size.steps, deep=True)


def _captured(task: Task) -> tt.Trace:
    with tt.capture(task.model) as run:
        task.step()
    return run.trace


def _row(kind: str, size: Size, rounds: int) -> tuple[str, ...]:
    task = Task.make(kind, size)
    spent: list[dict[str, float]] = []

    def diagnosed() -> None:
        with parts_timed() as parts:
            started = time.perf_counter()
            trace = _captured(task)
            parts[CAPTURE] = time.perf_counter() - started
            tt.diagnose(trace, size.steps, deep=True)
        parts[QUICK] = time.perf_counter() - started - sum(parts.values())
        spent.append(parts)

    laps = interleaved({"step": (lambda *_: task.step(),) * STEPS, "deep": (diagnosed,)}, rounds)
    step = [one / STEPS for one in total(laps["step"])]
    deep = total(laps["deep"])
    found = ratio(deep, step)
    whole = sum(sum(one.values()) for one in spent)
    shares = [sum(one[part] for one in spent) / whole for part in (CAPTURE, QUICK, *DEEP)]
    return (
        f"nn.{kind}", milliseconds(step), milliseconds(deep), str(found), at_most(BAR, found),
        *(f"{100 * share:.0f} %" for share in shares),
    )  # fmt: skip


@contextmanager
def parts_timed() -> Iterator[dict[str, float]]:
    """Seconds of each measure of a deep diagnosis, while the diagnosis runs as it is."""
    spent = dict.fromkeys(DEEP, 0.0)

    def timed(name: str, measure: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return measure(*given, **named)
            finally:
                spent[name] += time.perf_counter() - started

        return run

    measures = {name: timed(name, getattr(pictures, name)) for name in DEEP}
    with mock.patch.multiple(pictures, **measures):
        yield spent
