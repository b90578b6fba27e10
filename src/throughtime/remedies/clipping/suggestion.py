"""``suggest_clip``: a threshold from the norms of a training, with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from throughtime.errors import InputError
from throughtime.runs import RunDirectory

Floats = NDArray[np.float64]

FEWEST = 20  # norms from which a quartile means something
_NEAR, _FAR = 0.5, 1.0  # decades above the median: nothing below is a spike, everything above is
_WIDE = 1.0  # decades between the quartiles from which there is no usual norm
_DRIFT = 1.0  # decades between the medians of the first and the last quarter
_LOW_PERCENTILE = 10.0  # Seetharaman et al. 2020


@dataclass(frozen=True)
class ClipSuggestion:
    """A threshold for ``clip_grad_norm_``, and why.

    Attributes:
        threshold: the longest norm to let through; None: do not clip.
        reason: in a sentence.
        share: of the norms that were looked at, from 0 to 1, how many it would have shortened.
        norms: how many were looked at.
    """

    threshold: float | None
    reason: str
    share: float
    norms: int

    def __str__(self) -> str:
        what = "do not clip" if self.threshold is None else f"clip at {self.threshold:g}"
        return f"{what}: {self.reason}"


def suggest_clip(history: object) -> ClipSuggestion:
    """A threshold for ``clip_grad_norm_`` from the norms of the gradients of a training.

    Pascanu, Mikolov & Bengio 2013 (section 3.2) look at the average norm over many updates, and
    found that thresholds from half to ten times of it work. Here a spike is what stands out of
    the usual norms: further above their third quartile than three times the distance between the
    quartiles (Tukey's "far out"; of log10 norms), but never less than 3 nor more than 10 times the
    median. The threshold is the longest norm that is none. Where there are no spikes, nothing
    needs clipping, and where half of the norms spread over more than a decade, there is no usual
    norm: then it is their 10th percentile, as AutoClip has it.

    Args:
        history: norms before clipping in the order of the training: numbers, a ``RunDirectory``,
            records of its ``history()``, or an object whose ``norms`` are such numbers.

    Returns:
        The threshold, its reason, and the share of the norms that it would have shortened.

    Raises:
        InputError: there are fewer than 20 norms that are finite and above 0.
    """
    norms = _norms(history)
    finite = np.isfinite(norms)
    lost = int((~finite).sum())
    logs = np.log10(norms[finite & (norms > 0)])
    if len(logs) < FEWEST:
        raise InputError(
            f"suggest_clip needs at least {FEWEST} norms that are finite and above 0, and was "
            f"given {len(logs)}: train for longer, without clipping or with the norm before it"
        )
    quarter = len(logs) // 4
    drift = float(np.median(logs[-quarter:]) - np.median(logs[:quarter]))
    if abs(drift) > _DRIFT:
        logs = logs[-max(quarter, FEWEST) :]
    threshold, reason = _threshold(logs, lost)
    if abs(drift) > _DRIFT:
        way = "fell" if drift < 0 else "rose"
        reason += (
            f"; the norms {way} by {abs(drift):.1f} decades, and this is from the last "
            f"{len(logs):,}: to go on with; ZClip follows such a drift"
        )
    share = 0.0 if threshold is None else float(np.mean(logs > math.log10(threshold)))
    return ClipSuggestion(threshold, reason, share, len(logs))


def _threshold(logs: Floats, lost: int) -> tuple[float | None, str]:
    low, middle, high = (float(q) for q in np.percentile(logs, (25, 50, 75)))
    if high - low > _WIDE:
        chosen = _rounded(float(np.percentile(logs, _LOW_PERCENTILE)))
        return chosen, (
            f"half of the norms lie between {_power(low):.2g} and {_power(high):.2g}, so there is "
            f"no usual one: it is their {_LOW_PERCENTILE:.0f}th percentile"
        )
    fence = min(max(high + 3 * (high - low), middle + _NEAR), middle + _FAR)
    spikes = int((logs > fence).sum())
    largest = float(logs.max())
    usual = _rounded(float(logs[logs <= fence].max()))
    bad = f"{lost:,} norms were not finite" if lost else ""
    if spikes:
        reason = (
            f"spikes in {spikes:,} of {len(logs):,} norms, of up to {_power(largest - middle):.3g} "
            f"times the median, {_power(middle):.3g}; the longest that is none is {usual:g}"
        )
        return usual, f"{reason}; {bad}" if bad else reason
    steady = (
        f"the norms are steady: the largest of {len(logs):,} is {_power(largest - middle):.3g} "
        f"times their median, {_power(middle):.3g}"
    )
    return (usual, f"{steady}, but {bad}") if lost else (None, steady)


def _rounded(log: float) -> float:
    return float(f"{_power(log):.3g}")


def _power(log: float) -> float:
    return float(10 ** min(log, 308.0))  # more decades no float64 holds


def _norms(history: object) -> Floats:
    """The norms of all updates, NaN and infinite ones among them."""
    if isinstance(history, RunDirectory):
        history = history.history()
    given: Any = getattr(history, "norms", history)
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
        raise InputError(
            f"suggest_clip takes norms, or the history of a run directory, and was given "
            f"{type(history).__name__}"
        )
    found: list[float] = []
    for item in given:
        if not isinstance(item, Mapping):
            found.append(_number(item))
        elif "norm" in item:
            found.append(_number(item["norm"]))
    norms = np.array(found, dtype=np.float64)
    if (norms < 0).any():
        raise InputError(f"a norm is {norms.min():g}, and none can be below 0")
    return norms


def _number(item: Any) -> float:
    try:
        return math.nan if item is None else float(item)
    except (TypeError, ValueError):
        raise InputError(f"a norm is of type {type(item).__name__}, and must be a number") from None
