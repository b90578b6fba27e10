"""``suggest_window``: how many steps of truncated backpropagation, from the measured gradient.

A window that is too short cuts what the gradient still had to say; one that is too long pays for
steps that say nothing, and in a chaotic network for steps that say something wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from throughtime.errors import InputError, UnsupportedError
from throughtime.measures import LagSweep, lyapunov
from throughtime.measures.lags import Floats, stack_of
from throughtime.measures.lyapunov import CHAOTIC
from throughtime.trace import LayerTrace, Trace, checked_trace

# Decades over the whole capture. Who falls by less than a half does not fade: nobody knows whether
# the rest of it would.
_FADES = math.log10(0.5)
# Loss steps to look back from: enough for a median. A marked state is swept through autograd.
_ANCHORS, _MARKED_ANCHORS = 48, 8


@dataclass(frozen=True)
class Window:
    """A window of truncated backpropagation.

    Attributes:
        steps: how many.
        reason: why so many, in a sentence.
        lost: share of the summed gain by lag that lies beyond the window; None where chaotic.
        exponent: largest Lyapunov exponent, nats per step; None where it could not be measured.
        extrapolated: the window is longer than what was measured.
    """

    steps: int
    reason: str
    lost: float | None = None
    exponent: float | None = None
    extrapolated: bool = False

    def __str__(self) -> str:
        return f"{self.steps} step{'s' * (self.steps != 1)}: {self.reason}"


def suggest_window(
    trace: Trace | LayerTrace, layer: str | int | None = None, *, share: float = 0.01
) -> Window:
    """The window of truncated backpropagation that the measured gradient asks for.

    With g(k) the median gain at lag k, it is the smallest W for which ``Σ_{k ≥ W} g(k)`` is at most
    ``share`` of ``Σ_k g(k)``. Beyond the capture g goes on as its last half decayed, geometrically:
    under that condition Aicher, Foti & Fox (2019) bound the bias of the truncated gradient. Where
    the largest Lyapunov exponent is positive the gradient diverges with the window, and it is
    ``ln 2 / λ_max``, the time in which a small difference doubles (Mikhaeil, Monfared & Durstewitz
    2022).

    It helps where sequences are long and a step of training costs much. It says how far the
    gradient reaches, not how far the task needs it to: where the network forgets too early, a
    window of the length of its memory keeps it so. A loss at the end of a window sees ``steps``
    lags and one at its start a single one: windows twice as long lose little at half of the steps.

    Args:
        trace: of a run over whole sequences. Where its state was detached, what would have crossed
            the cuts is measured.
        layer: which layer; None for all: the stack jointly, else the longest window of any layer.
        share: what may be lost, between 0 and 1.

    Raises:
        InputError: a share out of its range, an unknown layer, a gradient that is not finite, or a
            sequence of one step.
    """
    if not 0 < share < 1:
        raise InputError(f"share is what may be lost, between 0 and 1, not {share}")
    layers = _layers(trace, layer)
    exponent = max((found for one in layers if (found := _exponent(one)) is not None), default=None)
    if exponent is not None and exponent > CHAOTIC:
        return _chaotic(exponent)
    windows = [_by_decay(curve, share) for curve in _curves(trace, layers)]
    return replace(max(windows, key=lambda one: one.steps), exponent=exponent)


def _layers(trace: Trace | LayerTrace, layer: str | int | None) -> list[LayerTrace]:
    """The layers that are meant, as if no state had been detached: a network has no walls."""
    checked_trace(trace)
    if isinstance(trace, LayerTrace):
        return [replace(trace, walls=())]
    chosen = trace.layers if layer is None else (trace[layer],)
    return [replace(one, walls=()) for one in chosen]


def _exponent(layer: LayerTrace) -> float | None:
    """The largest exponent; None for marked states, and where the run is too short for one."""
    try:
        found = lyapunov(layer, k=1)
    except (InputError, UnsupportedError):
        return None
    mean = float(np.asarray(found.values)[0, 0])
    return None if math.isnan(mean) else mean


def _curves(trace: Trace | LayerTrace, layers: Sequence[LayerTrace]) -> list[Floats]:
    """log10 median gain by lag: of a stack jointly, else of every layer."""
    whole: list[Trace | LayerTrace] = list(layers)
    if isinstance(trace, Trace) and len(layers) == len(trace) > 1 and stack_of(trace)[0]:
        whole = [replace(trace, layers=tuple(layers))]
    anchors = _MARKED_ANCHORS if any(one.marked for one in layers) else _ANCHORS
    gains = [LagSweep.run(one, anchors=anchors).gains((0.5,)) for one in whole]
    return [np.asarray(found.values)[0, 0] for found in gains]


def _chaotic(exponent: float) -> Window:
    double = math.log(2) / exponent
    reason = (
        f"the largest Lyapunov exponent is {exponent:+.3f} nats or "
        f"{exponent / math.log(10):+.3f} decades per step: small differences double "
        f"every {double:.1f} steps, and the gradient diverges beyond"
    )
    return Window(max(1, round(double)), reason, exponent=exponent)


def _by_decay(curve: Floats, share: float) -> Window:
    """The smallest window that loses at most ``share``, from log10 gains by lag."""
    missing = np.flatnonzero(np.isnan(curve))
    curve = curve[: missing[0]] if len(missing) else curve
    if len(curve) < 2 or np.isposinf(curve).any():
        raise InputError(
            "a window needs a finite gradient over at least 2 steps: capture a longer sequence, or "
            "ask diagnose where it stops being finite"
        )
    steps, rate = len(curve), _rate(curve)
    if rate * steps > _FADES:
        reason = f"the gradient does not fade within the {steps} steps that were captured"
        return Window(steps, reason)
    gains, ratio = 10.0**curve, 10.0**rate
    after = float(gains[-1]) * ratio / (1 - ratio)
    beyond = np.append(np.cumsum(gains[::-1])[::-1], 0.0) + after
    total = float(beyond[0])
    extrapolated = after > share * total
    if extrapolated:
        more = math.ceil(math.log10(share * total / after) / rate)
        window, lost = steps + more, after * ratio**more / total
    else:
        window = int(np.argmax(beyond <= share * total))
        lost = float(beyond[window]) / total
    reason = f"{lost:.2%} of the gradient lies beyond, where it fades by {-rate:.3g} decades a step"
    if extrapolated:
        reason += f"; carried on from the {steps} steps that were captured"
    return Window(window, reason, lost, extrapolated=extrapolated)


def _rate(curve: Floats) -> float:
    """Slope of the last half of the curve, decades per step; −inf where it ends in exact zeros."""
    lags = np.arange(len(curve) // 2 if len(curve) > 2 else 0, len(curve))
    last = curve[lags]
    if np.isneginf(last[-1]):
        return -math.inf
    finite = np.isfinite(last)
    return float(np.polyfit(lags[finite], last[finite], 1)[0]) if finite.sum() > 1 else 0.0
