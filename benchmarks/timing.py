"""Interleaved timing: every round runs every way once, so that a busy moment hits them all."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Stage = Callable[..., Any]
"""Part of a way that is timed by itself; it is given what the stage before it returned."""
Laps = list[tuple[float, ...]]
"""Seconds of every stage, round by round."""

FEWEST, LIMIT = 3, 45.0  # rounds, seconds


@dataclass(frozen=True)
class Spread:
    """The median of a sample, and its quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))

    def __str__(self) -> str:
        return f"{self.median:.2f}x ({self.low:.2f} to {self.high:.2f})"


def interleaved(
    ways: Mapping[str, Sequence[Stage]], rounds: int, warm_up: int = 1
) -> dict[str, Laps]:
    """Time every way in every round; the order is turned round each time.

    A busy machine gets fewer rounds: after ``LIMIT`` seconds no more than ``FEWEST``.
    """
    for _ in range(warm_up):
        for stages in ways.values():
            timed(stages)
    laps: dict[str, Laps] = {name: [] for name in ways}
    order = list(ways)
    # What lives now stays out of the collections below, which keep one way's litter off another.
    gc.freeze()
    start = time.perf_counter()
    try:
        for done in range(rounds):
            if done >= FEWEST and time.perf_counter() - start > LIMIT:
                break
            for name in order:
                gc.collect()
                laps[name].append(timed(ways[name]))
            order.reverse()
    finally:
        gc.unfreeze()
    return laps


def timed(stages: Sequence[Stage]) -> tuple[float, ...]:
    """Seconds of each stage, run once."""
    seconds = []
    given: tuple[Any, ...] = ()
    for stage in stages:
        start = time.perf_counter()
        given = (stage(*given),)
        seconds.append(time.perf_counter() - start)
    return tuple(seconds)


def total(laps: Laps) -> list[float]:
    """Seconds of all stages together, round by round."""
    return [sum(stages) for stages in laps]


def last(laps: Laps) -> list[float]:
    """Seconds of the last stage, round by round."""
    return [stages[-1] for stages in laps]


def ratio(of: Sequence[float], to: Sequence[float]) -> Spread:
    """The ratio of neighbours: the same round of both."""
    return Spread.of([a / b for a, b in zip(of, to, strict=True)])
