"""tanh, where no graph is needed, by the quickest way that torch brings.

torch hands a float32 tanh on the CPU to MKL, which takes ten times as long for it as torch's own
logistic function on an AMD processor. ``tanh a = 2 σ(2a) − 1`` has an absolute error of 2e-7 at
most, about what the matrix product before it rounds away.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MINUS_ONE = torch.tensor(-1.0)


def tanh(values: Tensor) -> Tensor:
    """``tanh(values)`` in new memory; differentiable where gradients are enabled."""
    if torch.is_grad_enabled() or not _slow(values):
        return torch.tanh(values)
    return _doubled(torch.mul(values, 2))


def tanh_(values: Tensor) -> Tensor:
    """``tanh(values)`` in place; not differentiable."""
    return _doubled(values.mul_(2)) if _slow(values) else values.tanh_()


def from_logistic_(values: Tensor) -> Tensor:
    """tanh a in place of σ(2a); not differentiable."""
    return torch.add(_MINUS_ONE, values, alpha=2, out=values)


def _slow(values: Tensor) -> bool:
    return values.dtype == torch.float32 and values.device.type == "cpu"


def _doubled(twice: Tensor) -> Tensor:
    """tanh a in place of 2a."""
    return from_logistic_(twice.sigmoid_())
