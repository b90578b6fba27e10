"""What the pictures are made of: a curve with its band, the 1 % line and the span, a heat map."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from throughtime.findings import LayerDiagnosis
from throughtime.report import style, wording
from throughtime.report.curves import Curve, LagMatrix
from throughtime.report.language import say
from throughtime.report.reading import Array

POINTS = 400
"""No more points than this are drawn of one curve, nor cells along a side of a heat map."""

STRIP = 0.05
"""The share of the height that a strip along the foot takes."""

BEYOND = 1e3
"""Further than any axis shows: where a band goes whose quantile is exactly zero."""


def curve(
    axes: Axes, drawn: Curve, colour: str, label: str, width: float = 2.0, line: str = "-"
) -> None:
    """One median, drawn where it is a number; ``shade`` shows where it is none."""
    drawn = drawn.thinned(POINTS)
    finite = np.where(np.isfinite(drawn.middle), drawn.middle, np.nan)
    few = int(np.isfinite(finite).sum()) <= 25
    axes.plot(
        drawn.at,
        finite,
        color=colour,
        linewidth=width,
        linestyle=line,
        marker="o" if few else "",
        markersize=3.5,
        label=_shown(label),
    )


def band(axes: Axes, drawn: Curve, colour: str, label: str = "") -> None:
    """The stretch between the lowest and the highest quantile."""
    drawn = drawn.thinned(POINTS)
    low, high = (np.clip(edge, -BEYOND, BEYOND) for edge in (drawn.low, drawn.high))
    axes.fill_between(
        drawn.at,
        low,
        high,
        where=list(np.isfinite(drawn.middle)),
        color=colour,
        alpha=0.18,
        linewidth=0,
        label=label,
    )


def quantile_label(drawn: Curve) -> str:
    """``10 to 90 %``."""
    low, high = (f"{100 * quantile:g}" for quantile in drawn.quantiles)
    return say("{low} to {high} %", low=low, high=high)


def shade(
    axes: Axes,
    drawn: Curve,
    colour: str = style.WALL,
    label: str = "",
    height: float = 1.0,
) -> None:
    """Shade where the median is exactly zero (in ``colour``, told in ``label``), or not finite.

    ``height`` is a share of the axes: all of it, or a ``STRIP`` along the foot for one of several
    curves.
    """
    drawn = drawn.thinned(POINTS)
    for where, shown, meaning in (
        (np.isneginf(drawn.middle), colour, label or say("exactly zero")),
        (np.isposinf(drawn.middle), style.BROKEN, say("not finite")),
    ):
        for start, end in _stretches(drawn.at, where):
            known = axes.get_legend_handles_labels()[1]
            shaded = axes.axvspan(start, end, ymax=height, color=shown, alpha=0.3, linewidth=0)
            shaded.set_label("" if meaning in known else meaning)


def _stretches(at: Array, where: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Where the condition holds along the axis, half a step to each side of the points."""
    borders = np.r_[at[0] - 0.5, (at[1:] + at[:-1]) / 2, at[-1] + 0.5]
    changes = np.flatnonzero(np.diff(np.r_[False, where, False].astype(int)))
    return [
        (float(borders[start]), float(borders[end]))
        for start, end in zip(changes[::2], changes[1::2], strict=True)
    ]


def limits(axes: Axes, span: int, drawn: list[Curve]) -> None:
    """The 1 % line and the span, named where no curve ends.

    A span much longer than what was captured would crush the curves: it is then named at the edge.
    """
    longest = max(float(one.at.max()) for one in drawn)
    beyond = span > 1.5 * longest > 0
    end = longest if beyond else max(longest, span, 1)
    axes.set_xlim(0, 1.01 * end)
    axes.axhline(wording.THRESHOLD, color=style.LIMIT, linewidth=1.1, linestyle=(0, (4, 3)))
    axes.text(
        1.008, wording.THRESHOLD, "1 %", transform=axes.get_yaxis_transform(),
        ha="left", va="center", color=style.LIMIT, fontsize=9.5,
    )  # fmt: skip  # what belongs together, on one line
    if not beyond:
        axes.axvline(span, color=style.INK, linewidth=1.1, linestyle=(0, (1, 2)))
    axes.annotate(
        say("span {number}", number=f"{span:,}") + (" \u2192" if beyond else ""),
        (end if beyond else span, _free_height(axes, drawn)),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-5, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        color=style.INK,
        fontsize=9.5,
    )


