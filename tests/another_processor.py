"""Another processor, as far as tests can tell: every matrix product rounds in its own way.

Two processors, two numbers of threads, MKL and oneDNN sum in different orders. The same product
then differs by about eps × |A| |B|, an exponential or a tanh by one unit in the last place. This
mode adds just that, as a function of the value and the shape alone, so that what must be repeatable
to the last bit remains so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_PRODUCTS = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "addmm": 1, "baddbmm": 1, "addmv": 1}
_FUNCTIONS = {"tanh", "sigmoid", "exp", "log", "tanh_", "sigmoid_", "exp_", "softmax"}
_KERNELS = {"mkldnn_rnn_layer", "_linear_pointwise", "linear_pointwise"}
_BITS = {torch.float32: torch.int32, torch.float64: torch.int64}


def _signs(value: Tensor, seed: int) -> Tensor:
    """−1, 0 or +1 for every entry, from its bits, the shape and the seed."""
    bits = value.contiguous().view(_BITS[value.dtype]).long()
    mixed = (bits ^ (hash(tuple(value.shape)) & 0xFFFFFFFF) ^ (seed * 40503)) * 0x9E3779B1
    return (((mixed >> 17) & 0xFFFF) % 3 - 1).to(value.dtype)


class AnotherProcessor(TorchDispatchMode):
    """Rounds as ``seed`` says, wherever torch multiplies matrices or bends a value."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        found = func(*args, **(kwargs or {}))
        if name in _PRODUCTS:
            self._round(found, lambda: _size(args, _PRODUCTS[name], kwargs or {}))
        elif name in _FUNCTIONS or name in _KERNELS:
            for one in found if isinstance(found, tuple | list) else [found]:
                self._round(one, one.abs)
        return found

    def _round(self, value: Any, size: Callable[[], Tensor]) -> None:
        if not isinstance(value, Tensor) or value.dtype not in _BITS or value.is_mkldnn:
            return
        noise = _signs(value, self.seed) * torch.finfo(value.dtype).eps * size()
        noise = torch.where(noise.isfinite() & (value.abs() != 1), noise, 0)
        with torch.no_grad():
            value.add_(noise.to(value.dtype))


def _size(args: tuple[Any, ...], first: int, kwargs: dict[str, Any]) -> Tensor:
    """|A| |B| (+ |C|): what the entries of a product are made of."""
    made = args[first].abs() @ args[first + 1].abs()
    alpha, beta = kwargs.get("alpha", 1), kwargs.get("beta", 1)
    return abs(alpha) * made + abs(beta) * args[0].abs() if first else made
