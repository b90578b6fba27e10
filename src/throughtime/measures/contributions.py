"""``contributions``: from how many steps back the gradient of W_hh comes.

``∂L/∂W = Σ_k G_k``, where G_k is the part of every loss that went back k steps before it met W:
``D_0 = e``, ``D_k[t−1] = J_tᵀ D_{k−1}[t]``, ``G_k = Σ_t (∂s_t/∂W)ᵀ D_k[t]``. The norm of the whole
does not vanish where the long lags do: the short ones dominate it (Pascanu, Mikolov & Bengio 2013).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from throughtime.errors import InputError
from throughtime.findings import Measurement
from throughtime.recurrences import Linearised
from throughtime.trace import LayerTrace, Trace, one_layer
from throughtime.typed import checked_count

FIGURES = ("share of the update", "share of the norm")

_SMALL, _LARGE = 1e-8, 1e8  # outside of it the rows of a lag are brought back to 1
# log10 of the share of the largest lag that no longer counts.
_NOTHING = {torch.float64: -12.0}
_NOTHING_ELSE = -7.0  # a sum in float32 cannot see it
_MOST = 0.99


@torch.no_grad()
def contributions(
    trace: Trace | LayerTrace,
    layer: str | int | None = None,
    *,
    longest: int | None = None,
    sequences: Sequence[int] | None = None,
) -> Measurement:
    """What share of the gradient of the recurrent weight comes from 0, 1, 2-3, 4-7, … steps back.

    Lag k: the loss went back k steps in time before it met W_hh there; what came through a layer
    above counts from where it entered this one. All times and sequences are swept at once, one lag
    after another, until less than 1e-7 of the largest lag is left (1e-12 in float64).

    Args:
        trace: a ``Trace``, or one of its layers.
        layer: which layer; None for the only one.
        longest: the longest lag that is looked at; None for all that the capture holds.
        sequences: which sequences of the batch are looked at; None for all of them.

    Returns:
        Shares, axes (figure, bucket). ``"share of the update"`` is ⟨G_bucket, G⟩ / ‖G‖²: it adds up
        to 1, and is negative for lags that pull against the whole. ``"share of the norm"`` is
        ‖G_bucket‖ over the sum of these norms. NaN where the gradient is zero or not finite.
        ``how`` says within which lag 99 % of the norm lies.

    Raises:
        InputError: for an unknown layer, several of which none was chosen, a layer without a
            recurrent weight that is known, or a lag or a sequence that is not there.
    """
    one = one_layer(trace, layer, "contributions are those")
    if longest is not None and longest != 0:
        checked_count(longest, "longest", "contributions")
    chosen = list(range(one.batch)) if sequences is None else list(sequences)
    for b in chosen:
        if not 0 <= b < one.batch:
            raise InputError(f"sequence {b} lies outside of the batch of {one.batch}")
    linear, direct = _of_sequences(one, chosen)
    most = one.steps - 1 if longest is None else min(longest, one.steps - 1)
    buckets = _swept(linear, direct, frozenset(one.walls), most)
    if not buckets:
        raise InputError(
            f"layer {one.name!r} has no recurrent weight that is known: contributions need an "
            "nn.RNN, nn.LSTM or nn.GRU, or one of their cells"
        )
    shares = _shares(buckets)
    cumulated = shares[1].cumsum()
    within = [bucket.last for bucket, sum_ in zip(buckets, cumulated, strict=True) if sum_ >= _MOST]
    how = (
        f"the gradient of {linear.weight} of {len(chosen)} of {one.batch} sequences, by how many "
        f"steps each loss went back before it met {linear.weight}"
        + (f"; 99 % of the norm lies within a lag of {within[0]}" if within else "")
    )
    coords = {"figure": FIGURES, "bucket": tuple(bucket.name for bucket in buckets)}
    return Measurement("contributions", shares, ("figure", "bucket"), "share", how, coords)


@dataclass(eq=False)
class _Bucket:
    """Lags ``first`` to ``last``: ``gradient`` · 10^``exponent``, or None where nothing came."""

    first: int
    last: int
    gradient: Tensor | None = None
    exponent: float = 0.0

    @property
    def name(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(eq=False)
class _Lag:
    """D_k of all steps, as ``rows`` · 10^``exponent``; ``total``: of this bucket so far."""

    rows: Tensor
    exponent: float = 0.0
    total: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.total = torch.zeros_like(self.rows)

    def rescale(self) -> float:
        """Bring the rows back to 1 where they have left it; log10 of the largest entry."""
        if not self.rows.numel():
            return -math.inf
        low, high = map(float, self.rows.aminmax())
        largest = max(-low, high)
        if largest == 0:
            return -math.inf
        if math.isfinite(largest) and not _SMALL <= largest <= _LARGE:
            self.rows /= largest
            self.total /= largest
            self.exponent += math.log10(largest)
            largest = 1.0
        return self.exponent + math.log10(largest)


def _swept(
    linear: Linearised, direct: Tensor, walls: frozenset[int], longest: int
) -> list[_Bucket]:
    """The gradient of W_hh, bucket by bucket; none if there is no such weight."""
    buckets = [_Bucket(0, 0)]
    while buckets[-1].last < longest:
        first = buckets[-1].last + 1
        buckets.append(_Bucket(first, min(2 * first - 1, longest)))
    lag, largest = _Lag(direct.clone()), -math.inf
    for bucket in buckets:
        ended = False
        for k in range(bucket.first, bucket.last + 1):
            if k:
                lag.rows = _one_step_back(linear, lag.rows, walls)
            size = lag.rescale()
            largest = max(largest, size)
            ended = not size >= largest + _NOTHING.get(direct.dtype, _NOTHING_ELSE)
            if ended and not math.isnan(size):
                break
            lag.total += lag.rows
        gradient = linear.recurrent_weight_gradient(lag.total)
        if gradient is None:
            return []
        bucket.gradient, bucket.exponent = gradient, lag.exponent
        if ended:
            break
        lag.total.zero_()
    return buckets


def _one_step_back(linear: Linearised, rows: Tensor, walls: frozenset[int]) -> Tensor:
    back = linear.vjp_every(rows)
    back[list(walls)] = 0
    return torch.cat([back[1:], torch.zeros_like(back[:1])])


def _shares(buckets: Sequence[_Bucket]) -> NDArray[np.float64]:
    """(figure, bucket), from the gradients at the exponent of the largest."""
    reached = [bucket for bucket in buckets if bucket.gradient is not None]
    flat = torch.stack([one.gradient.flatten() for one in reached if one.gradient is not None])
    exponents = torch.tensor([one.exponent for one in reached], dtype=torch.float64)
    logs = flat.abs().amax(1).double().cpu().log10() + exponents
    top = logs.max() if bool(logs.isfinite().any()) else torch.zeros((), dtype=torch.float64)
    flat *= (10 ** (exponents - top)).to(flat).unsqueeze(1)
    products = (flat @ flat.T).double().cpu()
    norms = products.diagonal().sqrt()
    shares = torch.zeros(len(FIGURES), len(buckets), dtype=torch.float64)
    shares[0, : len(reached)] = products.sum(1) / products.sum()
    shares[1, : len(reached)] = norms / norms.sum()
    if not shares.isfinite().all():
        shares.fill_(torch.nan)
    values: NDArray[np.float64] = shares.numpy()
    return values


def _of_sequences(layer: LayerTrace, chosen: Sequence[int]) -> tuple[Linearised, Tensor]:
    """The recurrence and its direct gradients, in the order of computation, of these sequences."""
    direct = layer.turned(layer.direct)
    if len(chosen) == layer.batch:
        return layer.linear, direct
    some = layer.linear.take(chosen)
    if some is not None:
        return some, direct[:, list(chosen)]
    silent = torch.ones(layer.batch, dtype=torch.bool)
    silent[list(chosen)] = False
    direct = direct.clone()
    direct[:, silent] = 0
    return layer.linear, direct
