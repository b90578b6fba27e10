"""What the state still holds of the past, and what of the past moves the weights."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from throughtime.findings import Diagnosis, LayerDiagnosis
from throughtime.report import curves, reading, style, wording
from throughtime.report.figures import drawing
from throughtime.report.figures.subject import explaining, titled
from throughtime.report.language import say


def input_memory(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """How strongly the state still depends on the input of k steps ago."""
    layer, axes = explaining(subject), ax or style.new_axes(style.COMPACT)
    curve = None if layer is None else curves.input_memory(layer)
    if layer is None or curve is None:
        return style.nothing(axes, say("No input memory was measured."))
    drawing.curve(axes, curve, style.SERIES[0], say("median"))
    drawing.band(axes, curve, style.SERIES[0], drawing.quantile_label(curve))
    drawing.shade(axes, curve)
    style.dress(axes, say("lag k (steps since the input)"), say("state by input"))
    seen = np.concatenate([curve.low, curve.high])
    finite = curve.middle[np.isfinite(curve.middle)]
    top = float(finite.max()) if finite.size else 0.0
    style.decades(axes, seen, floor=top - 3, ceiling=top)
    style.legend(axes)
    return titled(axes, ax, say("Input memory: {name}", name=layer.name))


def memory_capacity(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """How well a linear read-out recovers the input of k steps ago, beside its baseline."""
    layer, axes = explaining(subject), ax or style.new_axes(style.COMPACT)
    table = None if layer is None else reading.table(layer, "memory capacity", "figure", "lag")
    found = layer.measurement("memory capacity") if layer else None
    held = None if table is None else table.get("held out")
    if layer is None or table is None or found is None or held is None:
        return style.nothing(axes, say("No memory capacity was measured."))
    at = reading.numbers(layer, found, "lag", len(held))
    shown = np.clip(held, -0.05, 1)
    axes.fill_between(at, 0, np.clip(shown, 0, 1), color=style.SERIES[2], alpha=0.15, linewidth=0)
    few = "o" if len(at) <= 25 else ""
    axes.plot(
        at, shown, color=style.SERIES[2], linewidth=2, marker=few, markersize=3.5,
        label=say("held out"),
    )  # fmt: skip  # what belongs together, on one line
    baseline = table.get("baseline")
    if baseline is not None:
        axes.plot(
            at, np.clip(baseline, -0.05, 1), color=style.LIMIT, linewidth=1.2,
            linestyle=(0, (4, 3)), label=say("baseline"),
        )  # fmt: skip  # what belongs together, on one line
    style.dress(axes, say("lag k (steps since the input)"), "R²")
    axes.set_ylim(-0.06, 1.03)
    axes.grid(axis="y", color=style.RULE, linewidth=0.8)
    style.legend(axes)
    return titled(axes, ax, say("Memory capacity: {name}", name=layer.name))


def contributions(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """What share of the update of the recurrent weights comes from how far back."""
    layer, axes = explaining(subject), ax or style.new_axes(style.COMPACT)
    table = None if layer is None else reading.table(layer, "contributions", "figure", "bucket")
    update = None if table is None else table.get("share of the update")
    if layer is None or table is None or update is None:
        return style.nothing(axes, say("No contributions were measured."))
    places, shown = np.arange(len(update)), reading.drawable(update, 0.0)
    tallest, norms = np.maximum(shown, 0.0), table.get("share of the norm")
    if norms is None:
        axes.bar(places, shown, 0.7, color=style.SERIES[0])
    else:
        beside = reading.drawable(norms, 0.0)
        tallest = np.maximum(tallest, beside)
        axes.bar(places - 0.2, shown, 0.38, color=style.SERIES[0], label=say("of the update"))
        axes.bar(places + 0.2, beside, 0.38, color=style.WALL, label=say("of the norms"))
    for place, share in zip(places, update.tolist(), strict=True):
        axes.annotate(
            wording.share(share), (place, tallest[place]), xytext=(0, 2),
            textcoords="offset points", ha="center", va="bottom", color=style.INK, fontsize=9,
        )  # fmt: skip  # what belongs together, on one line
    style.dress(axes, say("lag k (steps back from the loss)"), say("share"))
    style.named_columns(axes, places, [wording.short(one, 9) for one in table.columns])
    axes.axhline(0, color=style.MUTED, linewidth=0.8)
    axes.set_ylim(min(0.0, 1.1 * float(shown.min())), 1.14 * max(float(tallest.max()), 0.01))
    axes.yaxis.set_major_formatter(lambda share, _: wording.share(share))
    style.legend(axes)
    return titled(axes, ax, say("Share of the update by lag: {name}", name=layer.name))
