"""How the pictures look: colours, type, axes in decades. No global state of matplotlib is touched.

The colours below are those of a light page. In a report each becomes a CSS variable (``svg.py``),
so that the page can give it another value in the dark; hence no two of them may be equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from matplotlib import colormaps, font_manager
from matplotlib.axes import Axes
from matplotlib.axis import YAxis
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from throughtime.report import wording
from throughtime.report.svg import to_svg

INK, MUTED, RULE = "#1d2733", "#5d6977", "#dde2e8"
SERIES = ("#1b5e9b", "#b8521b", "#1f7a5c", "#80479b")
"""Blue, vermilion, green, purple: told apart with every common colour blindness."""
LIMIT, WALL, BROKEN = "#8a6500", "#6e747a", "#b3261e"
"""The 1 % line; exactly zero; not finite."""

STUCK = "#b8521b"
"""A stuck share, from nothing to full; it stands inside an image, which no page can recolour."""

VARIABLES = {
    INK: "--tt-ink",
    MUTED: "--tt-muted",
    RULE: "--tt-rule",
    **{colour: f"--tt-series-{number}" for number, colour in enumerate(SERIES, 1)},
    LIMIT: "--tt-limit",
    WALL: "--tt-wall",
    BROKEN: "--tt-broken",
}

WIDE, COMPACT, SQUARE = (9.8, 3.7), (4.7, 2.8), (4.7, 4.4)
"""Sizes in inches: the picture on top of a page, one in a column, the lag matrix."""
STRIP = (9.8, 1.35)
"""A strip of time across the page."""


class Picture(Figure):
    """A figure that a notebook can show without pyplot."""

    def _repr_svg_(self) -> str:
        return to_svg(self, VARIABLES)


def new_axes(size: tuple[float, float] = WIDE) -> Axes:
    """The axes of a figure of its own, with nothing behind it: the page shows through."""
    figure = Picture(figsize=size, layout="constrained", facecolor="none")
    return figure.add_subplot(facecolor="none")


def figure_of(axes: Axes) -> Figure:
    """The figure that the axes lie in."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)  # axes that were taken off their figure have none
    return figure


def dress(axes: Axes, across: str, upward: str) -> None:
    """Calm axes: labels, faint rules along the decades, no box."""
    axes.set_xlabel(across, color=MUTED, fontsize=10)
    axes.set_ylabel(upward, color=MUTED, fontsize=10)
    axes.tick_params(colors=MUTED, labelsize=9.5, length=3, width=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(MUTED)
        spine.set_linewidth(0.8)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)


def fractions(axes: Axes, most: int) -> None:
    """At most so many ticks across, at fractions too."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=most))


def decades(axes: Axes, values: NDArray[np.float64], floor: float, ceiling: float) -> None:
    """Limits and ticks of a y-axis that holds log10, so that ``values`` (any shape) are seen.

    The axis covers at least ``floor`` to ``ceiling``; it never shows more than 60 decades.
    """
    finite = values[np.isfinite(values)]
    low = min([floor, *([finite.min()] if finite.size else [])])
    high = max([ceiling, *([finite.max()] if finite.size else [])])
    low = max(low, min(high - 60, floor))
    margin = 0.06 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    decade_ticks(axes.yaxis, low - margin, high + margin)
    axes.grid(axis="y", color=RULE, linewidth=0.8)


def decade_ticks(axis: YAxis, low: float, high: float) -> None:
    """Ticks of an axis of log10: whole decades; over a short stretch 1, 2, 5, 10, 20, 50, ..."""
    if high - low >= 3:
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axis.set_major_formatter(FuncFormatter(lambda log10, _: wording.decade(round(log10))))
        return
    digits = (1, 2, 5) if high - low < 1.6 else (1,) if high - low > 2.2 else (1, 3)
    steps = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step + math.log10(digit) for step in steps for digit in digits]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.set_major_formatter(
        FuncFormatter(lambda log10, _: wording.power(log10).replace(".0 ×", " ×"))
    )


def named_rows(axes: Axes, places: Iterable[float], names: Sequence[str]) -> None:
    """Names in place of numbers beside the rows; any name is text, never mathematics."""
    axes.set_yticks(list(places), list(names), parse_math=False, color=INK)
    axes.tick_params(axis="y", length=0)


def named_columns(axes: Axes, places: Iterable[float], names: Sequence[str]) -> None:
    """Names in place of numbers below the columns."""
    axes.set_xticks(list(places), list(names), parse_math=False)


def frame(left: float, low: float, width: float, height: float) -> Rectangle:
    """A thin frame around something that may be empty."""
    return Rectangle((left, low), width, height, fill=False, edgecolor=RULE, linewidth=0.8)


def legend(axes: Axes) -> None:
    """The key, above the axes, where it cannot hide a curve, in as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    widths = [36 + 6.2 * wording.width(label) for label in labels]
    room = 0.85 * 72 * figure_of(axes).get_figwidth()
    key = axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=_columns(widths, room),
        frameon=False,
        labelcolor=INK,
        prop={"family": families(), "size": 9.5},
        handlelength=1.4,
        columnspacing=1.4,
        borderaxespad=0.3,
    )
    for text in key.get_texts():
        text.set_parse_math(False)


def _columns(widths: list[float], room: float) -> int:
    """The largest number of columns, filled from top to bottom, that fits in ``room``."""
    for columns in range(len(widths), 1, -1):
        rows = math.ceil(len(widths) / columns)
        filled = range(0, len(widths), rows)
        if sum(max(widths[start : start + rows]) for start in filled) <= room:
            return columns
    return 1


def title(axes: Axes, text: str) -> None:
    """A heading above everything; a name in it is text, never mathematics between dollar signs."""
    figure_of(axes).suptitle(
        wording.short(text, 64),
        x=0.01,
        horizontalalignment="left",
        fontfamily=families(),
        fontsize=11,
        color=INK,
        parse_math=False,
    )


def nothing(axes: Axes, why: str) -> Figure:
    """An honest empty picture: one sentence in place of the curve."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=MUTED)
    return figure_of(axes)


def heat() -> Colormap:
    """Dark to bright in even steps of lightness, the same to colour-blind eyes.

    Below its range: exactly zero. Above it: not finite. Where there is no number: nothing.
    """
    return colormaps["viridis"].with_extremes(under=WALL, over=BROKEN, bad="none")


@cache
def families() -> list[str]:
    """Fonts for names that a user chose, those of Korean, Japanese and Chinese among them."""
    wanted = [
        "DejaVu Sans",
        *("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Apple SD Gothic Neo"),
        *("Malgun Gothic", "Noto Sans CJK JP", "Hiragino Sans", "Yu Gothic"),
    ]
    present = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in wanted if name in present]
