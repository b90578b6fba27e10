"""What the records of one architecture come to: medians over seeds, and their spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.modern.measuring import horizon

Cell = dict[str, Any]
Gains = list[float | None]
STAGES = ("untrained", "trained")


def by_architecture(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The cells of each architecture, in the order in which these first came."""
    found: dict[str, list[Cell]] = {}
    for one in cells:
        found.setdefault(one["architecture"], []).append(one)
    return found


def best_layer(cell: Cell, stage: str) -> Cell | None:
    """The layer that reaches furthest, of equals that with more left there; None: no state."""
    layers: list[Cell] = cell[stage]["layers"]
    return max(layers, key=lambda layer: _order(layer["gain"]), default=None)


def _order(gain: Gains) -> tuple[float, ...]:
    known = [one for one in gain if one is not None]
    return horizon(gain), known[-1] if known else -1e3


def state_gains(cells: Sequence[Cell], stage: str) -> list[Gains]:
    """The gain by lag of the layer that reaches furthest, of each seed that has a state."""
    layers = [best_layer(one, stage) for one in cells]
    return [layer["gain"] for layer in layers if layer is not None]


def input_gains(cells: Sequence[Cell], stage: str) -> list[Gains]:
    """The gain by lag at the inputs, of each seed."""
    return [one[stage]["inputs"] for one in cells]


def median_curve(curves: Sequence[Gains]) -> Gains:
    """Lag by lag, over the seeds that have a value there."""
    columns = [[curve[lag] for curve in curves if lag < len(curve)] for lag in range(_end(curves))]
    known = [[one for one in column if one is not None] for column in columns]
    return [statistics.median(one) if one else None for one in known]


def _end(curves: Sequence[Gains]) -> int:
    return max(map(len, curves), default=0)


def horizons(curves: Sequence[Gains]) -> str:
    """``12 (9 to 14)``: the median and the spread; ``≥`` where the last lag still has 1 %."""
    if not curves:
        return "–"
    far = [horizon(curve) for curve in curves]
    ends = [reach >= _last(curve) for reach, curve in zip(far, curves, strict=True)]
    low, high = min(far), max(far)
    middle = statistics.median_low(far)
    more = "≥ " if ends[far.index(middle)] else ""
    return f"{more}{middle}" if low == high else f"{more}{middle} ({low} to {high})"


def _last(curve: Gains) -> int:
    return max((lag for lag, one in enumerate(curve) if one is not None), default=0)


def of_layers(cells: Sequence[Cell], stage: str, value: Callable[[Cell], Any]) -> Iterator[float]:
    """One number of every layer of every seed, where it has one."""
    for one in cells:
        for layer in one[stage]["layers"]:
            found = value(layer)
            if found is not None:
                yield float(found)


def spread(values: Sequence[float], digits: str) -> str:
    """``0.12 (0.10 to 0.14)``: median and extremes."""
    if not values:
        return "–"
    low, high = f"{min(values):{digits}}", f"{max(values):{digits}}"
    middle = f"{statistics.median(values):{digits}}"
    return middle if low == high else f"{middle} ({low} to {high})"
