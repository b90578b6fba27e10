"""A recurrence in two halves: what reads the input alone, and the step that carries the state.

``s_t = advance(s_{t−1}, drive(x_t))``. The drive of all steps is one product before the first step
is taken, so that a run through time waits for ``advance`` alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences.base import Linearised, Recurrence
from throughtime.recurrences.products import linear


class Driven(Recurrence):
    """A recurrence that ``unroll`` trains: its weights are kept as given, and may require grad.

    A cell names its weights, writes ``drive`` and ``advance`` in torch's differentiable operations
    and ``linearise`` in closed form; it may write ``run`` as a tight loop.
    """

    names: ClassVar[tuple[str, ...]]
    """The names of its weights in the order of ``__init__``, without a layer's suffix."""

    def __init__(self, *weights: Tensor | None, **settings: float) -> None:
        self.settings = settings
        for name, weight in zip(self.names, weights, strict=True):
            setattr(self, name, weight)

    @abstractmethod
    def drive(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... G"]:
        """What the input alone adds to a step; of all steps at once where ``x`` holds them all."""

    @abstractmethod
    def advance(
        self, state: Float[Tensor, "... S"], driven: Float[Tensor, "... G"]
    ) -> Float[Tensor, "... S"]:
        """``s_t`` from ``s_{t−1}`` and the drive of the step; one step, or all of them at once."""

    def step(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> Float[Tensor, "... B S"]:
        return self.advance(state, self.drive(x))

    @torch.no_grad()
    def run(
        self, driven: Float[Tensor, "T B G"], initial: Float[Tensor, "B S"]
    ) -> Float[Tensor, "T B S"]:
        """All states, one after another, without a graph."""
        states = initial.new_empty(len(driven), *initial.shape)
        state = initial
        for drive, after in zip(driven.unbind(0), states.unbind(0), strict=True):
            state = after.copy_(self.advance(state, drive))
        return states

    @torch.no_grad()
    def remember(
        self, inputs: Float[Tensor, "T B I"], initial: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "T B S"], tuple[Float[Tensor, "T ..."], ...]]:
        """All states, and what the way back need not find out again; nothing, if that is cheap."""
        return self.run(self.drive(inputs), initial), ()

    def recall(
        self,
        inputs: Float[Tensor, "T B I"],
        states: Float[Tensor, "T B S"],
        initial: Float[Tensor, "B S"],
        *remembered: Float[Tensor, "T ..."],
    ) -> Linearised:
        """Every step linearised at the states of a run, given what it ``remember``ed of them."""
        return self.replay(inputs, states, initial)[1]

    def outputs(self, states: Float[Tensor, "T B S"]) -> Float[Tensor, "T B P"]:
        """What the layer above reads, as a view: a leading part of the state."""
        return states if len(self.parts) == 1 else states[..., self.parts["h"]]

    def pull_back(
        self,
        rows: Float[Tensor, "T B S"],
        before: Float[Tensor, "T B S"],
        inputs: Float[Tensor, "T B I"],
        names: Sequence[str],
    ) -> dict[str, Tensor]:
        """``Linearised.gradients`` of these names by autograd: one step of all T at once."""
        held = {name: getattr(self, name) for name in self.names} | {"inputs": inputs}
        leaves = {name: held[name].detach().requires_grad_() for name in names}
        *weights, x = (held | leaves).values()
        with torch.enable_grad():
            after = type(self)(*weights, **self.settings).step(before, x)
        found = torch.autograd.grad(after, list(leaves.values()), rows, materialize_grads=True)
        return dict(zip(leaves, found, strict=True))

    def weights(self) -> dict[str, Tensor]:
        named = ((name, getattr(self, name)) for name in self.names)
        return {name: weight for name, weight in named if weight is not None}


class Doubling(Driven):
    """One whose run makes every tanh of a σ: ``tanh a = 2 σ(2a) − 1``, where a enters doubled.

    It remembers what its loop left in the place of the drive.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None

    @abstractmethod
    def scale(self) -> Float[Tensor, " G"]:
        """2 for what enters a tanh, else 1."""

    @abstractmethod
    def run_scaled(
        self, driven: Float[Tensor, "T B G"], initial: Float[Tensor, "B S"]
    ) -> Float[Tensor, "T B S"]:
        """All states from a drive times ``scale``, which it writes over."""

    @torch.no_grad()
    def run(
        self, driven: Float[Tensor, "T B G"], initial: Float[Tensor, "B S"]
    ) -> Float[Tensor, "T B S"]:
        return self.run_scaled(driven * self.scale(), initial)

    @torch.no_grad()
    def remember(
        self, inputs: Float[Tensor, "T B I"], initial: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "T B S"], tuple[Float[Tensor, "T ..."], ...]]:
        scale = self.scale()
        bias = None if self.bias is None else self.bias * scale
        driven = linear(inputs, self.weight_ih * scale.unsqueeze(1), bias)
        return self.run_scaled(driven, initial), (driven,)
