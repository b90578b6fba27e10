"""The pictures: one function each, of a diagnosis or of one of its layers.

    throughtime.report.figures.gain(found)
    throughtime.report.figures.lag_matrix(found.layers[0], ax=axes)

Each returns the matplotlib figure. All values are log10, so that nothing underflows, and the axes
are labelled in powers of ten. A stretch that is exactly zero, or not finite, is shaded: it is never
drawn as a small number.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from throughtime.errors import InputError
from throughtime.findings import Diagnosis, LayerDiagnosis
from throughtime.report import curves, drawing, style, wording

_LINES = ("-", "--", ":", "-.")
_NO_LAGS = "No lags: there was no step to travel back."


def gain(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """Gain by lag: how much of the gradient of one loss is left after k steps back.

    Median and quantiles over the batch and the anchors, LSTM's paths h and c as thin lines, the
    1 % line that ends the horizon, and the span that the task needs.
    """
    layer, axes = _layer(subject), ax or style.new_axes()
    whole = None if layer is None else curves.gain(layer)
    if layer is None or whole is None:
        return style.nothing(axes, _NO_LAGS)
    drawing.curve(axes, whole, style.SERIES[0], "median")
    drawing.band(axes, whole, style.SERIES[0], drawing.quantile_label(whole))
    drawing.shade(axes, whole)
    thin = [curves.gain(layer, path) for path in curves.paths(layer)]
    for path, colour, one in zip(curves.paths(layer), style.SERIES[1:], thin, strict=False):
        if one is not None:
            drawing.curve(axes, one, colour, f"path {path}", width=1.1)
    drawn = [whole, *(one for one in thin if one is not None)]
    seen = [whole.low, whole.high, *(one.middle for one in drawn)]
    _by_lag(axes, seen, layer.span, drawn)
    drawing.horizon(axes, layer, whole, style.SERIES[0], f"horizon {wording.horizon(layer)}")
    return _titled(axes, ax, f"Gain by lag: {layer.name}")


def compare(diagnoses: Mapping[str, Diagnosis], ax: Axes | None = None) -> Figure:
    """Gain by lag of several networks in one picture: the layer that decides each of them."""
    axes = ax or style.new_axes()
    layers = {name: curves.deciding(diagnosis) for name, diagnosis in diagnoses.items()}
    found = [
        (name, layer, curve)
        for name, layer in layers.items()
        if layer is not None and (curve := curves.gain(layer)) is not None
    ]
    if not found:
        return style.nothing(axes, _NO_LAGS)
    for place, (name, layer, curve) in enumerate(found):
        label = f"{wording.short(name, 24)}, horizon {wording.horizon(layer)}"
        drawing.curve(axes, curve, _colour(place), label, line=_LINES[place // 4 % 4])
        drawing.band(axes, curve, _colour(place))
        drawing.shade(axes, curve, _colour(place), height=drawing.STRIP)
    seen = [values for _, _, curve in found for values in (curve.low, curve.middle, curve.high)]
    span = max(layer.span for _, layer, _ in found)
    _by_lag(axes, seen, span, [curve for _, _, curve in found])
    for place, (_, layer, curve) in enumerate(found):
        drawing.horizon(axes, layer, curve, _colour(place), "")
    return _titled(axes, ax, "Gain by lag")


def lag_matrix(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """The lag matrix as a heat map: one row for each loss at t, one column for each state at k.

    Grey is exactly zero (a detached state, a truncated window), red is not finite; both differ
    from every colour of the scale. Where k > t there is nothing: no loss reaches a later state.
    """
    layer, axes = _layer(subject), ax or style.new_axes(style.SQUARE)
    matrix = None if layer is None else curves.lag_matrix(layer)
    if layer is None or matrix is None:
        return style.nothing(axes, "No lag matrix was measured.")
    drawing.heat_map(axes, matrix)
    style.dress(axes, "state at step k", "loss at step t")
    style.legend(axes)
    return _titled(axes, ax, f"Lag matrix: {layer.name}")


def gradients(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """Gradient through time: the total one, and the direct one that the loss sends into each step.

    ``retain_grad()`` on the output of a fused layer shows the direct one, which has no reach.
    """
    layer, axes = _layer(subject), ax or style.new_axes(style.COMPACT)
    total = None if layer is None else curves.gradients(layer, "total")
    direct = None if layer is None else curves.gradients(layer, "direct")
    if layer is None or (total is None and direct is None):
        return style.nothing(axes, "No gradients through time were measured.")
    if total is not None:
        drawing.band(axes, total, style.SERIES[0])
        drawing.curve(axes, total, style.SERIES[0], "total")
        drawing.shade(axes, total, style.SERIES[0], "total exactly zero", drawing.STRIP)
    if direct is not None:
        drawing.curve(axes, direct, style.SERIES[1], "direct", width=1.2)
        drawing.shade(axes, direct, style.SERIES[1], "direct exactly zero", drawing.STRIP)
    _through_time(axes, [total, direct], "norm of the gradient")
    return _titled(axes, ax, f"Gradients through time: {layer.name}")


def states(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """Norm of the state through time: median and quantiles over the batch."""
    layer, axes = _layer(subject), ax or style.new_axes(style.COMPACT)
    norms = None if layer is None else curves.states(layer)
    if layer is None or norms is None:
        return style.nothing(axes, "No states through time were measured.")
    drawing.curve(axes, norms, style.SERIES[2], "median")
    drawing.band(axes, norms, style.SERIES[2], drawing.quantile_label(norms))
    drawing.shade(axes, norms)
    _through_time(axes, [norms], "norm of the state")
    return _titled(axes, ax, f"States through time: {layer.name}")


def _layer(subject: Diagnosis | LayerDiagnosis) -> LayerDiagnosis | None:
    if isinstance(subject, LayerDiagnosis):
        return subject
    if isinstance(subject, Diagnosis):
        return curves.deciding(subject)
    raise InputError(
        "a picture is drawn of a Diagnosis or of one of its layers; this is "
        f"{type(subject).__name__}"
    )


def _by_lag(axes: Axes, seen: list[curves.Array], span: int, drawn: list[curves.Curve]) -> None:
    """Axes of a picture by lag, high enough for the values seen and wide enough for the curves."""
    style.dress(axes, "lag k (steps back from the loss)", "gain")
    style.decades(axes, np.concatenate(seen), floor=-3.0, ceiling=0.0)
    drawing.limits(axes, span, drawn)
    style.legend(axes)


def _through_time(axes: Axes, found: list[curves.Curve | None], what: str) -> None:
    present = [curve for curve in found if curve is not None]
    seen = np.concatenate([edge for curve in present for edge in (curve.low, curve.high)])
    finite = seen[np.isfinite(seen)]
    centre = float(finite.mean()) if finite.size else 0.0
    style.dress(axes, "step t", what)
    style.decades(axes, seen, floor=centre - 0.5, ceiling=centre + 0.5)
    style.legend(axes)


def _colour(place: int) -> str:
    return style.SERIES[place % len(style.SERIES)]


def _titled(axes: Axes, given: Axes | None, text: str) -> Figure:
    """The figure; with a heading only if it is ours: whoever brings axes brings the heading."""
    if given is None:
        style.title(axes, text)
    return style.figure_of(axes)
