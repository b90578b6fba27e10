"""``s_t = J_t s_{t−1} + w_t`` for all t, in about 2 √T steps of Python.

J is diagonal, or ``D + u wᵀ``. Pieces of about √T steps run side by side, each from nothing; then
what the piece before left is carried into each of them through the product of its Jacobians.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_MOST = 2**13  # numbers of one step's product


def accumulate(
    decay: Float[Tensor, "T ..."], added: Float[Tensor, "T ..."], first: Float[Tensor, ...]
) -> Float[Tensor, "T ..."]:
    """All states, from the state ``first`` before them; ``decay`` is broadcast to ``added``."""
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


def accumulate_mixing(
    decay: Float[Tensor, "#T #B #H #K #V"],
    left: Float[Tensor, "T B H K"],
    right: Float[Tensor, "T B H K"],
    added: Float[Tensor, "T B H K V"],
    first: Float[Tensor, "B H K V"],
) -> Float[Tensor, "T B H K V"]:
    """The same with ``J = D + u wᵀ``, whose products are matrices (K K) that all of V share."""
    steps, keys = len(added), left.shape[-1]
    size = max(1, math.isqrt(steps))
    pieces = -(-steps // size)
    decay, left, right, added = (
        _in_pieces(part, pieces, size)
        for part in (decay, left.unsqueeze(-1), right.unsqueeze(-2), added)
    )
    # Beside the state the identity, of which the product of the Jacobians becomes.
    whole = added.new_zeros(*added.shape[:-1], added.shape[-1] + keys)
    whole[..., keys:] = added
    whole[:, 0, ..., :keys] = torch.diag_embed((decay[:, 0] * left.new_ones(keys, 1)).squeeze(-1))
    whole[:, 0, ..., :keys] += left[:, 0] * right[:, 0]
    for t in range(1, size):
        before = whole[:, t - 1]
        whole[:, t].addcmul_(decay[:, t], before).addcmul_(left[:, t], right[:, t] @ before)
    reach, states = whole[..., :keys], whole[..., keys:]
    carried = first
    for piece in range(pieces):
        states[piece] += reach[piece] @ carried
        carried = states[piece, -1]
    return states.flatten(0, 1)[:steps]


def mixes_little(left: Float[Tensor, "T B H K"], decay: Tensor, width: int) -> bool:
    """Whether the products are so small that the steps of Python are what takes the time."""
    keys = left.shape[-1]
    return decay.shape[-1] == 1 and keys <= 4 * width and left[0].numel() * keys <= _MOST


def _in_pieces(part: Tensor, pieces: int, size: int) -> Tensor:
    """(T …) as (pieces size …), the last one filled up with zeros."""
    missing = pieces * size - len(part)
    filled = torch.cat([part, part.new_zeros(missing, *part.shape[1:])]) if missing else part
    split: Tensor = filled.unflatten(0, (pieces, size))
    return split
