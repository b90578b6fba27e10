"""Aliases of what a kernel reads: hooks on them see, or stop, the gradient of this use alone."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from throughtime.recording import reading
from throughtime.recording.calls import Passes, Snapshots, Weight, listen


class Aliases:
    """Makes them; ``handles`` receives the hooks, which go when the block ends."""

    def __init__(
        self, passes: Passes, snapshots: Snapshots, handles: list[RemovableHandle]
    ) -> None:
        self._passes, self._snapshots, self._handles = passes, snapshots, handles

    def entry(self, name: str, inputs: Tensor) -> Tensor:
        """An alias of the input, at which a backward pass of ours can be made to stop."""
        if not (inputs.requires_grad and torch.is_grad_enabled()):
            return inputs
        alias = inputs.view_as(inputs)
        self._handles.append(listen(alias, partial(self._passes.at_entry, name)))
        return alias

    def of(
        self,
        name: str,
        inputs: Tensor,
        initial: tuple[Tensor, ...],
        weights: tuple[Tensor, ...],
        proof: int = 1,
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Weight | None]:
        """Aliases of the initial state and of W_hh, so that hooks see the gradient of this use.

        ``proof``: which weight that is, or stands for it where a recurrence has none.
        """
        tensors = (inputs, *initial, *weights)
        if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
            initial = tuple(p.view_as(p) if p.requires_grad else p for p in initial)
            return initial, weights, None
        # One that needs no gradient is given a leaf of ours, at which a check can arrive.
        initial = tuple(p.view_as(p) if p.requires_grad else reading.leaf_of(p) for p in initial)
        watched, handles = self._snapshots.watch(name, weights[proof])
        self._handles += handles
        return initial, (*weights[:proof], watched.alias, *weights[proof + 1 :]), watched
