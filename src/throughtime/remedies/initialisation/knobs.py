"""What sets the rate of a recurrence, as one number that can be turned up and down.

More of it lets more of a gradient through: the gain of W_hh where the state is made anew at every
step, the bias of the gate that keeps it where there is one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from throughtime.errors import InputError
from throughtime.recurrences import Elman
from throughtime.recurrences.indrnn import IndRNN
from throughtime.remedies.initialisation.drawn import WRITING
from throughtime.remedies.weights import LayerWeights, recurrent_weights, square_blocks

_MADE_ANEW = (Elman, IndRNN)
_DECADES = 2.0  # up to a largest singular value of 100
_FAR = 10.0  # a gate that keeps all but 1 in 20,000, or as little


class Knob(ABC):
    """One number of one layer in one direction; at 0 the layer is as it was found.

    Attributes:
        layer: its name, as a ``Trace`` of the model calls it.
        name: what is turned.
        start: where a search begins.
        bounds: how far down and up it may go.
        stride: how far it goes at first.
    """

    layer: str
    name: str
    start: float
    bounds: tuple[float, float]
    stride: ClassVar[float]

    @abstractmethod
    def turn(self, to: float) -> None:
        """Write the weights."""

    @abstractmethod
    def amount(self, at: float) -> float:
        """What a place is to the user: a factor, or what was added."""


class Gain(Knob):
    """``W_hh · 10^x``, from where its largest singular value is 1.

    No squashing function is steeper than 1: there the rate is not above 0.

    Args:
        layer: as above.
        weight: W_hh, (G·H H); of single units (G·H).
        blocks: of it, one for each gate.
    """

    stride = 0.02

    def __init__(self, layer: str, weight: Tensor, blocks: Iterable[Tensor]) -> None:
        largest = max(float(_singular(one).max()) for one in blocks)
        if not 0 < largest < math.inf:
            raise InputError(
                f"{layer}: a recurrent matrix of norm {largest:g} has no gain to tune: "
                "initialise it first, by orthogonal_"
            )
        self.layer, self.name = layer, "gain of W_hh"
        self.start = -math.log10(largest)
        self.bounds = (self.start, self.start + _DECADES)
        self._weight, self._found = weight, weight.detach().clone()

    @torch.no_grad()
    def turn(self, to: float) -> None:
        self._weight.copy_(self._found * 10**to)

    def amount(self, at: float) -> float:
        return 10**at


class KeepingBias(Knob):
    """The bias of the gate that keeps the state, of all units alike, and its opposite in ``i``."""

    stride = 1.0

    def __init__(self, weights: LayerWeights, gate: str, sign: int) -> None:
        self.layer, self.name = weights.name, f"bias of {gate}"
        self._weights, self.start = weights, 0.0
        middle = sign * float(weights.bias(gate).mean())
        self.bounds = (min(0.0, -_FAR - middle), max(0.0, _FAR - middle))
        self._gate, self._sign = gate, sign
        self._found = [bias.detach().clone() for bias in weights.biases]

    @torch.no_grad()
    def turn(self, to: float) -> None:
        for bias, found in zip(self._weights.biases, self._found, strict=True):
            bias.copy_(found)
        first = self._weights.blocks(self._weights.biases[0])
        first[self._gate].add_(self._sign * to)
        if WRITING in first:
            first[WRITING].sub_(to)

    def amount(self, at: float) -> float:
        return self._sign * at


def knobs(module: nn.Module, own: Mapping[str, Tensor] | None = None) -> list[Knob]:
    """The knob of every recurrent layer in ``module``, by layer and direction.

    Args:
        module: a recurrent layer or cell, or a model that holds some.
        own: the matrices of recurrences by hand instead, by the names of their marks.

    Raises:
        InputError: no recurrent layer in it, or one whose rate no knob sets.
    """
    if own is None:
        return [_knob(weights) for weights in recurrent_weights(module)]
    return [_knob_by_hand(name, weight) for name, weight in own.items()]


def _knob_by_hand(name: str, weight: Tensor) -> Knob:
    if weight.dim() != 2 or weight.shape[0] != weight.shape[1]:
        raise InputError(
            f"critical_: the matrix of {name!r} has the shape {tuple(weight.shape)}: give the "
            "square one that multiplies the state"
        )
    return Gain(name, weight, [weight.detach()])


def _knob(weights: LayerWeights) -> Knob:
    if weights.keeping is not None and weights.biases:
        return KeepingBias(weights, *weights.keeping)
    if issubclass(weights.recurrence, _MADE_ANEW):
        square_blocks(weights.module, "a gain", diagonal=True)
        assert weights.weight_hh is not None
        blocks = weights.recurrent_blocks.values()
        return Gain(weights.name, weights.weight_hh, blocks)
    raise InputError(
        f"{weights.name}: neither a gain of W_hh nor the bias of a gate sets the rate of this "
        f"{weights.recurrence.kind}: take an RNN, an IndRNN, or a gated layer with biases"
    )


def _singular(block: Tensor) -> Tensor:
    """Of a matrix (H H), or of a diagonal (H)."""
    return block.abs() if block.dim() == 1 else torch.linalg.svdvals(block)
