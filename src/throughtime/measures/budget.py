"""``budget``: where the decades go. ``paths``: by which way. ``counterfactuals``: what if not.

The adjoint of one step passes through a chain of stages on one joint vector: in an Elman network
``δ → φ'⊙δ → Wᵀ(φ'⊙δ)``. The logarithms of their norms telescope, so that the parts add up to the
whole exactly, for every cell. One loss step is followed at a time (an anchor), along the real path
of its gradient, not along a worst case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from throughtime.findings import Measurement
from throughtime.recurrences import Linearised
from throughtime.sweeps import Ledger, lag_norms, ledger
from throughtime.trace import LayerTrace, Trace, one_layer
from throughtime.typed import checked_count, checked_span

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
    return StageSweep.run(trace, layer, anchors=anchors, span=span).budget()


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
    return StageSweep.run(trace, layer, anchors=anchors, span=span).paths()


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
    return StageSweep.run(trace, layer, anchors=anchors, span=span).counterfactuals(changes)


@dataclass(frozen=True, eq=False)
class StageSweep:
    """One backward sweep with its ledger, and what can be read off it.

    Attributes:
        layer: whose steps were passed.
        anchors: the loss steps, in the order of computation, the latest first.
        sources: their direct gradients (A B S).
        book: the ledger.
        span: how many steps back each was followed; None for all.
    """

    layer: LayerTrace
    anchors: tuple[int, ...]
    sources: Tensor
    book: Ledger
    span: int | None

    @classmethod
    def run(
        cls,
        trace: Trace | LayerTrace,
        layer: str | int | None = None,
        *,
        anchors: int = _ANCHORS,
        span: int | None = None,
    ) -> StageSweep:
        """Follow the gradient back. Arguments and errors as for ``budget``."""
        one = one_layer(trace, layer, "a budget is that")
        anchors = checked_count(anchors, "anchors", "budget")
        span = None if span is None else checked_span(span, "budget")
        chosen = one.loss_steps(anchors)[::-1]
        sources = one.turned(one.direct)[list(chosen)]
        return cls(one, chosen, sources, ledger(one.linear, sources, chosen, one.walls, span), span)

    def budget(self) -> Measurement:
        """See ``throughtime.measures.budget``."""
        means = [self._mean(gain) for gain in self.book.gains.values()]
        values = np.array([*means, np.sum(means) if means else np.nan])
        how = f"mean log10 gain per step along the paths of {len(self.anchors)} loss steps, each by"
        how += " itself" + self._followed()
        if died := int(self.book.died.sum()):
            of = self.book.died.numel()
            how += f"; {died} of {of} paths end in an exact zero, and count up to it"
        coords = {"cause": (*self.book.gains, WHOLE)}
        return Measurement("budget", values, ("cause",), "decades per step", how, coords)

    def paths(self) -> Measurement:
        """See ``throughtime.measures.paths``."""
        values = np.array([self._mean(share) for share in self.book.shares.values()])
        how = (
            f"mean of ⟨part, δ⟩/‖δ‖² over all steps of the paths of {len(self.anchors)} loss steps"
        )
        coords = {"path": tuple(self.book.shares)}
        return Measurement("paths", values, ("path",), "share", how, coords)

    def counterfactuals(self, changes: Sequence[str] | None = None) -> Measurement:
        """See ``throughtime.measures.counterfactuals``."""
        linear = self.layer.linear
        chosen = linear.variants if changes is None else tuple(changes)
        as_it_is = self._mean(sum(self.book.gains.values(), torch.zeros(())))
        if np.isnan(as_it_is) and self.book.died.any():
            as_it_is = -np.inf
        values = np.array([as_it_is, *(self._rate(linear.variant(name)) for name in chosen)])
        how = "mean log10 gain per step, swept anew on the same states with one factor replaced"
        how += self._followed()
        coords = {"change": (AS_IT_IS, *chosen)}
        return Measurement("counterfactuals", values, ("change",), "decades per step", how, coords)

    def _followed(self) -> str:
        reach = self.span is not None and self.span < self.anchors[0] if self.anchors else False
        return f", {self.span} steps back" if reach else ""

    def _mean(self, total: Tensor) -> float:
        steps = float(self.book.steps.sum())
        return float(total.sum()) / steps if steps else float("nan")

    def _rate(self, linear: Linearised) -> float:
        """Mean log10 gain per step over all paths; −inf if every one of them dies on its way."""
        walls, span = self.layer.walls, self.span
        norms = lag_norms(linear, self.sources, self.anchors, walls=walls, longest=span)[0].numpy()
        gained, went, died = 0.0, 0, False
        for a, t in enumerate(self.anchors):
            stop = 0 if span is None else max(0, t - span)
            for path in norms[a, stop : t + 1][::-1].T:
                counted = path[np.isfinite(path)]
                gained += float(counted[-1] - counted[0]) if len(counted) else 0.0
                went += max(0, len(counted) - 1)
                died |= 0 < len(counted) < len(path)
        if went:
            return gained / went
        return -np.inf if died else np.nan
