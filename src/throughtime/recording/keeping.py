"""Keeps the graph of a marked recurrence readable after its weights have moved.

J_t is read off the graph that the user's code built, which holds the weights themselves, and an
optimizer changes them in place. From the first mark on, the graph gets copies to fall back on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_CHANGED = (
    "one of the variables needed for gradient computation has been modified by an inplace operation"
)


class _Kept(NamedTuple):
    tensor: Tensor
    version: int
    copy: Tensor | None


class Keeping:
    """Saved tensors as they are, and of weights a copy beside them.

    ``strict``: a backward pass of the user's is under way, which must fail where it always would.
    """

    def __init__(self, strict: Callable[[], bool]) -> None:
        self._strict = strict
        self._copies: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}
        self._hooks: torch.autograd.graph.saved_tensors_hooks | None = None

    def open(self) -> None:
        """From here on; not inside of hooks of somebody else's, nor where torch allows none."""
        if self._hooks is not None:
            return
        if torch._C._autograd._top_saved_tensors_default_hooks(False) is not None:
            return
        hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)
        try:
            hooks.__enter__()
        except RuntimeError:
            return
        self._hooks = hooks

    def close(self) -> None:
        """Up to here."""
        hooks, self._hooks = self._hooks, None
        if hooks is not None:
            hooks.__exit__()

    def _pack(self, tensor: Tensor) -> _Kept:
        leaf = tensor if tensor.is_leaf else tensor._base
        weight = leaf is not None and leaf.is_leaf and leaf.requires_grad
        copy = self._copy(tensor, leaf) if weight and leaf is not None else None
        return _Kept(tensor, tensor._version, copy)

    def _copy(self, tensor: Tensor, leaf: Tensor) -> Tensor:
        shape = tuple(tensor.shape), tensor.stride(), tensor.storage_offset()
        key = id(leaf), leaf._version, *shape
        if key not in self._copies:
            self._copies[key] = (leaf, tensor.detach().clone())
        return self._copies[key][1]

    def _unpack(self, kept: _Kept) -> Tensor:
        if kept.tensor._version == kept.version:
            return kept.tensor
        if kept.copy is None or self._strict():
            raise RuntimeError(_CHANGED)
        return kept.copy
