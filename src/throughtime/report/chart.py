"""A picture made of letters: gain by lag, for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from throughtime.report import wording
from throughtime.report.curves import Curve
from throughtime.report.language import say
from throughtime.report.reading import Array

ROWS = 13


class Signs(NamedTuple):
    """The letters that a chart is made of."""

    points: str
    band: str
    limit: str
    span: str
    zero: str
    broken: str
    wall: str
    corner: str
    floor: str


BOXES = Signs("●▲■◆", "░", "┈", "┊", "×", "!", "│", "└", "─")
ASCII = Signs("*o#%", ":", "-", "|", "x", "!", "|", "+", "-")


class _Paper:
    """A grid of letters: log10 of the gain upward, lag to the right."""

    def __init__(self, curves: Sequence[Curve], span: int, columns: int) -> None:
        finite = np.concatenate([np.r_[c.middle, c.high, wording.THRESHOLD - 1, 0] for c in curves])
        finite = finite[np.isfinite(finite)]
        self.top: int = math.ceil(finite.max())
        self.bottom: int = max(math.floor(finite.min()), self.top - 60)
        longest = max(float(curve.at.max()) for curve in curves)
        # As in the figures: a span much longer than the capture would crush the curve.
        self.end: float = longest if span > 1.5 * longest > 0 else max(longest, span, 1)
        self.columns = columns
        self.letters = np.full((ROWS, columns), " ", dtype="<U1")

    def row(self, log10: float) -> int:
        """The row of a value; the first or the last one for a value off the paper."""
        share = (self.top - min(max(log10, self.bottom), self.top)) / (self.top - self.bottom)
        return round(share * (ROWS - 1))

    def column(self, lag: float) -> int:
        """The column of a lag."""
        return round(lag / self.end * (self.columns - 1))

    def values(self, curve: Curve, edge: Array) -> Array:
        """What ``edge``, one line of the curve, is at each column; NaN beyond what was measured."""
        lags = np.linspace(0, self.end, self.columns)
        nearest = edge[np.abs(curve.at[:, None] - lags).argmin(axis=0)]
        with np.errstate(invalid="ignore"):
            between = np.interp(lags, curve.at, edge)
        found = np.where(np.isfinite(between) & np.isfinite(nearest), between, nearest)
        return np.where(lags <= curve.at[-1] + 0.5, found, np.nan)

    def labels(self, signs: Signs) -> list[str]:
        """One for each row: the decade that lies there, if one does."""
        named = (lambda exponent: f"1e{exponent:+d}") if signs is ASCII else wording.decade
        step = max(1, math.ceil((self.top - self.bottom) / 5))
        labels = [""] * ROWS
        for exponent in range(0, self.bottom - 1, -step):
            labels[self.row(exponent)] = named(exponent)
        for exponent in range(step, self.top + 1, step):
            labels[self.row(exponent)] = named(exponent)
        labels[self.row(wording.THRESHOLD)] = "1 %"
        return labels


def by_lag(
    named: Sequence[tuple[str, Curve]], span: int, width: int, signs: Signs = BOXES
) -> list[str]:
    """The lines of the picture, ``width`` columns wide; its key is the last of them.

    A single curve has its band of quantiles. Of several, the first lies on top.
    """
    paper = _Paper([curve for _, curve in named], span, max(16, width - 9))
    paper.letters[paper.row(wording.THRESHOLD), ::2] = signs.limit
    if span <= paper.end:
        paper.letters[:, paper.column(span)] = signs.span
    used = {
        sign
        for place, (_, curve) in reversed(list(enumerate(named)))
        for sign in _draw(paper, curve, signs, place, len(named) == 1)
    }
    labels = paper.labels(signs)
    lines = [
        f"{label:>6} {signs.wall}{''.join(row)}"
        for label, row in zip(labels, paper.letters, strict=True)
    ]
    return [*lines, *_axis(paper, signs), *_key(named, span, width, signs, used)]


def _draw(paper: _Paper, curve: Curve, signs: Signs, place: int, banded: bool) -> set[str]:
    """One curve on the paper; the signs that it took."""
    used = set()
    low, middle, high = (
        paper.values(curve, edge) for edge in (curve.low, curve.middle, curve.high)
    )
    for column in np.flatnonzero(~np.isnan(middle)):
        value = middle[column]
        if banded and np.isfinite(value) and not np.isnan((low[column], high[column])).any():
            paper.letters[paper.row(high[column]) : paper.row(low[column]) + 1, column] = signs.band
            used.add(signs.band)
        sign = signs.points[place % len(signs.points)]
        if not np.isfinite(value):
            sign = signs.broken if value > 0 else signs.zero
        paper.letters[paper.row(value), column] = sign
        used.add(sign)
    return used


def _axis(paper: _Paper, signs: Signs) -> list[str]:
    """The floor of the picture, and the lags below it."""
    columns = paper.columns
    numbers = [" "] * (columns + 8)
    for lag in range(0, int(paper.end) + 1, _round_step(paper.end / 5)):
        text = f"{lag:,}"
        start = min(max(8, 8 + paper.column(lag) - len(text) // 2), columns + 8 - len(text))
        numbers[start : start + len(text)] = text
    return [
        f"{'':>6} {signs.corner}{signs.floor * columns}",
        "".join(numbers).rstrip() if columns >= 30 else f"{'':8}0 – {paper.end:,.0f}",
    ]


def _round_step(least: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, ..."""
    decade: int = 10 ** math.floor(math.log10(max(least, 1)))
    return next(decade * digit for digit in (1, 2, 5, 10) if decade * digit >= least)


def _key(
    named: Sequence[tuple[str, Curve]], span: int, width: int, signs: Signs, used: set[str]
) -> list[str]:
    """What each sign means, as many in a line as fit."""
    points = [
        (signs.points[place % len(signs.points)], wording.short(name, 32))
        for place, (name, _) in enumerate(named)
    ]
    low, high = (f"{100 * quantile:g}" for quantile in named[0][1].quantiles)
    meanings = [
        *points,
        (signs.band, say("{low} to {high} %", low=low, high=high)),
        (signs.zero, say("exactly zero")),
        (signs.broken, say("not finite")),
    ]
    known = {sign for sign, _ in points}
    entries = [say("lag k, steps back from the loss")]
    entries += [f"{sign} {text}" for sign, text in meanings if sign in used | known]
    entries += [f"{signs.limit} 1 %", f"{signs.span} {say('span {number}', number=f'{span:,}')}"]
    lines = [""]
    for entry in entries:
        if lines[-1] and wording.width(lines[-1] + entry) + 11 > width:
            lines.append("")
        lines[-1] += f"   {entry}" if lines[-1] else entry
    return [f"{'':8}{line}" for line in lines]
