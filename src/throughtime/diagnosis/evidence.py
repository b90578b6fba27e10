"""The measurements that a diagnosis carries: small, plain, ready to be drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from throughtime.findings import Measurement
from throughtime.measures import norms
from throughtime.measures.lags import Floats, LagSweep
from throughtime.trace import LayerTrace

QUANTILES = (0.1, 0.5, 0.9)
# A picture needs no more points than it has pixels, and a report has to stay small.
_POINTS, _ROWS, _DECIMALS = 256, 64, 4


def pictures(layer: LayerTrace | None, sweep: LagSweep) -> tuple[Measurement, ...]:
    """Gain by lag, lag matrix, and (for a layer) states and gradients through time."""
    found = [_thinned_gain(sweep.gains(QUANTILES)), _thinned_matrix(sweep.matrix())]
    if layer is not None:
        found += [_states(layer), _gradients(layer)]
    return tuple(replace(one, values=np.round(one.values, _DECIMALS)).plain() for one in found)


def _states(layer: LayerTrace) -> Measurement:
    norm = norms(layer, of="states")
    keep = _keep(layer.steps, _POINTS)
    return Measurement(
        "states",
        _over_batch(norm.values)[:, keep],
        ("quantile", "time"),
        "log10",
        norm.how,
        {"quantile": QUANTILES, "time": tuple(keep)},
    )


def _gradients(layer: LayerTrace) -> Measurement:
    total, direct = norms(layer), norms(layer, of="direct")
    keep = _keep(layer.steps, _POINTS)
    return Measurement(
        "gradients",
        np.stack([_over_batch(total.values), _over_batch(direct.values)])[..., keep],
        ("source", "quantile", "time"),
        "log10",
        f"total: {total.how}; direct: {direct.how}",
        {"source": ("total", "direct"), "quantile": QUANTILES, "time": tuple(keep)},
    )


def _thinned_gain(gain: Measurement) -> Measurement:
    lags = gain.coords["lag"]
    keep = _keep(len(lags), 2 * _POINTS)
    coords = {**gain.coords, "lag": tuple(lags[i] for i in keep)}
    return Measurement(
        gain.name, np.asarray(gain.values)[..., keep], gain.axes, gain.unit, gain.how, coords
    )


def _thinned_matrix(matrix: Measurement) -> Measurement:
    values = np.asarray(matrix.values)
    median = _quantile_over_last(values, 0.5)
    rows, columns = _keep(values.shape[0], _ROWS), _keep(values.shape[1], _POINTS)
    coords = {
        "anchor": tuple(matrix.coords["anchor"][i] for i in rows),
        "time": tuple(matrix.coords["time"][i] for i in columns),
    }
    how = f"{matrix.how}; the median over the batch"
    return Measurement(
        matrix.name, median[np.ix_(rows, columns)], ("anchor", "time"), "log10", how, coords
    )


def _keep(size: int, most: int) -> list[int]:
    """At most ``most`` indices, evenly spread, the first and the last among them."""
    if size <= most:
        return list(range(size))
    return sorted({int(i) for i in np.linspace(0, size - 1, most).round()})


def _over_batch(values: Floats) -> Floats:
    return np.stack([_quantile_over_last(values, q) for q in QUANTILES])


def _quantile_over_last(values: Floats, q: float) -> Floats:
    """An actual sample (−inf is one) at the quantile of those that are not NaN."""
    if not values.shape[-1]:
        return np.full(values.shape[:-1], np.nan)
    ordered = np.sort(values, axis=-1)
    count = (~np.isnan(ordered)).sum(-1, keepdims=True)
    index = np.clip(np.round(q * (count - 1)).astype(int), 0, None)
    found: Floats = np.take_along_axis(ordered, index, axis=-1)[..., 0]
    return found
