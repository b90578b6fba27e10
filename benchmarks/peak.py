"""The peak that a share is a share of: the best rate of a large matrix product, measured now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

SIZES = (512, 1024, 2048)
ROUNDS = 8


@torch.no_grad()
def peak(dtype: torch.dtype, sizes: tuple[int, ...] = SIZES, rounds: int = ROUNDS) -> float:
    """FLOP/s of the quickest product of two square matrices, by every library that torch brings.

    A product of n × n matrices counts as 2 n³ operations. On as many threads as torch is set to:
    measure it in the same run, on the same threads, as what it is compared with.
    """
    best = 0.0
    for size in sizes:
        generator = torch.Generator().manual_seed(size)
        a, b = (torch.randn(size, size, generator=generator, dtype=dtype) for _ in range(2))
        for product in _products(a, b):
            product()
            seconds = min(_seconds(product) for _ in range(rounds))
            best = max(best, 2 * size**3 / seconds)
    return best


def _products(a: Tensor, b: Tensor) -> Iterator[Callable[[], object]]:
    """a bᵀ by torch's matmul, and by oneDNN, which has float32 alone."""
    out, transposed = torch.empty_like(a), b.T.contiguous()
    yield lambda: torch.mm(a, transposed, out=out)
    one_dnn = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if a.dtype == torch.float32 and one_dnn and torch.backends.mkldnn.is_available():
        yield lambda: one_dnn(a, b, None, "none", [], "")


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
