"""The effective rank of the states: how many of the S directions they fill."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from throughtime.findings import Measurement
from throughtime.trace import LayerTrace

FIGURES = ("effective rank", "participation ratio", "state size")


def effective_rank(layer: LayerTrace) -> Measurement:
    """Of the covariance of all states of all sequences; see ``throughtime.measures.memory``."""
    states = layer.states[layer.alive()].double()
    values = np.array([*_ranks(states), states.shape[-1]])
    how = (
        f"from the covariance of {len(states)} states of {layer.batch} sequences; a state of "
        f"S = {states.shape[-1]} numbers is all that goes on from one step to the next"
    )
    return Measurement("effective rank", values, ("figure",), "count", how, {"figure": FIGURES})


def _ranks(states: Tensor) -> tuple[float, float]:
    """exp(entropy) and participation ratio; 0 where nothing varies, NaN where it is not finite."""
    if not states.isfinite().all() or not len(states):
        return np.nan, np.nan
    centred = states - states.mean(0)
    largest = centred.abs().amax() if centred.numel() else centred.new_zeros(())
    if largest <= 1e-12 * states.abs().amax():  # the mean of equal numbers rounds
        return 0.0, 0.0
    centred = centred / largest
    wide = len(centred) < centred.shape[1]
    product = centred @ centred.T if wide else centred.T @ centred
    values = torch.linalg.eigvalsh(product).clamp(min=0)
    shares = values / values.sum()
    entropy = -torch.special.xlogy(shares, shares).sum()
    return float(entropy.exp()), float(1 / shares.square().sum())
