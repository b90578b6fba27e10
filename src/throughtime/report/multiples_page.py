"""How a page of small multiples is drawn and laid out. Its words are in ``templates/``."""

from __future__ import annotations

import math
from functools import cache
from itertools import groupby

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from throughtime.report import style, wording
from throughtime.report.multiples import Line, Multiples, Panel
from throughtime.report.svg import to_svg

MOST = 240
"""Panels; what is beyond is left out of the page, and said to be. The table has it."""

_SIZE = (2.35, 1.6)  # inches: two beside each other on a phone, four on a desk
_TYPE = 9.5  # points
_COLOUR = {
    "solved": style.SERIES[0],
    "unsolved": style.SERIES[1],
    "diverged": style.BROKEN,
    "unfinished": style.WALL,
}


def render(page: Multiples) -> str:
    """See ``render_multiples``."""
    drawn = iter(_drawings(page))
    shown = [(row, [(panel, next(drawn, None)) for panel in row.panels]) for row in page.rows]
    groups = [(name, list(rows)) for name, rows in groupby(shown, key=lambda one: one[0].group)]
    left_out = max(0, sum(1 for _ in page.panels()) - MOST)
    return _template().render(page=page, groups=groups, left_out=left_out)


def _drawings(page: Multiples) -> list[str]:
    bounds = page.bounds()
    panels = list(page.panels())[:MOST]
    return [
        to_svg(
            style.figure_of(_drawn(panel, page.updates, bounds)),
            style.VARIABLES,
            f"p{number}",
            _told(panel),
        )
        for number, panel in enumerate(panels)
    ]


def _drawn(panel: Panel, updates: int, bounds: tuple[float, float]) -> Axes:
    axes = style.new_axes(_SIZE)
    _frame(axes, updates, bounds)
    for line in panel.lines:
        _draw(axes, line, bounds[1])
    if panel.level is not None and panel.level > 0:  # above the curves, that often lie on it
        level = math.log10(panel.level)
        axes.axhline(level, color=style.INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=3)
    if not any(line.points for line in panel.lines):
        axes.text(
            0.5, 0.5, "nothing was trained", transform=axes.transAxes, ha="center", va="center",
            color=style.MUTED, fontsize=_TYPE,
        )  # fmt: skip  # what belongs together, on one line
    return axes


def _draw(axes: Axes, line: Line, high: float) -> None:
    across = np.array([point for point, _ in line.points], dtype=float)
    losses = np.array([loss for _, loss in line.points], dtype=float)
    logs = np.full_like(losses, np.nan)
    shown = np.isfinite(losses) & (losses > 0)
    logs[shown] = np.log10(losses[shown])
    colour = style.WALL if line.beside else _COLOUR[line.fate]
    axes.plot(across, logs, color=colour, linewidth=1.2, alpha=0.9, solid_capstyle="round")
    if not shown.any():
        return
    if line.solved_at is not None:
        at = float(np.interp(line.solved_at, across[shown], logs[shown]))
        axes.plot(line.solved_at, min(at, high), "o", color=colour, markersize=4.5, clip_on=False)
    elif line.fate == "diverged":
        last = min(logs[shown][-1], high)
        axes.plot(across[shown][-1], last, "x", color=colour, markersize=6, clip_on=False)


def _frame(axes: Axes, updates: int, bounds: tuple[float, float]) -> None:
    low, high = bounds
    margin = 0.06 * (high - low)
    style.dress(axes, "", "")
    axes.tick_params(labelsize=_TYPE, pad=2)
    axes.set_xlim(0, updates * 1.02)
    axes.xaxis.set_major_locator(FixedLocator([0, updates]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:,.0f}"))
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.set_ylim(low - margin, high + margin)
    style.decade_ticks(axes.yaxis, low - margin, high + margin)
    axes.grid(axis="y", color=style.RULE, linewidth=0.7)


def _told(panel: Panel) -> str:
    """The panel for who cannot see it."""
    fates = [line.fate for line in panel.lines if not line.beside]
    counts = ", ".join(f"{fates.count(fate)} {fate}" for fate in dict.fromkeys(fates))
    return wording.clean(f"{panel.title}: {counts or 'nothing'}. {panel.note}")


def _finalised(value: object) -> object:
    """What every ``{{ ... }}`` passes before it is escaped: no control or direction characters."""
    is_text = isinstance(value, str) and not hasattr(value, "__html__")
    return wording.clean(value) if is_text else value


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("throughtime.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalised,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("multiples.html.j2")
