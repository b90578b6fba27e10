"""``reach``: gain by lag at the inputs of any model, by every route.

Recurrences, attention, convolutions, memory and skips all count: autograd sends the loss of one
step from the last tensor with a time axis back to the first, and the norm is read off by lag.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from throughtime.findings import Measurement
from throughtime.measures.reach.nudge import Nudged, nudged
from throughtime.measures.reach.places import Place
from throughtime.measures.reach.tangent import carried
from throughtime.measures.reach.whole import ANCHORS, QUANTILES, Closure, WholeReach, whole_reach
from throughtime.problem import checked_pair
from throughtime.typed import checked_count


def reach(
    model: nn.Module,
    closure: Closure,
    *,
    source: Place = None,
    target: Place = None,
    anchors: int = ANCHORS,
    quantiles: Sequence[float] = QUANTILES,
) -> Measurement:
    """Gain by lag at the inputs, log10 ‖∂L_t/∂x_{t−k}‖, relative to the gain at lag 1.

    L_t is the part of the loss that reads step t of ``target``; x is ``source``. Every route
    counts, whatever the model is made of: one backward pass for each anchor t. The closure runs
    once; weights, gradients, buffers, plain attributes and random states are as they were.

    Lag 1 is the reference because lag 0 is the skip connection in residual models. Where most
    samples send nothing to lag 1, as in a dilated convolution, the reference is the largest gain
    beyond lag 0. ``how`` names the reference, the source and the target.

    Args:
        model: the model that the closure runs.
        closure: runs it and returns the loss, as for ``observe``; it may call ``backward()``.
        source: a module path, a module, or a tensor that the closure reads; None for the first
            tensor with a time axis: the model's input, or the output of its embedding.
        target: a module path or a module; None for the last tensor with a time axis that the loss
            depends on, or a single value for the whole sequence through which all of it goes.
        anchors: how many loss steps, evenly spread.
        quantiles: over the batch and the anchors.

    Returns:
        Axes (quantile, lag). NaN where no loss step has so much of a past, −inf where more than
        that quantile is exactly zero.

    Raises:
        InputError: for a source or target that is not found, or no gradient between them.
    """
    checked_pair("reach", model, closure)
    anchors = checked_count(anchors, "anchors", "reach")
    return whole_reach(model, closure, source, target, anchors).gains(quantiles)


class Check(NamedTuple):
    """How far the gradient is from what another way of differentiating gives, and which."""

    difference: float
    way: str


def checked(model: nn.Module, closure: Closure, probe: Nudged) -> Check | None:
    """By finite differences; where these cannot tell, in forward mode; None where neither can."""
    for way, measure in (("finite differences", nudged), ("forward mode", carried)):
        difference = measure(model, closure, probe)
        if difference is not None:
            return Check(difference, way)
    return None


__all__ = ["Check", "WholeReach", "checked", "reach", "whole_reach"]
