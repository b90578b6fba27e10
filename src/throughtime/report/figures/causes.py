"""Why it fades or grows: the budget of decades, the paths, what the norm of W_hh says."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from throughtime.findings import Diagnosis, LayerDiagnosis
from throughtime.report import causes, reading, style, wording
from throughtime.report.figures.subject import explaining, titled
from throughtime.report.language import say

_ROW, _FRAME = 0.3, 0.95  # inches: of one bar, and of what stands around all bars


class Bar(NamedTuple):
    """A bar from ``start`` to ``end``; without a number a heading of the bars below it."""

    label: str
    start: float
    end: float
    colour: str
    number: str


def height(rows: int) -> float:
    """The height in inches of a picture of so many bars."""
    return _FRAME + _ROW * max(rows, 2)


def rows_of_budget(layer: LayerDiagnosis) -> int:
    """How many bars the budget has, the gap before what would be among them."""
    parts = reading.row(layer, "budget", "cause")
    changes = reading.row(layer, "counterfactuals", "change")
    sizes = [len(one.labels) for one in (parts, changes) if one is not None]
    return sum(sizes) + len(sizes) - 1 if sizes else 0


def budget(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """Where the decades go: each cause begins where the one before it ended, up to the whole.

    Below, the rates that the same trajectory would have with one thing changed. Left of the dashed
    line less than 1 % is left at the span.
    """
    layer = explaining(subject)
    rows = 0 if layer is None else rows_of_budget(layer)
    axes = ax or style.new_axes((style.COMPACT[0], height(rows)))
    if layer is None or not rows:
        return style.nothing(axes, say("No budget was measured."))
    bars = [*_budget(layer), *_counterfactuals(layer)]
    _draw(axes, bars, say("decades per step"))
    _needed(axes, layer)
    return titled(axes, ax, say("Where the decades go: {name}", name=layer.name))


def _budget(layer: LayerDiagnosis) -> list[Bar]:
    row = reading.row(layer, "budget", "cause")
    bars, total = [], 0.0
    for label, value in zip(row.labels, row.values, strict=True) if row else ():
        if label == causes.WHOLE:
            bars.append(_bar(label, 0.0, float(value), style.INK))
        else:
            colour = style.SERIES[0] if value < 0 else style.SERIES[1]
            bars.append(_bar(label, total, float(value), colour))
            total = bars[-1].end
    return bars


def _counterfactuals(layer: LayerDiagnosis) -> list[Bar]:
    row = reading.row(layer, "counterfactuals", "change")
    if row is None:
        return []
    least, bars = causes.needed(layer), [Bar(say("What if:"), 0.0, 0.0, style.MUTED, "")]
    for label, value in zip(row.labels, row.values, strict=True):
        reaches = least is not None and least <= value <= -least
        colour = style.SERIES[2] if reaches else style.WALL
        bars.append(_bar(label, 0.0, float(value), colour))
    return bars


def paths(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """What share of the squared gradient came by each path: the carousel, through the gates."""
    layer = explaining(subject)
    row = None if layer is None else reading.row(layer, "paths", "path")
    axes = ax or style.new_axes((style.COMPACT[0], height(len(row.labels) if row else 0)))
    if layer is None or row is None:
        return style.nothing(axes, say("No paths were measured."))
    colours = [style.SERIES[n % len(style.SERIES)] for n in range(len(row.labels))]
    bars = [
        _bar(label, 0.0, value, colour, wording.share)
        for label, value, colour in zip(row.labels, row.values.tolist(), colours, strict=True)
    ]
    _draw(axes, bars, say("share of the gradient"), least=1.0)
    axes.set_xticks([0, 0.5, 1.0], ["0 %", "50 %", "100 %"])
    return titled(axes, ax, say("Paths: {name}", name=layer.name))


def norm_condition(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """The rate that the norm of W_hh allows at most, beside the one measured along the data."""
    layer = explaining(subject)
    row = None if layer is None else reading.row(layer, "norm condition", "figure")
    axes = ax or style.new_axes((style.COMPACT[0], height(len(row.labels) if row else 0)))
    if layer is None or row is None:
        return style.nothing(axes, say("No norm condition was measured."))
    bars = [
        _bar(label.partition(",")[0], 0.0, value, style.WALL if "bound" in label else style.INK)
        for label, value in zip(row.labels, row.values.tolist(), strict=True)
    ]
    _draw(axes, bars, say("decades per step"))
    return titled(axes, ax, say("Norm condition: {name}", name=layer.name))


def _bar(
    label: str,
    start: float,
    value: float,
    colour: str,
    worded: Callable[[float], str] = wording.decades,
) -> Bar:
    """A bar so long as its value; one that is no number has no length, and its number says so."""
    end = start + value if math.isfinite(value) else start
    return Bar(say(label), start, end, colour, worded(value))


def _draw(axes: Axes, bars: Sequence[Bar], across: str, least: float = 0.0) -> None:
    """Horizontal bars from the top down, each with its number at its end."""
    ends = np.array([(bar.start, bar.end) for bar in bars])
    low, high = float(min(0.0, ends.min())), float(max(least, ends.max()))
    extent = (high - low) or 1.0
    axes.set_xlim(low - 0.3 * extent * (low < 0), high + 0.3 * extent)
    axes.set_ylim(len(bars) - 0.45, -0.55)
    style.dress(axes, across, "")
    style.fractions(axes, 4)
    for place, bar in enumerate(bars):
        if not bar.number:
            continue
        axes.barh(place, bar.end - bar.start, 0.62, left=bar.start, color=bar.colour)
        # A number stands at the end of its bar; that of a tiny bar where no line runs through it.
        leftward = bar.start - bar.end > 0.15 * extent
        end = bar.end if leftward else max(bar.start, bar.end)
        axes.annotate(
            bar.number, (end, place), xytext=(-4 if leftward else 4, 0),
            textcoords="offset points", ha="right" if leftward else "left", va="center",
            color=style.INK, fontsize=9.5,
        )  # fmt: skip  # what belongs together, on one line
    axes.axvline(0, color=style.MUTED, linewidth=0.8)
    style.named_rows(axes, range(len(bars)), [_folded(bar.label) for bar in bars])


def _needed(axes: Axes, layer: LayerDiagnosis) -> None:
    """The rates between which the gradient still counts at the span."""
    least = causes.needed(layer)
    low, high = axes.get_xlim()
    if least is None or not low < least < high:
        return
    axes.axvline(least, color=style.LIMIT, linewidth=1.1, linestyle=(0, (4, 3)), zorder=0)
    axes.annotate(
        say("1 % left at the span"), (least, 1.0), xycoords=axes.get_xaxis_transform(),
        xytext=(0, 3), textcoords="offset points", ha="right", va="bottom", color=style.LIMIT,
        fontsize=9.5, annotation_clip=False,
    )  # fmt: skip  # what belongs together, on one line


def _folded(label: str) -> str:
    return "\n".join(textwrap.wrap(label, 16)) or label
