"""What is drawn along lag and time: curves with their quantiles, and the lag matrix.

None where there is nothing to draw; ``InputError`` for a damaged measurement (``reading.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from throughtime.findings import Diagnosis, LayerDiagnosis
from throughtime.report import reading
from throughtime.report.reading import Array

_BY_ROUTE = "gain by route"


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


def is_known(layer: LayerDiagnosis) -> bool:
    """Whether anything is known of how far back its gradient reaches."""
    return layer.verdict != "unknown" or layer.horizon is not None


def gain(layer: LayerDiagnosis, part: str = "s") -> Curve | None:
    """Gain by lag of the whole state ``s``, or of LSTM's paths ``h`` and ``c``.

    None also of a layer whose gain is not known: its check failed, or a single step was seen. Where
    another route was measured, that of the recurrence is shown next to it.
    """
    if not is_known(layer) and layer.measurement(_BY_ROUTE) is None:
        return None
    return _curve(layer, "gain", "lag", ("part", part))


def every_route(layer: LayerDiagnosis) -> Curve | None:
    """Gain by lag by every route, where it differs from that of the recurrence."""
    return _curve(layer, _BY_ROUTE, "lag", ("route", "every route"))


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


def input_memory(layer: LayerDiagnosis) -> Curve | None:
    """log10 ‖∂s_t/∂x_{t−k}‖ by lag k."""
    return _curve(layer, "input memory", "lag")


def lag_matrix(layer: LayerDiagnosis) -> LagMatrix | None:
    """Norm of the gradient of each anchor's loss at each state; None also as for ``gain``."""
    if not is_known(layer):
        return None
    found = layer.measurement("lag matrix")
    values = None if found is None else reading.array(layer, found, ("anchor", "time"))
    if found is None or values is None:
        return None
    rows, columns = values.shape
    return LagMatrix(
        values,
        reading.numbers(layer, found, "anchor", rows),
        reading.numbers(layer, found, "time", columns),
    )


def _curve(
    layer: LayerDiagnosis, name: str, along: str, chosen: tuple[str, str] | None = None
) -> Curve | None:
    found = layer.measurement(name)
    if found is None:
        return None
    order = ("quantile", along) if chosen is None else (chosen[0], "quantile", along)
    values = reading.array(layer, found, order)
    if values is None:
        return None
    if chosen is not None:
        labels = reading.labels(layer, found, chosen[0], len(values))
        if chosen[1] not in labels:
            return None
        values = values[labels.index(chosen[1])]
    quantiles = reading.numbers(layer, found, "quantile", len(values))
    lowest, middle, highest = quantiles.argmin(), abs(quantiles - 0.5).argmin(), quantiles.argmax()
    return Curve(
        at=reading.numbers(layer, found, along, values.shape[-1]),
        low=values[lowest],
        middle=values[middle],
        high=values[highest],
        quantiles=(float(quantiles[lowest]), float(quantiles[highest])),
    )
