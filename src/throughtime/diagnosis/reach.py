"""From the gain by lag to a verdict, a rate and a horizon: the rule for reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from throughtime.diagnosis.bend import Bend, course_of
from throughtime.findings import Measurement, Verdict
from throughtime.measures.lags import slope

# log10 of the gain at the span: below 1 % nothing useful is left, above 100 the step is ruined.
VANISHED, EXPLODED = -2.0, 2.0
# A gain that has fallen back by so many decades at the span did not explode: it swelled and passed.
FALL = 1.0
# Lags that a line needs before it may be carried on beyond the capture.
_ENOUGH = 8

Gap = Literal["", "no gradient", "too short"]
"""Why there is no verdict: nothing came back at all, or not from far enough."""


@dataclass(frozen=True)
class Reach:
    """How far back a gradient reaches.

    Attributes:
        verdict: healthy, vanishing, exploding, non-finite, or unknown.
        rate: slope of the log10 median gain, decades per step; None without two lags.
        horizon: the largest lag with a median gain of at least 1 %; None if none is a number.
        reaches_end: the horizon is the longest lag that was measured: at least so far.
        span: steps back that the task needs.
        longest: the longest lag that was measured.
        gain_at_span: log10 median gain at the span; None where it is unknown.
        extrapolated: the span is longer than the longest lag; a line carried the gain there.
        cut: one lag beyond the horizon nothing at all is left: it was cut, it did not fade.
        largest: log10 of the largest median gain within the span, lag 0 left out; None if unknown.
        peak: the lag of the largest gain.
        bend: where the gain turns from one pace to another, if one line does not describe it.
        after: slope from the horizon on, decades per step; None where it is the end, or cut.
        uneven: by how many decades the gain leaves that line, where two lines do no better; else 0.
        interval: log10 of the smallest and the largest gain at the span that the extrapolation
            allows; None where the span was measured.
        gap: why the verdict is unknown, where the gains do not tell.
    """

    verdict: Verdict
    rate: float | None
    horizon: int | None
    reaches_end: bool
    span: int
    longest: int
    gain_at_span: float | None
    extrapolated: bool
    cut: bool = False
    largest: float | None = None
    peak: int | None = None
    bend: Bend | None = None
    after: float | None = None
    uneven: float = 0.0
    interval: tuple[float, float] | None = None
    gap: Gap = ""

    @property
    def reached(self) -> int:
        """The horizon, where there is a gain to read."""
        assert self.horizon is not None
        return self.horizon


def read(gains: Measurement, steps: int, span: int | None) -> Reach:
    """The reach that a ``gain`` measurement shows; ``span`` None means the longest lag, T − 1."""
    median = _median(gains)
    needed = max(1, steps - 1 if span is None else span)
    known = ~np.isnan(median)
    if len(median) and (not known.any() or np.isposinf(median).any()):
        longest = int(np.flatnonzero(known)[-1]) if known.any() else 0
        return Reach("non-finite", None, None, False, needed, longest, None, False)
    if not len(median):
        return Reach("unknown", None, None, False, needed, 0, None, False, gap="no gradient")
    longest = int(np.flatnonzero(known)[-1])
    if longest == 0:
        return Reach("unknown", None, 0, False, needed, 0, None, False, gap="too short")
    return _measured(median[: longest + 1], needed)


def _measured(median: NDArray[np.float64], needed: int) -> Reach:
    """The reach of a median gain that is known at one lag beyond 0, and at its last."""
    longest = len(median) - 1
    far = np.flatnonzero(median >= VANISHED)
    horizon = int(far[-1]) if len(far) else 0
    within = {
        lag: float(median[lag])
        for lag in range(1, min(needed, longest) + 1)
        if not np.isnan(median[lag])
    }
    interval = None
    if needed > longest:
        interval = _carried_on(median, needed)
        at_span = None if interval is None else sum(interval) / 2
    else:
        at_span = _at(median, needed)
    if at_span is not None:
        within[needed] = at_span
    peak = max(within, key=lambda lag: within[lag])
    verdict = _judged(interval or (at_span, at_span), within[peak])
    end = horizon == longest
    course = course_of(median[: needed + 1])
    return Reach(
        verdict,
        slope(median[: needed + 1]),
        horizon,
        end,
        needed,
        longest,
        at_span,
        needed > longest,
        cut=not end and bool(np.isneginf(median[horizon + 1])),
        largest=within[peak],
        peak=peak,
        bend=course.bend,
        after=None if end else slope(_beyond(median[: needed + 1], horizon)),
        uneven=course.uneven,
        interval=interval,
        gap="too short" if verdict == "unknown" else "",
    )


def _beyond(median: NDArray[np.float64], lag: int) -> NDArray[np.float64]:
    """The same curve without what lies before a lag."""
    found = median.copy()
    found[:lag] = np.nan
    return found


def _judged(interval: tuple[float | None, float | None], largest: float) -> Verdict:
    """The verdict on the gain at the span, which lies in ``interval``."""
    low, high = interval
    if low is None or high is None:
        return "unknown"
    verdicts = {_of_gain(low, largest), _of_gain(high, largest)}
    return verdicts.pop() if len(verdicts) == 1 else "unknown"


def _of_gain(at_span: float, largest: float) -> Verdict:
    if at_span < VANISHED:
        return "vanishing"
    if at_span > EXPLODED or (largest > EXPLODED and at_span > largest - FALL):
        return "exploding"
    return "healthy"


def _at(median: NDArray[np.float64], lag: int) -> float:
    """The gain at a lag; where no sample is that long, the nearest one beyond it."""
    known = np.flatnonzero(~np.isnan(median[lag:]))
    return float(median[lag + known[0]])


def _carried_on(median: NDArray[np.float64], lag: int) -> tuple[float, float] | None:
    """log10 gain at a lag beyond the last, from the line of the last half: smallest, largest.

    The slope is uncertain by twice its standard error, and by what it would turn on the way if it
    went on turning as it does between the two quarters of that half. Where it has one sign in both,
    it may come to 0 and does not turn round. None where the lags are too few, or not numbers. What
    is gone stays gone.
    """
    longest = len(median) - 1
    if np.isneginf(median[-1]):
        return -np.inf, -np.inf
    lags = np.arange(longest - longest // 2, longest + 1)
    lags = lags[np.isfinite(median[lags])]
    if longest < _ENOUGH or len(lags) < _ENOUGH // 2:
        return None
    line = np.polyfit(lags, median[lags], 1)
    left = median[lags] - np.polyval(line, lags)
    spread = float(np.sum((lags - lags.mean()) ** 2))
    error = 2 * float(np.sqrt(np.sum(left**2) / max(1, len(lags) - 2) / spread))
    middle = len(lags) // 2
    early, late = slope_of(median, lags[: middle + 1]), slope_of(median, lags[middle:])
    last, ahead = float(np.polyval(line, longest)), lag - longest
    error = max(error, abs(late - early) * (1 + ahead / middle) / 2)
    slowest, fastest = line[0] - error, line[0] + error
    if early * late > 0:  # what shrinks all along may level off, and does not turn round
        slowest, fastest = (
            (slowest, min(fastest, 0.0)) if late < 0 else (max(slowest, 0.0), fastest)
        )
    return last + slowest * ahead, last + fastest * ahead


def slope_of(median: NDArray[np.float64], lags: NDArray[np.int64]) -> float:
    """Decades per step over these lags."""
    return float(np.polyfit(lags, median[lags], 1)[0]) if len(lags) > 1 else 0.0


def _median(gains: Measurement) -> NDArray[np.float64]:
    middle = min(
        range(len(gains.coords["quantile"])), key=lambda i: abs(gains.coords["quantile"][i] - 0.5)
    )
    median: NDArray[np.float64] = np.asarray(gains.values)[0, middle]
    return median
