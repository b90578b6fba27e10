"""The networks that are trained first: real ones, many of them near a border.

Good and bad initialisations, good and ruinous learning rates, a few hundred steps of Adam.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.diseases import changes
from benchmarks.diseases.networks import LAYERS, Change, Network, Training
from benchmarks.diseases.tasks import (
    Task,
    adding,
    characters,
    copying,
    noisy_sum,
    temporal_order,
)

# What a textbook advises for a long memory.
GOOD: dict[str, tuple[str, Change]] = {
    "tanh": ("orthogonal", changes.orthogonal()),
    "relu": ("identity", changes.identity()),
    "LSTM": ("carry bias +3", changes.carry_bias(3.0)),
    "GRU": ("carry bias +3", changes.carry_bias(3.0)),
}
LONG, SHORT = Training(steps=300), Training(steps=150)


def trained(
    cell: str,
    cause: str,
    task: Task,
    change: Change | None = None,
    training: Training = SHORT,
    hidden: int = 32,
    **more: int,
) -> Network:
    """A network whose name says all."""
    one = Network("", cell, task, change, hidden, training=training, **more)
    budget = f"{training.steps} steps at {training.rate:g}"
    return replace(one, name=f"{one.built}, {cause}, trained on {task.name}, {budget}")


def as_torch_makes_them() -> Iterator[Network]:
    for task in (adding(), copying(), temporal_order(), characters()):
        for cell in LAYERS:
            yield trained(cell, "as torch makes it", task)
    for cell in LAYERS:
        yield trained(cell, "as torch makes it", noisy_sum(5), training=LONG)
        yield trained(cell, "as torch makes it", noisy_sum(40), hidden=16)
        yield trained(cell, "as torch makes it", characters(span=6), training=LONG, hidden=64)


def well_begun() -> Iterator[Network]:
    for task in (adding(), copying(), temporal_order(), characters(), noisy_sum(20)):
        for cell, (cause, change) in GOOD.items():
            yield trained(cell, cause, task, change)
    for hidden in (16, 64):
        yield trained("LSTM", "chrono 50", copying(), changes.chrono(50), hidden=hidden)
        yield trained("GRU", "chrono 50", adding(), changes.chrono(50), hidden=hidden)
    for cell in ("LSTM", "GRU"):
        change = changes.carry_bias(3.0)
        yield trained(cell, "carry bias +3", characters(span=10), change, layers=2)
        yield trained(cell, "as torch makes it", characters(), layers=2)
    yield trained("tanh", "orthogonal", characters(span=10), changes.orthogonal(), LONG, 64)
    yield trained("GRU", "carry bias +3", adding(), changes.carry_bias(3.0), LONG)


def badly_begun() -> Iterator[Network]:
    yield trained("tanh", "gain 3", noisy_sum(10), changes.gaussian(3.0))
    yield trained("tanh", "gain 2", adding(), changes.gaussian(2.0), hidden=64)
    yield trained("tanh", "gain 3", copying(), changes.gaussian(3.0), hidden=64)
    yield trained("tanh", "6 identity", temporal_order(), changes.identity(6.0))
    yield trained("relu", "1.2 identity", adding(), changes.identity(1.2))
    yield trained("relu", "0.5 identity", noisy_sum(20), changes.identity(0.5))
    yield trained("LSTM", "carry bias −3", adding(), changes.carry_bias(-3.0))
    yield trained("LSTM", "carry bias −3", characters(), changes.carry_bias(-3.0))
    yield trained("GRU", "carry bias −3", temporal_order(), changes.carry_bias(-3.0))
    yield trained("LSTM", "recurrent weights × 8", noisy_sum(20), changes.times(8.0))


def in_windows() -> Iterator[Network]:
    """Truncated backpropagation through time, with windows shorter and longer than the span."""
    for cell, window in (("tanh", 10), ("relu", 5), ("LSTM", 10), ("GRU", 16)):
        yield trained(cell, "as torch makes it", characters(), window=window)
    for cell in ("LSTM", "GRU"):
        change = changes.carry_bias(3.0)
        yield trained(cell, "carry bias +3", noisy_sum(20), change, window=12)
        yield trained(cell, "carry bias +3", noisy_sum(10), change, window=30)


def ruined() -> Iterator[Network]:
    """Learning rates that are far too large."""
    for cell in LAYERS:
        yield trained(cell, "as torch makes it", adding(), training=Training(100, 0.3))
        yield trained(cell, "as torch makes it", characters(), training=Training(100, 0.1))
        yield trained(cell, GOOD[cell][0], noisy_sum(20), GOOD[cell][1], Training(100, 0.05))
        yield trained(cell, GOOD[cell][0], copying(), GOOD[cell][1], Training(100, 0.05))
    yield trained("relu", "as torch makes it", noisy_sum(20), training=Training(100, 3.0))
    for cell in ("tanh", "LSTM", "GRU"):
        yield trained(cell, "as torch makes it", noisy_sum(20), training=Training(100, 0.3))
        yield trained(cell, "as torch makes it", temporal_order(), training=Training(100, 1.0))


FAMILIES = (as_torch_makes_them, well_begun, badly_begun, in_windows, ruined)

TRAINED = tuple(one for family in FAMILIES for one in family())