def _free_height(axes: Axes, drawn: list[Curve]) -> float:
    """Of a few heights, the one furthest from where the curves and the 1 % line end."""
    low, high = axes.get_ylim()
    ends = [one.middle[np.isfinite(one.middle)][-1:] for one in drawn]
    taken = (np.concatenate([[wording.THRESHOLD], *ends]) - low) / (high - low)
    return max((0.94, 0.06, 0.5, 0.28, 0.72), key=lambda height: float(abs(taken - height).min()))


def horizon(axes: Axes, layer: LayerDiagnosis, drawn: Curve, colour: str, label: str) -> None:
    """A ring where the gain falls under 1 %; none where the capture ended before that."""
    if layer.horizon is None or layer.reaches_end:
        return
    place = int(np.abs(drawn.at - layer.horizon).argmin())
    at, gain = float(drawn.at[place]), float(drawn.middle[place])
    if not np.isfinite(gain):
        return
    axes.plot(
        at, gain, marker="o", markersize=7,
        markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.6,
    )  # fmt: skip  # what belongs together, on one line
    axes.annotate(
        label, (at, gain), xytext=(8, 5), textcoords="offset points", color=colour, fontsize=9.5
    )


def heat_map(axes: Axes, matrix: LagMatrix) -> None:
    """The lag matrix in bands of colour, with a bar in decades and a key to what is no number."""
    finite = matrix.values[np.isfinite(matrix.values)]
    levels = _levels(finite)
    inside = np.clip(matrix.values, levels[0], levels[-1] - 1e-9)
    outside = np.where(matrix.values > 0, levels[-1] + 1, levels[0] - 1)
    shown = np.where(np.isinf(matrix.values), outside, inside)
    image = axes.imshow(
        _evenly(shown, matrix),
        cmap=style.heat(),
        norm=BoundaryNorm(list(levels), style.heat().N),
        interpolation="none",
        origin="lower",
        aspect="auto",
        extent=(*_ends(matrix.times), *_ends(matrix.anchors)),
    )
    # Whole steps, also of a single row.
    axes.yaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    if finite.size:
        _bar(axes, image, levels, below=bool(finite.min() < levels[0]))
    for colour, meaning, present in (
        (style.WALL, say("exactly zero"), np.isneginf(matrix.values).any()),
        (style.BROKEN, say("not finite"), np.isposinf(matrix.values).any()),
    ):
        if present:
            axes.fill_between([], [], color=colour, linewidth=0, label=meaning)


def _bar(axes: Axes, image: AxesImage, levels: Array, below: bool) -> None:
    bar = style.figure_of(axes).colorbar(image, ax=axes, fraction=0.045, pad=0.03, aspect=40)
    style.decade_ticks(bar.ax.yaxis, levels[0], levels[-1])
    bar.ax.minorticks_off()
    if below:
        bar.ax.set_xlabel(f"≤ {wording.decade(round(levels[0]))}", color=style.MUTED, fontsize=9.5)
    bar.ax.tick_params(colors=style.MUTED, labelsize=9.5, length=0)
    bar.outline.set_visible(False)


def _levels(finite: Array) -> Array:
    """The borders of the bands of colour: even steps, and no more than 24 bands or 24 decades."""
    if not finite.size:
        return np.array([-1.0, 0.0])
    extent = min(24.0, float(np.ptp(finite)))
    step = next(step for step in (0.1, 0.25, 0.5, 1.0) if extent <= 22 * step or step == 1.0)
    high = np.floor(finite.max() / step + 1) * step
    low = max(np.floor(finite.min() / step) * step, high - 24)
    borders: Array = high - step * np.arange(round((high - low) / step) + 1)[::-1]
    return borders


def _ends(at: Array) -> tuple[float, float]:
    return float(at[0]) - 0.5, float(at[-1]) + 0.5


def _evenly(values: Array, matrix: LagMatrix) -> Array:
    """The matrix on an even grid: anchors that lie far apart each fill the rows nearest to them."""
    rows, columns = (_nearest(at) for at in (matrix.anchors, matrix.times))
    return values[np.ix_(rows, columns)]


def _nearest(at: Array) -> NDArray[np.intp]:
    low, high = _ends(at)
    cells = int(min(POINTS, max(high - low, len(at))))
    centres = low + (np.arange(cells) + 0.5) * (high - low) / cells
    return np.searchsorted((at[1:] + at[:-1]) / 2, centres)


def _shown(label: str) -> str:
    """A label that the key shows: matplotlib leaves out those that begin with an underscore."""
    return f"\u200b{label}" if label.startswith("_") else label
