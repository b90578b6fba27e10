"""One matrix product, by the quickest library that torch brings.

torch's CPU path for float32 is MKL, which leaves half of an AMD processor's vector width unused;
oneDNN, which torch ships and its own compiler calls, does not. A small product gains nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_SMALL = 2**20  # multiplications: fewer take longer to hand over than to do
_ONEDNN = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if torch.backends.mkldnn.is_available()
    else None
)


def linear(
    rows: Float[Tensor, "... K"], weight: Float[Tensor, "N K"], bias: Tensor | None = None
) -> Float[Tensor, "... N"]:
    """``rows @ weightᵀ + bias``; differentiable where gradients are enabled."""
    plain = (
        _ONEDNN is None
        or torch.is_grad_enabled()
        or rows.dtype != torch.float32
        or rows.device.type != "cpu"
        or rows.numel() * len(weight) < _SMALL
    )
    if plain or _ONEDNN is None:
        return torch.nn.functional.linear(rows, weight, bias)
    product: Tensor = _ONEDNN(rows, weight, bias, "none", [], "")
    return product
