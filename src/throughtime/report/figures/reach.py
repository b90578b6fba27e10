"""How far back: gain by lag, the lag matrix, gradients and states through time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from throughtime.findings import Diagnosis, LayerDiagnosis
from throughtime.report import curves, style, wording
from throughtime.report.figures import drawing
from throughtime.report.figures.subject import deciding, titled
from throughtime.report.language import say
from throughtime.report.reading import Array

_LINES = ("-", "--", ":", "-.")


def gain(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """Gain by lag: how much of the gradient of one loss is left after k steps back.

    Median and quantiles over the batch and the anchors, LSTM's paths h and c as thin lines, the
    1 % line that ends the horizon, and the span that the task needs.
    """
    layer, axes = deciding(subject), ax or style.new_axes()
    whole = None if layer is None else curves.gain(layer)
    if layer is None or whole is None:
        return style.nothing(axes, say("No lags: there was no step to travel back."))
    every = curves.every_route(layer)
    label = say("median") if every is None else say("through the recurrence")
    drawing.curve(axes, whole, style.SERIES[0], label)
    drawing.band(axes, whole, style.SERIES[0], drawing.quantile_label(whole))
    drawing.shade(axes, whole)
    thin = [curves.gain(layer, path) for path in curves.paths(layer)]
    for path, colour, one in zip(curves.paths(layer), style.SERIES[1:], thin, strict=False):
        if one is not None:
            drawing.curve(
                axes, one, colour, say("path {name}", name=wording.short(path, 12)), width=1.1
            )
    if every is not None:
        drawing.curve(axes, every, style.SERIES[3], say("by every route"), line="--")
        thin.append(every)
    drawn = [whole, *(one for one in thin if one is not None)]
    seen = [whole.low, whole.high, *(one.middle for one in drawn)]
    _by_lag(axes, seen, layer.span, drawn)
    drawing.horizon(
        axes, layer, whole, style.SERIES[0], say("horizon {number}", number=wording.horizon(layer))
    )
    return titled(axes, ax, say("Gain by lag: {name}", name=layer.name))


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
        return style.nothing(axes, say("No lags: there was no step to travel back."))
    for place, (name, layer, curve) in enumerate(found):
        reached = say("horizon {number}", number=wording.horizon(layer))
        label = f"{wording.short(name, 24)}, {reached}"
        drawing.curve(axes, curve, _colour(place), label, line=_LINES[place // 4 % 4])
        drawing.band(axes, curve, _colour(place))
        drawing.shade(axes, curve, _colour(place), height=drawing.STRIP)
    seen = [values for _, _, curve in found for values in (curve.low, curve.middle, curve.high)]
    span = max(layer.span for _, layer, _ in found)
    _by_lag(axes, seen, span, [curve for _, _, curve in found])
    for place, (_, layer, curve) in enumerate(found):
        drawing.horizon(axes, layer, curve, _colour(place), "")
    return titled(axes, ax, say("Gain by lag"))


def lag_matrix(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """The lag matrix as a heat map: one row for each loss at t, one column for each state at k.

    Grey is exactly zero (a detached state, a truncated window), red is not finite; both differ
    from every colour of the scale. Where k > t there is nothing: no loss reaches a later state.
    """
    layer, axes = deciding(subject), ax or style.new_axes(style.SQUARE)
    matrix = None if layer is None else curves.lag_matrix(layer)
    if layer is None or matrix is None:
        return style.nothing(axes, say("No lag matrix was measured."))
    drawing.heat_map(axes, matrix)
    style.dress(axes, say("state at step k"), say("loss at step t"))
    style.legend(axes)
    return titled(axes, ax, say("Lag matrix: {name}", name=layer.name))


def gradients(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """Gradient through time: the total one, and the direct one that the loss sends into each step.

    ``retain_grad()`` on the output of a fused layer shows the direct one, which has no reach.
    """
    layer, axes = deciding(subject), ax or style.new_axes(style.COMPACT)
    total = None if layer is None else curves.gradients(layer, "total")
    direct = None if layer is None else curves.gradients(layer, "direct")
    if layer is None or (total is None and direct is None):
        return style.nothing(axes, say("No gradients through time were measured."))
    if total is not None:
        drawing.band(axes, total, style.SERIES[0])
        drawing.curve(axes, total, style.SERIES[0], say("total"))
        drawing.shade(axes, total, style.SERIES[0], say("total exactly zero"), drawing.STRIP)
    if direct is not None:
        drawing.curve(axes, direct, style.SERIES[1], say("direct"), width=1.2)
        drawing.shade(axes, direct, style.SERIES[1], say("direct exactly zero"), drawing.STRIP)
    _through_time(axes, [total, direct], say("norm of the gradient"))
    return titled(axes, ax, say("Gradients through time: {name}", name=layer.name))


def states(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """Norm of the state through time: median and quantiles over the batch."""
    layer, axes = deciding(subject), ax or style.new_axes(style.COMPACT)
    norms = None if layer is None else curves.states(layer)
    if layer is None or norms is None:
        return style.nothing(axes, say("No states through time were measured."))
    drawing.curve(axes, norms, style.SERIES[2], say("median"))
    drawing.band(axes, norms, style.SERIES[2], drawing.quantile_label(norms))
    drawing.shade(axes, norms)
    _through_time(axes, [norms], say("norm of the state"))
    return titled(axes, ax, say("States through time: {name}", name=layer.name))


def _by_lag(axes: Axes, seen: list[Array], span: int, drawn: list[curves.Curve]) -> None:
    """Axes of a picture by lag, high enough for the values seen and wide enough for the curves."""
    style.dress(axes, say("lag k (steps back from the loss)"), say("gain"))
    style.decades(axes, np.concatenate(seen), floor=-3.0, ceiling=0.0)
    drawing.limits(axes, span, drawn)
    style.legend(axes)


def _through_time(axes: Axes, found: list[curves.Curve | None], what: str) -> None:
    present = [curve for curve in found if curve is not None]
    seen = np.concatenate([edge for curve in present for edge in (curve.low, curve.high)])
    finite = seen[np.isfinite(seen)]
    centre = float(finite.mean()) if finite.size else 0.0
    style.dress(axes, say("step t"), what)
    style.decades(axes, seen, floor=centre - 0.5, ceiling=centre + 0.5)
    style.legend(axes)


def _colour(place: int) -> str:
    return style.SERIES[place % len(style.SERIES)]
