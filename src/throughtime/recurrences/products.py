"""One matrix product, by the quickest library that torch brings.

torch's CPU path for float32 is MKL, which leaves half of an AMD processor's vector width unused;
oneDNN, which torch ships and its own compiler calls, does not. A small product gains nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

_SMALL = 2**20  # multiplications: fewer take longer to hand over than to do
_ONEDNN = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if torch.backends.mkldnn.is_available()
    else None
)

quick = torch.inference_mode
"""Around a loop over tensors made before it: every operation costs its autograd layer less."""

Product = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``product(rows, plus, out)``: ``plus + rows @ weightᵀ`` of one weight, into ``out``."""


def linear(
    rows: Float[Tensor, "... K"], weight: Float[Tensor, "N K"], bias: Tensor | None = None
) -> Float[Tensor, "... N"]:
    """``rows @ weightᵀ + bias``; differentiable where gradients are enabled."""
    if torch.is_grad_enabled() or _ONEDNN is None or not _pays(rows, weight):
        return torch.nn.functional.linear(rows, weight, bias)
    product: Tensor = _ONEDNN(rows, weight, bias, "none", [], "")
    return product


def repeated(weight: Float[Tensor, "N K"], rows: int) -> Product:
    """The product by ``weight`` of ``rows`` rows (B K) at a time, for a loop; not differentiable.

    ``plus`` and ``out`` (B N) may be one tensor, and any view whose last axis is contiguous.
    """
    if _ONEDNN is None or not _pays(weight.new_empty(rows, weight.shape[1]), weight):
        transposed = weight.T
        return lambda read, plus, out: torch.addmm(plus, read, transposed, out=out)
    multiply, dense = _ONEDNN.default, weight.contiguous()
    return lambda read, plus, out: torch.add(
        plus, multiply(read, dense, None, "none", [], ""), out=out
    )


def _pays(rows: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN takes these, and is quicker."""
    on_cpu = rows.dtype == torch.float32 and rows.device.type == "cpu"
    return on_cpu and rows.numel() * len(weight) >= _SMALL
