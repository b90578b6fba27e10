"""``unroll``, seen as torch's kernels are: one call is one layer in one direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from throughtime.recurrences import Driven, Place, Recurrence, unroll


@dataclass(frozen=True)
class Unrolled:
    """The arguments of one call of ``unroll``."""

    kind: type[Driven]
    settings: Mapping[str, float]
    inputs: Tensor
    initial: Tensor
    weights: Sequence[Tensor | None]
    place: Place = field(default_factory=Place)

    @property
    def given(self) -> tuple[Tensor, ...]:
        """The weights that it has."""
        return tuple(weight for weight in self.weights if weight is not None)

    @property
    def proof(self) -> int:
        """Which of ``given`` proves the trace: W_hh, or the first where there is none."""
        names = [
            n for n, weight in zip(self.kind.names, self.weights, strict=True) if weight is not None
        ]
        return names.index(proving(self.kind))

    def make(self, given: tuple[Tensor, ...]) -> Recurrence:
        """The recurrence with these weights in the places of ``given``."""
        rest = iter(given)
        weights = [None if weight is None else next(rest) for weight in self.weights]
        return self.kind(*weights, **self.settings)

    def run(self, initial: Tensor, given: tuple[Tensor, ...]) -> Tensor:
        """All states (T B S), from this initial state and with these weights."""
        rest = iter(given)
        weights = [None if weight is None else next(rest) for weight in self.weights]
        return unroll(self.kind, self.settings, self.inputs, initial, weights, self.place)

    def read(self, states: Tensor) -> int:
        """How much of every state a layer above reads as it is, from its start."""
        cell = self.make(self.given)
        assert isinstance(cell, Driven)
        outputs = cell.outputs(states)
        same = outputs.data_ptr() == states.data_ptr() and outputs.stride() == states.stride()
        return outputs.shape[-1] if same else 0


def proving(kind: type[Driven]) -> str:
    """The weight whose gradient, rebuilt from the trace, must be the one that autograd left."""
    return "weight_hh" if "weight_hh" in kind.names else kind.names[0]


def proof(cell: Driven, before: Tensor, inputs: Tensor, rows: Tensor) -> Tensor:
    """``Σ_t (∂s_t/∂W)ᵀ rows_t`` of the weight that proves the trace."""
    name = proving(type(cell))
    return cell.pull_back(rows, before, inputs, [name])[name]
