"""Small backward passes from the state that a call starts from to where an earlier one ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from throughtime.recording.calls import Passes


@dataclass(frozen=True, eq=False)
class Probe:
    """From ``initial``, by parts, to ``raw``, which a call of ``name`` left."""

    passes: Passes
    name: str
    initial: Sequence[Tensor]
    raw: Sequence[Tensor]

    def factor(self) -> Float[Tensor, "B S"] | None:
        """The factor of every number, if it is one: two backward passes from start to end agree.

        They start from powers of two, so that a factor comes out exact.
        """
        draw = torch.Generator().manual_seed(0)
        like = batched([part.detach() for part in self.initial])
        found = []
        for _ in range(2):
            sent = _powers_of_two(like, draw)
            found.append(self._sent(sent) / sent)
        one, other = found
        near = 16 * torch.finfo(one.dtype).eps * one.abs()
        return one if bool(((one - other).abs() <= near).all()) else None

    def pull(self, rows: Float[Tensor, "N B S"]) -> Float[Tensor, "N B S"]:
        """What each row becomes on the way."""
        return torch.stack([self._sent(row) for row in rows])

    def reaches(self, others: Sequence[Tensor]) -> bool:
        """Whether a gradient gets to other, older states of the layer, past its own steps."""
        draw = torch.Generator().manual_seed(2)
        like = batched([part.detach() for part in self.initial])
        sent = torch.randn(like.shape, generator=draw, dtype=torch.float64).to(like)
        found = self._grad(sent, others, cut=self.name)
        return any(bool((part != 0).any()) for part in found)

    def _sent(self, row: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        found = self._grad(row, self.raw)
        # A kernel's state has an axis for layers in front, ``unroll`` has all steps: the last.
        ends = [
            got[-1] if got.dim() > start.dim() else got
            for start, got in zip(self.initial, found, strict=True)
        ]
        return batched(ends)

    def _grad(
        self, row: Float[Tensor, "B S"], onto: Sequence[Tensor], cut: bool | str = False
    ) -> tuple[Tensor, ...]:
        pieces = row.split([part.shape[-1] for part in self.initial], -1)
        pairs = [
            (part, piece.reshape(part.shape))
            for part, piece in zip(self.initial, pieces, strict=True)
            if part.requires_grad
        ]
        with self._quiet(cut), torch.enable_grad():
            return torch.autograd.grad(
                [part for part, _ in pairs],
                onto,
                [piece for _, piece in pairs],
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )

    @contextmanager
    def _quiet(self, cut: bool | str) -> Iterator[None]:
        before = self.passes.probing, self.passes.cut
        self.passes.probing, self.passes.cut = True, cut
        try:
            yield
        finally:
            self.passes.probing, self.passes.cut = before


def batched(parts: Sequence[Tensor]) -> Float[Tensor, "B S"]:
    """Parts side by side, with a batch axis."""
    joined = torch.cat(list(parts), -1)
    return joined.unsqueeze(0) if joined.dim() == 1 else joined


def _powers_of_two(like: Tensor, draw: torch.Generator) -> Tensor:
    exponents = torch.randint(-1, 2, like.shape, generator=draw)
    signs = torch.randint(0, 2, like.shape, generator=draw) * 2 - 1
    return (signs * 2.0**exponents).to(like)
