"""``Series``: a tensor with a time axis in autograd's graph, or one tensor for each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


@dataclass(frozen=True, eq=False)
class Series:
    """Values along time, known by their place in autograd's graph.

    Attributes:
        name: the module path that produced it, or ``"the input"``.
        edges: one place in the graph for each tensor.
        shape: of one tensor.
        axis: the time axis of the single tensor; None where each step has a tensor of its own, and
            where ``single`` says that there is no time axis.
        sizes: batch sizes of a PackedSequence, whose rows ``edges`` holds.
        single: no time axis: one value for the whole sequence.
    """

    name: str
    edges: tuple[GradientEdge, ...]
    shape: tuple[int, ...]
    axis: int | None = None
    sizes: Tensor | None = None
    single: bool = False

    @property
    def steps(self) -> int:
        """T."""
        if self.sizes is not None:
            return len(self.sizes)
        return len(self.edges) if self.axis is None else self.shape[self.axis]

    @property
    def batch(self) -> int:
        """B; 1 without a batch axis."""
        if self.sizes is not None:
            return int(self.sizes[0])
        rest = [size for n, size in enumerate(self.shape) if n != self.axis]
        has_batch = len(rest) > 1 or self.axis == 1
        return rest[0] if has_batch else 1

    def by_time(self, parts: Sequence[Tensor | None]) -> Float[Tensor, "T B F"]:
        """Gradients of all tensors as one, time first; zero where there is none."""
        like = next(_dense(part) for part in parts if part is not None)
        dense = [like.new_zeros(self.shape) if part is None else _dense(part) for part in parts]
        if self.sizes is not None:
            padded, _ = pad_packed_sequence(PackedSequence(dense[0], self.sizes))
            return padded.reshape(self.steps, self.batch, -1)
        whole = torch.stack(dense) if self.axis is None else dense[0].movedim(self.axis, 0)
        return whole.reshape(self.steps, self.batch, -1)

    def only(self, parts: Sequence[Tensor | None], step: int) -> list[Tensor]:
        """The same gradients with every other step set to zero, the largest entry scaled to 1."""
        like = next(_dense(part) for part in parts if part is not None)
        kept = [torch.zeros_like(like) if part is None else _dense(part) for part in parts]
        if self.sizes is not None:
            padded, lengths = pad_packed_sequence(PackedSequence(kept[0], self.sizes))
            alone = torch.zeros_like(padded)
            alone[step] = padded[step]
            kept = [pack_padded_sequence(alone, lengths).data]
        elif self.axis is None:
            kept = [part if n == step else torch.zeros_like(part) for n, part in enumerate(kept)]
        else:
            alone = torch.zeros_like(kept[0])
            alone.select(self.axis, step).copy_(kept[0].select(self.axis, step))
            kept = [alone]
        largest = max(float(part.abs().amax()) for part in kept)
        return [part / largest for part in kept] if 0 < largest < float("inf") else kept


def _dense(part: Tensor) -> Tensor:
    return part.to_dense() if part.layout is not torch.strided else part
