"""From the gain by lag to a verdict, a rate and a horizon: the rule for reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from throughtime.findings import Measurement, Verdict
from throughtime.measures.lags import slope

# log10 of the gain at the span: below 1 % nothing useful is left, above 100 the step is ruined.
VANISHED, EXPLODED = -2.0, 2.0
# A larger relative difference from autograd than this is no rounding error, not even of float16.
TRUSTED = 5e-2


@dataclass(frozen=True)
class Reach:
    """How far back a gradient reaches.

    Attributes:
        verdict: healthy, vanishing, exploding, or non-finite.
        rate: slope of the log10 median gain, decades per step; None without two lags.
        horizon: the largest lag with a median gain of at least 1 %; None if none is a number.
        reaches_end: the horizon is the longest lag of the capture: at least so far.
        span: steps back that the task needs.
        longest: the longest lag that the capture holds.
        gain_at_span: log10 median gain at the span.
        extrapolated: the capture is shorter than the span; the rate carried the gain there.
        cut: one lag beyond the horizon nothing at all is left: it was cut, it did not fade.
        largest: log10 of the largest median gain within the span, lag 0 left out; None if unknown.
        peak: the lag of the largest gain.
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

    @property
    def reached(self) -> int:
        """The horizon, where there is a gain to read."""
        assert self.horizon is not None
        return self.horizon


def read(gains: Measurement, steps: int, span: int | None) -> Reach:
    """The reach that a ``gain`` measurement shows; ``span`` None means the longest lag."""
    median = _median(gains)
    longest = len(median) - 1
    extrapolated = span is not None and span > max(longest, 0)
    needed = max(1, steps - 1 if span is None else span)
    known = ~np.isnan(median)
    if not known.any() or np.isposinf(median).any():
        broken: Verdict = "healthy" if not len(median) else "non-finite"
        return Reach(broken, None, None, False, needed, max(longest, 0), None, False)
    far = np.flatnonzero(median >= VANISHED)
    horizon = int(far[-1]) if len(far) else 0
    rate = slope(median[: needed + 1])
    at_span = float(median[min(needed, longest)])
    if extrapolated and rate is not None and np.isfinite(at_span):
        at_span += rate * (needed - longest)
    within = {lag: float(median[lag]) for lag in range(1, min(needed, longest) + 1) if known[lag]}
    within[needed] = at_span
    peak = max(within, key=lambda lag: within[lag])
    largest = within[peak]
    verdict: Verdict = "healthy"
    if at_span < VANISHED:
        verdict = "vanishing"
    elif largest > EXPLODED:
        verdict = "exploding"
    end = horizon == longest
    cut = not end and bool(np.isneginf(median[horizon + 1]))
    return Reach(
        verdict, rate, horizon, end, needed, longest, at_span, extrapolated, cut, largest, peak
    )


def _median(gains: Measurement) -> NDArray[np.float64]:
    middle = min(
        range(len(gains.coords["quantile"])), key=lambda i: abs(gains.coords["quantile"][i] - 0.5)
    )
    median: NDArray[np.float64] = np.asarray(gains.values)[0, middle]
    return median
