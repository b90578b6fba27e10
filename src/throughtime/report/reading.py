"""Measurements out of their plain tuples: arrays with the axes in a known order, rows by name.

A measurement that is missing or empty (one step, no samples) gives None: there is nothing to draw.
One whose shape contradicts its axes, as a damaged JSON file may have it, is an ``InputError``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from throughtime.errors import InputError, plain
from throughtime.findings import LayerDiagnosis, Measurement
from throughtime.report import wording

Array = NDArray[np.float64]

_LONGEST_LABEL = 28


@dataclass(frozen=True)
class Row:
    """One number for each label, in the order of the measurement."""

    labels: tuple[str, ...]
    values: Array

    def get(self, label: str) -> float | None:
        """The number of that label; None where there is no such label or it is no number."""
        if label not in self.labels:
            return None
        value = float(self.values[self.labels.index(label)])
        return value if np.isfinite(value) else None


@dataclass(frozen=True)
class Table:
    """Numbers (R C): a label for each row, and one for each column."""

    rows: tuple[str, ...]
    columns: tuple[Any, ...]
    values: Array

    def get(self, row: str) -> Array | None:
        """The numbers (C) of that row; None where there is no such row."""
        return self.values[self.rows.index(row)] if row in self.rows else None


def row(layer: LayerDiagnosis, name: str, axis: str) -> Row | None:
    """A measurement with one axis of labels; the median where it has quantiles too.

    Without what could not be measured (NaN).
    """
    found = layer.measurement(name)
    if found is None:
        return None
    with_quantiles = "quantile" in found.axes
    values = array(layer, found, (axis, "quantile") if with_quantiles else (axis,))
    if values is None:
        return None
    if with_quantiles:
        quantiles = numbers(layer, found, "quantile", values.shape[1])
        values = values[:, int(abs(quantiles - 0.5).argmin())]
    names, known = words(layer, found, axis, len(values)), ~np.isnan(values)
    if not known.any():
        return None
    return Row(
        tuple(name for name, is_known in zip(names, known, strict=True) if is_known), values[known]
    )


def table(layer: LayerDiagnosis, name: str, rows: str, columns: str) -> Table | None:
    """A measurement with two axes; the labels of its rows are words."""
    found = layer.measurement(name)
    values = None if found is None else array(layer, found, (rows, columns))
    if found is None or values is None:
        return None
    return Table(
        words(layer, found, rows, len(values)),
        labels(layer, found, columns, values.shape[1]),
        values,
    )


def array(layer: LayerDiagnosis, found: Measurement, order: tuple[str, ...]) -> Array | None:
    """The values with their axes in that order; None where there are none."""
    try:
        values = np.array(found.values, dtype=np.float64)
    except (ValueError, TypeError):
        raise damaged(layer, found, "its values are not a rectangle of numbers") from None
    if values.size == 0:
        return None
    if sorted(found.axes) != sorted(order) or values.ndim != len(order):
        shape = " x ".join(str(size) for size in values.shape) or "a single number"
        wanted = ", ".join(order)
        raise damaged(layer, found, f"its axes are to be {wanted}; its values are {shape}")
    return values.transpose([found.axes.index(axis) for axis in order])


def labels(layer: LayerDiagnosis, found: Measurement, axis: str, size: int) -> tuple[Any, ...]:
    """The labels of an axis: 0, 1, 2, … where it has none of its own."""
    given = tuple(found.coords.get(axis, range(size)))
    if len(given) != size:
        raise damaged(layer, found, f"axis {axis} has {size} entries and {len(given)} labels")
    return given


def words(layer: LayerDiagnosis, found: Measurement, axis: str, size: int) -> tuple[str, ...]:
    """The labels of an axis as short words that a picture can hold."""
    given = labels(layer, found, axis, size)
    return tuple(wording.short(label, _LONGEST_LABEL) for label in given)


def numbers(layer: LayerDiagnosis, found: Measurement, axis: str, size: int) -> Array:
    """The labels of an axis as numbers."""
    given = labels(layer, found, axis, size)
    try:
        read = np.array(given, dtype=np.float64)
    except (ValueError, TypeError):
        read = np.array([math.nan])
    if not np.isfinite(read).all():
        raise damaged(layer, found, f"the labels of axis {axis} are not numbers")
    return read


def drawable(values: Array, otherwise: float = np.nan) -> Array:
    """The values, and ``otherwise`` in the place of those that are not finite."""
    return np.where(np.isfinite(values), values, otherwise)


def damaged(layer: LayerDiagnosis, found: Measurement, what: str) -> InputError:
    """The error that names the layer, the measurement, and what is wrong with it."""
    return InputError(
        f"layer {plain(layer.name)}: the measurement {plain(found.name)!r} cannot be read: {what}"
    )
