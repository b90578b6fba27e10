"""What is measured of one network at one moment."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

import throughtime as tt
from benchmarks.modern.network import Network
from benchmarks.modern.state_size import (
    diagonal_exponents,
    effective_state_size,
    factors,
    largest_factor,
)
from benchmarks.modern.task import Batch, losses

VANISHED = -2.0  # log10 of the gain, 1 %
_DIGITS = 4
Figures = dict[str, Any]


def measured(network: Network, one: Batch, lag: int) -> Figures:
    """Everything; ``lag``: of the directions that come back."""
    layers = [of_layer(layer, lag) for layer in _trace(network, one)]
    return {"layers": layers, "inputs": _plain(reach_at_inputs(network, one))}


def _trace(network: Network, one: Batch) -> Sequence[tt.LayerTrace]:
    def closure() -> Tensor:
        return losses(network(one.words), one).mean()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return list(tt.observe(network, closure))
        except tt.ThroughtimeError:  # no recurrence: attention alone
            return []


def of_layer(layer: tt.LayerTrace, lag: int) -> Figures:
    """Gain by lag, largest exponent, directions and state size of one layer."""
    gains = np.asarray(tt.measures.gains(layer, quantiles=(0.25, 0.5, 0.75)).values)[0]
    exponents = tt.measures.lyapunov(layer, k=1)
    figures = np.asarray(exponents.values)[:, 0]
    directions = np.asarray(tt.measures.directions(layer, lag=lag).values)
    steps = factors(layer)
    size, whole = effective_state_size(steps)
    exact = diagonal_exponents(steps, len(steps.jacobians) // 5)
    return {
        "name": layer.name,
        "verified": layer.verified,
        "spoilt": layer.spoilt,
        "gain": _plain(gains[1]),
        "quartiles": [_plain(gains[0]), _plain(gains[2])],
        "exponent": _plain(figures[:3]),  # mean, lowest, highest of the sequences
        "exact": None if exact is None else _plain([np.mean(exact), min(exact), max(exact)]),
        "factor": _plain([largest_factor(steps)])[0],
        "directions": _plain(directions),
        "state size": [*_plain([size]), whole],
    }


def reach_at_inputs(network: Network, one: Batch) -> Sequence[float]:
    """log10 of the norm of ``∂L_t/∂x_{t−k}`` by lag k, over its largest value beyond lag 0.

    L_t is the loss of one question, x the embeddings: by every route, whatever is inside. The
    median over questions and sequences; lag 0 is mostly the way past the mixers.
    """
    embedded = network.embedding(one.words).detach().requires_grad_()
    found = losses(network.read(embedded), one)
    steps = one.words.shape[1]
    by_lag = torch.full((found.numel(), steps), math.nan, dtype=torch.float64)
    row = 0
    for question in range(found.shape[1]):
        (sent,) = torch.autograd.grad(found[:, question].sum(), embedded, retain_graph=True)
        norms = sent.double().norm(dim=-1)
        for sequence, place in enumerate(one.questions[:, question].tolist()):
            back = norms[sequence, : place + 1].flip(0)
            largest = back[1:].max() if place else back.max()
            by_lag[row, : place + 1] = torch.log10(back / largest)
            row += 1
    longest = int(one.questions.max())
    median: list[float] = np.nanmedian(by_lag[:, : longest + 1].numpy(), 0).tolist()
    return median


def horizon(gain: Sequence[float | None]) -> int:
    """The largest lag at which the median gain is still 1 %."""
    far = [lag for lag, value in enumerate(gain) if value is not None and value >= VANISHED]
    return max(far, default=0)


def _plain(values: Any) -> list[float | None]:
    """As JSON can hold them: NaN is nothing, and no gain at all is 10^−999."""
    known = [float(value) for value in values]
    return [None if math.isnan(one) else float(f"{max(one, -999.0):.{_DIGITS}g}") for one in known]
