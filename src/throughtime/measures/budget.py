"""``budget``: where the decades go. ``paths``: by which way. ``counterfactuals``: what if not.

The adjoint of one step passes through a chain of stages on one joint vector: in an Elman network
``δ → φ'⊙δ → Wᵀ(φ'⊙δ)``. The logarithms of their norms telescope, so that the parts add up to the
whole exactly, for every cell. One loss step is followed at a time (an anchor), along the real path
of its gradient, not along a worst case.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from throughtime.errors import InputError
from throughtime.findings import Measurement
from throughtime.recurrences import Linearised
from throughtime.sweeps import Ledger, lag_norms, ledger
from throughtime.trace import LayerTrace, Trace

AS_IT_IS, WHOLE = "as it is", "whole"
_ANCHORS = 8


def budget(
    trace: Trace | LayerTrace,
    layer: str | int | None = None,
    *,
    anchors: int = _ANCHORS,
    span: int | None = None,
) -> Measurement:
    """Mean log10 gain per step, split over the stages that a gradient passes on its way back.

    Args:
        trace: a ``Trace``, or one of its layers.
        layer: which layer; None for the only one.
        anchors: from how many loss steps to follow it, evenly spread.
        span: how many steps back to follow each; None for all.

    Returns:
        Decades per step, axes (cause,): the stages in the order in which the gradient meets them
        (``"nonlinearity"``, ``"recurrent matrix"``; ``"read-out"``, ``"gates"``, …), and last the
        ``"whole"``, their sum. Every step of every path weighs the same. NaN where no path has a
        step. A path that meets an exact zero is counted up to there, and ``how`` says so.

    Raises:
        InputError: for an unknown layer, or several layers of which none was chosen.
    """
    one = _choose(trace, layer)
    book, count = _follow(one, anchors, span)
    means = [_mean(gain, book.steps) for gain in book.gains.values()]
    values = np.array([*means, np.sum(means) if means else np.nan])
    how = f"mean log10 gain per step along the paths of {count} loss steps, each by itself"
    if died := int(book.died.sum()):
        how += f"; {died} of {book.died.numel()} paths end in an exact zero, and count up to it"
    return Measurement(
        "budget", values, ("cause",), "decades per step", how, {"cause": (*book.gains, WHOLE)}
    )


def paths(
    trace: Trace | LayerTrace,
    layer: str | int | None = None,
    *,
    anchors: int = _ANCHORS,
    span: int | None = None,
) -> Measurement:
    """By which way the gradient came through each step: the carousel, or the gates.

    Arguments and errors as for ``budget``. Axes (path,), the mean over all steps of
    ``⟨part, δ⟩ / ‖δ‖²``, which add up to 1; of an LSTM, where the carousel ends in c and the gates
    in h, that is the share of ‖δ‖². Empty for a recurrence without gates.
    """
    book, count = _follow(_choose(trace, layer), anchors, span)
    values = np.array([_mean(share, book.steps) for share in book.shares.values()])
    how = f"mean of ⟨part, δ⟩/‖δ‖² over all steps of the paths of {count} loss steps"
    return Measurement("paths", values, ("path",), "share", how, {"path": tuple(book.shares)})


def counterfactuals(
    trace: Trace | LayerTrace,
    layer: str | int | None = None,
    *,
    anchors: int = _ANCHORS,
    span: int | None = None,
    changes: Sequence[str] | None = None,
) -> Measurement:
    """What the rate would be on the same trajectory with one factor of every step replaced.

    Arguments and errors as for ``budget``; ``changes``: which, None for all that the cell knows
    (forget gate at 1, no way through the gates, no squashing: φ' at 1, W_hh orthogonal). Axes
    (change,), ``"as it is"`` first: mean log10 gain per step, −inf where nothing comes back.
    """
    one = _choose(trace, layer)
    chosen = one.linear.variants if changes is None else tuple(changes)
    variants = [one.linear, *(one.linear.variant(name) for name in chosen)]
    values = np.array([_rate(one, linear, anchors, span) for linear in variants])
    how = "mean log10 gain per step, swept anew on the same states with one factor replaced"
    coords = {"change": (AS_IT_IS, *chosen)}
    return Measurement("counterfactuals", values, ("change",), "decades per step", how, coords)


def _choose(trace: Trace | LayerTrace, layer: str | int | None) -> LayerTrace:
    if isinstance(trace, LayerTrace):
        return trace
    if layer is None and len(trace) > 1:
        names = ", ".join(map(repr, trace.names))
        raise InputError(f"a budget is that of one layer, choose one with layer=: {names}")
    return trace[layer or 0]


def _sources(layer: LayerTrace, anchors: int) -> tuple[Tensor, tuple[int, ...]]:
    """Direct gradients (A B S) of the anchors, and these in the order of computation, backwards."""
    if anchors < 1:
        raise InputError(f"anchors must be at least 1, not {anchors}")
    chosen = layer.loss_steps(anchors)[::-1]
    return layer.turned(layer.direct)[list(chosen)], chosen


def _follow(layer: LayerTrace, anchors: int, span: int | None) -> tuple[Ledger, int]:
    sources, chosen = _sources(layer, anchors)
    return ledger(layer.linear, sources, chosen, layer.walls, span), len(chosen)


def _mean(total: Tensor, steps: Tensor) -> float:
    return float(total.sum() / steps.sum()) if steps.sum() else float("nan")


def _rate(layer: LayerTrace, linear: Linearised, anchors: int, span: int | None) -> float:
    """Mean log10 gain per step over all paths; −inf if every one of them dies on its way."""
    sources, chosen = _sources(layer, anchors)
    norms = lag_norms(linear, sources, chosen, walls=layer.walls)[0].numpy()
    gained, went, died = 0.0, 0, 0
    for path in _walks(norms, chosen, span):
        counted = path[np.isfinite(path)]
        gained += float(counted[-1] - counted[0]) if len(counted) else 0.0
        went += max(0, len(counted) - 1)
        died += bool(len(counted)) and len(counted) < len(path)
    if not went:
        return -np.inf if died else np.nan
    return gained / went


def _walks(norms: np.ndarray, anchors: Sequence[int], span: int | None) -> Iterable[np.ndarray]:
    """log10 norms of every path (A T B), from its anchor back, as far as it is followed."""
    for a, t in enumerate(anchors):
        stop = 0 if span is None else max(0, t - span)
        yield from norms[a, stop : t + 1][::-1].T
