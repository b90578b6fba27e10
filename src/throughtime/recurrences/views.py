"""The views of each step: taken once, since that takes longer than a small step."""

from __future__ import annotations

from torch import Tensor

_BLOCK = 128  # steps


class Views:
    """``views[t]``: what tensors (T …) hold at step t.

    Taken for a block of steps at a time, so that a look at a few steps of a long run stays short.
    """

    def __init__(self, *parts: Tensor) -> None:
        self._parts = parts
        self._blocks: dict[int, list[tuple[Tensor, ...]]] = {}

    def __getitem__(self, t: int) -> tuple[Tensor, ...]:
        block, step = divmod(t, _BLOCK)
        if block not in self._blocks:
            taken = (part[block * _BLOCK : (block + 1) * _BLOCK].unbind(0) for part in self._parts)
            self._blocks[block] = list(zip(*taken, strict=True))
        return self._blocks[block][step]
