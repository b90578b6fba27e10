"""What lies between two steps, as a linear map of the state: ``new[b] = D[b] old[source[b]]``.

A normalisation, a linear layer, a permutation of units give a matrix D for every sequence; a beam
search takes the state of another sequence of the batch. A factor for each number needs no class: it
is a tensor (B S).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Carried:
    """From the state that a step left to the one that the next step starts from.

    Attributes:
        map: D, a matrix for each sequence (B S S), one for all (1 S S), or factors alone (B S).
        source: the sequence of the batch that each goes on from; None: each from its own.
    """

    map: Tensor
    source: Int[Tensor, " B"] | None = None

    @property
    def mixes(self) -> bool:
        """Whether a sequence goes on from another."""
        return self.source is not None

    def back(self, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B S"]:
        """``Dᵀ rows``, at the sequences that they came from."""
        sent = rows * self.map if self.map.dim() == 2 else self._times(rows)
        if self.source is None:
            return sent
        return torch.zeros_like(sent).index_add(-2, self.source, sent)

    def forward(self, columns: Float[Tensor, "... B S"]) -> Float[Tensor, "... B S"]:
        """``D columns``, at the sequences that they go on to."""
        chosen = columns if self.source is None else columns.index_select(-2, self.source)
        if self.map.dim() == 2:
            return chosen * self.map
        return (self.map @ chosen.unsqueeze(-1)).squeeze(-1)

    def _times(self, rows: Tensor) -> Tensor:
        if len(self.map) == 1:
            return rows @ self.map[0]
        return (rows.unsqueeze(-2) @ self.map).squeeze(-2)

    def silent(self, batch: int) -> Tensor:
        """The sequences of which nothing goes back (B)."""
        return (self.map == 0).flatten(1).all(1).expand(batch)

    def take(self, sequences: Sequence[int]) -> Carried | None:
        """These sequences alone; None where they go on from others."""
        if self.source is not None:
            return None
        chosen = list(sequences)
        alike = self.map.dim() == 3 and len(self.map) == 1
        return self if alike else replace(self, map=self.map[chosen])

    def to(self, dtype: torch.dtype) -> Carried:
        """In another precision."""
        return replace(self, map=self.map.to(dtype))


@dataclass(frozen=True, eq=False)
class Mixing:
    """The same where a sequence is made from several others: one matrix for the whole batch."""

    map: Float[Tensor, "BS BS"]
    mixes: ClassVar[bool] = True

    def back(self, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B S"]:
        """``Dᵀ rows``."""
        return (rows.flatten(-2) @ self.map).view(rows.shape)

    def forward(self, columns: Float[Tensor, "... B S"]) -> Float[Tensor, "... B S"]:
        """``D columns``."""
        return (columns.flatten(-2) @ self.map.T).view(columns.shape)

    def silent(self, batch: int) -> Tensor:
        """The sequences of which nothing goes back (B)."""
        return (self.map == 0).view(batch, -1).all(1)

    def take(self, sequences: Sequence[int]) -> None:
        """A part of a mixed batch cannot be told."""

    def to(self, dtype: torch.dtype) -> Mixing:
        """In another precision."""
        return Mixing(self.map.to(dtype))


Gate = Tensor | Carried | Mixing
"""A factor for each number (B S, or broadcast to it), or a map of the state."""


def back(gate: Gate, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B S"]:
    """What a gradient becomes on its way to the step before."""
    return rows * gate if isinstance(gate, Tensor) else gate.back(rows)


def forward(gate: Gate, columns: Float[Tensor, "... B S"]) -> Float[Tensor, "... B S"]:
    """What a tangent becomes on its way to the step behind."""
    return columns * gate if isinstance(gate, Tensor) else gate.forward(columns)
