"""``s_t = d_t ⊙ s_{t−1} + w_t`` for all t, in about 2 √T steps of Python."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def accumulate(
    decay: Float[Tensor, "T ..."], added: Float[Tensor, "T ..."], first: Float[Tensor, ...]
) -> Float[Tensor, "T ..."]:
    """All states, from the state ``first`` before them; ``decay`` is broadcast to ``added``.

    Pieces of about √T steps run side by side, each from nothing; then what the piece before left
    is carried into each of them through the product of its decays.
    """
    steps = len(added)
    size = max(1, math.isqrt(steps))
    pieces = -(-steps // size)
    decay, added = (_in_pieces(part, pieces, size) for part in (decay, added))
    states, reach = torch.empty_like(added), torch.empty_like(decay)
    states[:, 0], reach[:, 0] = added[:, 0], decay[:, 0]
    for t in range(1, size):
        torch.addcmul(added[:, t], decay[:, t], states[:, t - 1], out=states[:, t])
        torch.mul(decay[:, t], reach[:, t - 1], out=reach[:, t])
    carried = first
    for piece in range(pieces):
        states[piece].addcmul_(reach[piece], carried)
        carried = states[piece, -1]
    return states.flatten(0, 1)[:steps]


def _in_pieces(part: Tensor, pieces: int, size: int) -> Tensor:
    """(T …) as (pieces size …), the last one filled up with zeros."""
    missing = pieces * size - len(part)
    filled = torch.cat([part, part.new_zeros(missing, *part.shape[1:])]) if missing else part
    split: Tensor = filled.unflatten(0, (pieces, size))
    return split
