"""The measurements that a diagnosis carries: small, plain, ready to be drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from throughtime.diagnosis.evidence import Evidence
from throughtime.errors import InputError, UnsupportedError
from throughtime.findings import LayerDiagnosis, Measurement
from throughtime.measures import contributions, directions, lyapunov, memory, norms, spectrum
from throughtime.measures.lags import Floats, LagSweep
from throughtime.trace import LayerTrace

QUANTILES = (0.1, 0.5, 0.9)
# A picture needs no more points than it has pixels, and a report has to stay small.
_POINTS, _ROWS, _DECIMALS = 256, 64, 4
# A report of more layers shows the pictures of some; the others keep so many lags of their gain.
_MOST_LAYERS, _FEW_LAGS = 32, 16
# What follows many rows for each sequence looks at as many as make up so many entries of state.
_ENTRIES = 1024


def pictures(layer: LayerTrace | None, sweep: LagSweep) -> list[Measurement]:
    """Gain by lag, lag matrix, and (for a layer) states and gradients through time."""
    found = [_thinned_gain(sweep.gains(QUANTILES)), _thinned_matrix(sweep.matrix())]
    if layer is not None:
        found += [_states(layer), _gradients(layer)]
    return found


def explanations(evidence: Evidence) -> list[Measurement]:
    """Where the decades go, by which paths, what if not, and what is stuck: of one known layer."""
    found = [evidence.budget, evidence.counterfactuals, evidence.paths]
    found += evidence.saturation.values()
    return [one for one in found if one is not None]


def deep(layer: LayerTrace, lag: int) -> list[Measurement]:
    """What takes longer: exponents, spectrum, memory, contributions, directions."""
    few = layer.some(max(2, _ENTRIES // layer.states.shape[-1]))
    gated = len(layer.linear.squashing) > 1  # whose steps take no powers of one matrix
    measures: tuple[Callable[[], Measurement | Sequence[Measurement]], ...] = (
        lambda: lyapunov(layer),
        lambda: spectrum(layer, transient=not gated),
        lambda: memory(layer),
        lambda: contributions(few),
        lambda: directions(few, lag=lag),
    )
    found: list[Measurement] = []
    for measure in measures:
        try:
            one = measure()
        except (InputError, UnsupportedError):  # too short a run, a recurrence of marked states
            continue
        found += [one] if isinstance(one, Measurement) else one
    return found


def plain(found: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """Rounded, thinned along time, units and lags, and without arrays."""
    return tuple(
        replace(one, values=np.round(np.asarray(one.values, dtype=float), _DECIMALS)).plain()
        for one in map(_thinned, found)
    )


def slim(layers: Sequence[LayerDiagnosis], deciding: str) -> tuple[LayerDiagnosis, ...]:
    """Of many layers the first and the one that decides keep their pictures, the rest the gain."""
    if len(layers) <= _MOST_LAYERS:
        return tuple(layers)
    return tuple(
        one if i < _MOST_LAYERS or one.name == deciding else replace(one, measurements=_gain(one))
        for i, one in enumerate(layers)
    )


def _gain(layer: LayerDiagnosis) -> tuple[Measurement, ...]:
    """The median gain by lag alone, at a few lags."""
    gain = next((one for one in layer.measurements if one.name == "gain"), None)
    if gain is None:
        return ()
    values, middle = np.asarray(gain.values), gain.coords["quantile"].index(0.5)
    keep = _keep(values.shape[-1], _FEW_LAGS)
    coords = {
        "part": gain.coords["part"][:1],
        "quantile": (0.5,),
        "lag": tuple(gain.coords["lag"][i] for i in keep),
    }
    return (replace(gain, values=values[:1, middle : middle + 1, keep], coords=coords).plain(),)


def _thinned(found: Measurement) -> Measurement:
    """No axis longer than a picture has pixels."""
    values, coords = np.asarray(found.values), dict(found.coords)
    for axis, name in enumerate(found.axes):
        size = values.shape[axis]
        if size > 2 * _POINTS and name in ("time", "unit", "lag", "index", "exponent"):
            keep = _keep(size, _POINTS)
            values = values.take(keep, axis)
            coords[name] = tuple(coords.get(name, range(size))[i] for i in keep)
    return replace(found, values=values, coords=coords)


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
