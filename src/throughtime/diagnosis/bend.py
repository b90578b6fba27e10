"""Where a gain by lag turns from one pace to another: a fall and then a plateau, a swell, a cliff.

One rate describes a straight line alone. Two figures that a reader multiplies must multiply, so a
curve with a bend is described by its two pieces.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# A line that misses the curve anywhere by more than so many decades, and by more than this share of
# its whole range, does not describe it.
_MISSED, _OF_RANGE = 0.3, 0.05
# The two pieces must explain at least this much of what one line leaves over.
_EXPLAINED = 0.75
# Places at which a bend is looked for.
_PLACES = 64


class Bend(NamedTuple):
    """Two straight pieces: up to ``lag``, where log10 of the gain is ``level``, and beyond.

    ``before``, ``after``: the slopes, decades per step.
    """

    lag: int
    level: float
    before: float
    after: float


class Course(NamedTuple):
    """The bend of a curve, if two pieces describe it; else by how much one line misses it."""

    bend: Bend | None = None
    uneven: float = 0.0


def course_of(median: NDArray[np.float64]) -> Course:
    """How a log10 gain runs by lag: along a line, along two pieces, or up and down.

    ``uneven`` is the largest distance from one line, in decades, where two pieces do not help.
    """
    lags = np.flatnonzero(np.isfinite(median))
    if len(lags) < 5:
        return Course()
    values = median[lags]
    line = _left_over(np.stack([np.ones(len(lags)), lags], 1), values)
    missed = float(np.abs(line).max())
    if missed <= max(_MISSED, _OF_RANGE * float(np.ptp(values))):
        return Course()
    inner = lags[1:-2]
    places = np.unique(inner[np.linspace(0, len(inner) - 1, min(_PLACES, len(inner))).astype(int)])
    place = min(places, key=lambda lag: float(np.sum(_left_over(_pieces(lags, lag), values) ** 2)))
    left = _left_over(_pieces(lags, place), values)
    if np.sum(left**2) > (1 - _EXPLAINED) * np.sum(line**2):
        return Course(uneven=missed)
    level, before, turn = np.linalg.lstsq(_pieces(lags, place), values, rcond=None)[0]
    return Course(Bend(int(place), float(level), float(before), float(before + turn)))


def _pieces(lags: NDArray[np.int64], place: int) -> NDArray[np.float64]:
    """Columns of a continuous curve of two straight pieces, whose level at ``place`` is first."""
    return np.stack([np.ones(len(lags)), lags - place, np.clip(lags - place, 0, None)], 1)


def _left_over(columns: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0]
    return found
