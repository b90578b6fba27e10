"""The place of a knob at which a rate is 0: brackets it in growing strides, then closes in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

from throughtime.remedies.initialisation.knobs import Knob

# Captures of one search.
_MOST = 24
# Places nearer to each other are not worth telling apart, on the way to a change of sign and to
# the largest rate.
_CLOSE, _AROUND = 1e-6, 1e-2


class Search:
    """The search of one knob, which can be taken up again when the rate has drifted.

    Args:
        knob: what is turned.
        measure: the rate as the knob stands, decades per step; infinite where it diverges.
        limit: the rate that counts as 0.

    Attributes:
        place: where the knob stands.
    """

    def __init__(self, knob: Knob, measure: Callable[[], float], limit: float) -> None:
        self._knob, self._measure, self._limit = knob, measure, limit
        self._start, self._lost = knob.start, False
        self.place = 0.0

    def wanted(self, rate: float) -> bool:
        """Whether this rate is not 0, and there is hope."""
        return not self._lost and not abs(rate) <= self._limit

    def run(self, rate: float) -> None:
        """Turn the knob from its place, whose rate this is, to the nearest to 0 that is found."""
        tried = {self.place: rate}
        for place in self._places(tried):
            self._knob.turn(place)
            tried[place] = self._measure()
            if abs(tried[place]) <= self._limit or len(tried) > _MOST:
                break
        best = min(tried, key=lambda place: abs(tried[place]))
        self._knob.turn(best)
        self.place = self._start = best
        self._lost = abs(tried[best]) > self._limit

    def _places(self, tried: dict[float, float]) -> Iterator[float]:
        """Where to measure next, by what was found at the places that were tried."""
        if self._start not in tried:
            yield self._start
        ends = _bracket(tried, self._start)
        if ends is None:
            yield from self._strides(tried)
            ends = _bracket(tried, self._start)
        if ends is None:
            yield from _around_the_best(tried)
            ends = _bracket(tried, self._start)
        if ends is not None:
            yield from _between(*ends, tried)

    def _strides(self, tried: dict[float, float]) -> Iterator[float]:
        """Ever longer strides from the start, against the sign of its rate, until it changes."""
        here, stride = self._start, self._knob.stride
        up = tried[here] < 0
        lowest, highest = self._knob.bounds
        while (tried[here] < 0) is up:
            rate = abs(tried[here])
            step = max(stride, rate) if math.isfinite(rate) else stride
            there = min(highest, here + step) if up else max(lowest, here - step)
            if there == here:
                return
            if there not in tried:
                yield there
            here, stride = there, 2 * stride


def _bracket(tried: dict[float, float], start: float) -> tuple[float, float] | None:
    """The two neighbours, nearest to the start, whose rates have different signs."""
    places = sorted(tried)
    pairs = [pair for pair in pairwise(places) if (tried[pair[0]] < 0) is not (tried[pair[1]] < 0)]
    return min(pairs, key=lambda pair: abs(pair[0] - start), default=None)


def _around_the_best(tried: dict[float, float]) -> Iterator[float]:
    """Halfway to the neighbours of the largest rate below 0: it may rise above 0 between them."""
    while all(rate < 0 for rate in tried.values()):
        places = sorted(tried)
        best = max(places, key=lambda place: tried[place])
        index = places.index(best)
        gaps = [(abs(one - best), one) for one in places[max(0, index - 1) : index + 2]]
        gap, neighbour = max(gaps)
        if gap < _AROUND:
            return
        yield (best + neighbour) / 2


def _between(below: float, above: float, tried: dict[float, float]) -> Iterator[float]:
    """Places between two whose rates have different signs (the Illinois method)."""
    ends = {tried[place] < 0: place for place in (below, above)}
    rates = {end: tried[place] for end, place in ends.items()}
    last: bool | None = None
    while abs(ends[True] - ends[False]) > _CLOSE:
        apart = rates[True] - rates[False]
        share = rates[True] / apart if math.isfinite(apart) else 0.5
        here = ends[True] + min(max(share, 0.05), 0.95) * (ends[False] - ends[True])
        yield here
        side = tried[here] < 0
        if side is last:  # the other end has stood still for too long
            rates[not side] /= 2
        ends[side], rates[side], last = here, tried[here], side
