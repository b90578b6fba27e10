"""The measurements of one layer, read out of their plain tuples into arrays that can be drawn.

A measurement that is missing or empty (one step, no samples) gives None: there is nothing to draw.
One whose shape contradicts its axes, as a damaged JSON file may have it, is an ``InputError``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from throughtime.errors import InputError, plain
from throughtime.findings import Diagnosis, LayerDiagnosis, Measurement

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """log10 of something along lag or time: its median, and its lowest and highest quantile.

    ``at`` (N) holds the lags or steps, ``low``, ``middle`` and ``high`` (N) the logs.
    """

    at: Array
    low: Array
    middle: Array
    high: Array
    quantiles: tuple[float, float]

    def thinned(self, most: int) -> Curve:
        """At most ``most`` of its points, evenly chosen, the first and the last among them."""
        if len(self.at) <= most:
            return self
        keep = np.unique(np.linspace(0, len(self.at) - 1, most).round().astype(int))
        at, low, middle, high = (part[keep] for part in (self.at, self.low, self.middle, self.high))
        return Curve(at, low, middle, high, self.quantiles)


@dataclass(frozen=True)
class LagMatrix:
    """log10 ‖∂L_t/∂s_k‖ (A, K): one row for each anchor t, one column for each step k."""

    values: Array
    anchors: Array
    times: Array


def deciding(diagnosis: Diagnosis) -> LayerDiagnosis | None:
    """The layer that decided the verdict of the whole; None where no layer was captured."""
    named = (layer for layer in diagnosis.layers if layer.name == diagnosis.decided_by)
    return next(named, diagnosis.layers[0] if diagnosis.layers else None)


def gain(layer: LayerDiagnosis, part: str = "s") -> Curve | None:
    """Gain by lag of the whole state ``s``, or of LSTM's paths ``h`` and ``c``."""
    return _curve(layer, "gain", "lag", ("part", part))


def paths(layer: LayerDiagnosis) -> tuple[str, ...]:
    """The paths beside the whole state that the gain was measured for: ``h`` and ``c``, or none."""
    found = layer.measurement("gain")
    labels = found.coords.get("part", ()) if found else ()
    return tuple(str(label) for label in labels if label != "s")


def states(layer: LayerDiagnosis) -> Curve | None:
    """Norm of the state through time."""
    return _curve(layer, "states", "time")


def gradients(layer: LayerDiagnosis, source: str) -> Curve | None:
    """Norm through time of the ``total`` gradient, or of the ``direct`` one."""
    return _curve(layer, "gradients", "time", ("source", source))


def lag_matrix(layer: LayerDiagnosis) -> LagMatrix | None:
    """Norm of the gradient of each anchor's loss with respect to each state."""
    found = layer.measurement("lag matrix")
    values = None if found is None else _array(layer, found, ("anchor", "time"))
    if found is None or values is None:
        return None
    rows, columns = values.shape
    return LagMatrix(
        values, _numbers(layer, found, "anchor", rows), _numbers(layer, found, "time", columns)
    )


def _curve(
    layer: LayerDiagnosis, name: str, along: str, chosen: tuple[str, str] | None = None
) -> Curve | None:
    found = layer.measurement(name)
    if found is None:
        return None
    order = ("quantile", along) if chosen is None else (chosen[0], "quantile", along)
    values = _array(layer, found, order)
    if values is None:
        return None
    if chosen is not None:
        labels = _labels(layer, found, chosen[0], len(values))
        if chosen[1] not in labels:
            return None
        values = values[labels.index(chosen[1])]
    quantiles = _numbers(layer, found, "quantile", len(values))
    lowest, middle, highest = quantiles.argmin(), abs(quantiles - 0.5).argmin(), quantiles.argmax()
    return Curve(
        at=_numbers(layer, found, along, values.shape[-1]),
        low=values[lowest],
        middle=values[middle],
        high=values[highest],
        quantiles=(float(quantiles[lowest]), float(quantiles[highest])),
    )


def _array(layer: LayerDiagnosis, found: Measurement, order: tuple[str, ...]) -> Array | None:
    """The values with their axes in that order; None where there are none."""
    try:
        values = np.array(found.values, dtype=np.float64)
    except (ValueError, TypeError):
        raise _damaged(layer, found, "its values are not a rectangle of numbers") from None
    if values.size == 0:
        return None
    if sorted(found.axes) != sorted(order) or values.ndim != len(order):
        shape = " x ".join(str(size) for size in values.shape) or "a single number"
        wanted = ", ".join(order)
        raise _damaged(layer, found, f"its axes are to be {wanted}; its values are {shape}")
    return values.transpose([found.axes.index(axis) for axis in order])


def _labels(layer: LayerDiagnosis, found: Measurement, axis: str, size: int) -> tuple[Any, ...]:
    labels = tuple(found.coords.get(axis, range(size)))
    if len(labels) != size:
        raise _damaged(layer, found, f"axis {axis} has {size} entries and {len(labels)} labels")
    return labels


def _numbers(layer: LayerDiagnosis, found: Measurement, axis: str, size: int) -> Array:
    labels = _labels(layer, found, axis, size)
    try:
        return np.array(labels, dtype=np.float64)
    except (ValueError, TypeError):
        raise _damaged(layer, found, f"the labels of axis {axis} are not numbers") from None


def _damaged(layer: LayerDiagnosis, found: Measurement, what: str) -> InputError:
    return InputError(
        f"layer {plain(layer.name)}: the measurement {plain(found.name)!r} cannot be read: {what}"
    )
