"""A state as rows of a matrix: which axis of its parts tells the sequences of the batch apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.utils.hooks import RemovableHandle


class Standing:
    """A tensor as it was before it was changed in place: its value then, and its node.

    It answers to what a state is asked for, as the tensor itself would have.
    """

    requires_grad = True
    _base = None

    def __init__(self, value: Tensor, node: Any, output: int) -> None:
        self._value, self.grad_fn, self._output = value, node, output
        self._backward_hooks: dict[int, Any] = {}
        self.shape, self.dtype, self.device = value.shape, value.dtype, value.device

    def dim(self) -> int:
        """How many axes it has."""
        return self._value.dim()

    def numel(self) -> int:
        """How many numbers it holds."""
        return self._value.numel()

    def detach(self) -> Tensor:
        """Its value."""
        return self._value

    def edge(self) -> GradientEdge:
        """Where it stands in autograd's graph."""
        return GradientEdge(self.grad_fn, self._output)

    def register_hook(self, hook: Any) -> RemovableHandle:
        """Hand what arrives at its node to ``hook``, which changes nothing."""

        def arrived(gradients: Sequence[Tensor | None]) -> None:
            hook(gradients[self._output])

        handle: RemovableHandle = self.grad_fn.register_prehook(partial(arrived))
        return handle


Part = Tensor | Standing
"""A part of a state."""


def edges(parts: Sequence[Part]) -> list[Any]:
    """What autograd takes for them."""
    return [part.edge() if isinstance(part, Standing) else part for part in parts]


class Layout:
    """How the parts of a state lie in one row a sequence (B S), and back.

    Args:
        state: the parts of one state; all others have the same shapes.
        axes: the axis of each part that holds the sequences; None where the whole state is that
            of a single one.
    """

    def __init__(self, state: Sequence[Part], axes: Sequence[int] | None) -> None:
        self.axes = None if axes is None else tuple(axes)
        self._shapes = [part.shape for part in state]
        self._dtypes = [part.dtype for part in state]
        self.batch = 1 if self.axes is None else int(state[0].shape[self.axes[0]])
        doubled = [2 if part.dtype.is_complex else 1 for part in state]
        pairs = zip(state, doubled, strict=True)
        self.widths = [part.numel() * two // self.batch for part, two in pairs]

    @classmethod
    def batch_first(cls, state: Sequence[Part]) -> Layout:
        """(B ·), or (S) without a batch."""
        return cls(state, [0] * len(state) if all(part.dim() > 1 for part in state) else None)

    def rows(self, parts: Sequence[Tensor]) -> Float[Tensor, "B S"]:
        """Parts side by side, every axis behind the sequence flattened."""
        return torch.cat([self._row(n, part) for n, part in enumerate(parts)], -1)

    def _row(self, n: int, part: Tensor) -> Float[Tensor, "B W"]:
        first = part if self.axes is None else part.movedim(self.axes[n], 0)
        real = torch.view_as_real(first.resolve_conj()) if first.is_complex() else first
        return real.reshape(self.batch, -1)

    def split(self, row: Float[Tensor, "B S"]) -> list[Tensor]:
        """The parts of a joint row, each in its own shape."""
        return [self._part(n, piece) for n, piece in enumerate(row.split(self.widths, -1))]

    def _part(self, n: int, piece: Tensor) -> Tensor:
        shape = list(self._shapes[n])
        if self.axes is not None:
            shape.insert(0, shape.pop(self.axes[n]))
        dtype = self._dtypes[n]
        if dtype.is_complex:
            part = torch.view_as_complex(piece.reshape(*shape, 2).contiguous())
        else:
            part = piece.reshape(shape)
        return (part if self.axes is None else part.movedim(0, self.axes[n])).to(dtype)
