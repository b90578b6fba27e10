"""What every recurrence offers: a step, and the exact derivative of that step.

Axes (the legend of the whole library): T time, B batch, I input features, H hidden units, S state
size, A any leading rows (anchors, directions). One step is ``s_t = step(s_{t-1}, x_t)`` and
``J_t = ∂s_t/∂s_{t-1}``; index t of a ``Linearised`` is the step that *makes* state t.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

Parts = dict[str, slice]


class Linearised(ABC):
    """A recurrence linearised along one trajectory of T steps: J_0 … J_{T-1}, never built."""

    steps: int

    @abstractmethod
    def vjp(
        self,
        t: int,
        rows: Float[Tensor, "... B S"],
        plus: Float[Tensor, "... B S"] | None = None,
        out: Float[Tensor, "... B S"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        """``plus + J_tᵀ rows``: one adjoint step back in time, for any number of leading rows.

        ``out``, if given, is contiguous, receives the result and is returned; it is none of the
        other arguments.
        """

    def adjoint(
        self, direct: Float[Tensor, "T B S"], blocked: frozenset[int] = frozenset()
    ) -> Float[Tensor, "T B S"]:
        """``δ_T = e_T``, ``δ_{t−1} = e_{t−1} + J_tᵀ δ_t``; J_t counts as 0 where blocked."""
        total = torch.empty_like(direct, memory_format=torch.contiguous_format)
        total[-1:] = direct[-1:]
        totals, directs = total.unbind(0), direct.unbind(0)
        for t in range(len(direct) - 1, 0, -1):
            if t in blocked:
                totals[t - 1].copy_(directs[t - 1])
            else:
                self.vjp(t, totals[t], plus=directs[t - 1], out=totals[t - 1])
        return total

    @abstractmethod
    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        """``J_t columns``: one tangent step forward; ``x``: a tangent of the input beside it."""

    @abstractmethod
    def input_vjp(self, t: int, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B I"]:
        """``(∂s_t/∂x_t)ᵀ rows``: what the adjoint at t sends into the input of that step."""

    def preactivations(self, t: int) -> dict[str, Tensor]:
        """What enters each gate at step t, (B H) by the gate's name; empty without gates."""
        return {}

    def read(self, t: int) -> dict[str, Tensor]:
        """What step t read: ``{"input": (B I), "state": (B S)}``; empty if it was not recorded."""
        return {}

    def weights(self, t: int) -> dict[str, Tensor]:
        """The weights that made step t, by name; empty if they are not known."""
        return {}

    def recurrent_weight_gradient(self, rows: Float[Tensor, "T B S"]) -> Tensor | None:
        """``Σ_t (∂s_t/∂W_hh)ᵀ rows_t``, or None for a recurrence that has no such matrix."""
        return None


class Recurrence(ABC):
    """A recurrence with fixed weights: a step, and beside it its derivative."""

    kind: ClassVar[str]
    state_size: int
    parts: Parts
    """Where in the state each named part lies: ``{"h": …}``, and for LSTM ``{"h": …, "c": …}``."""

    @abstractmethod
    def step(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> Float[Tensor, "... B S"]:
        """``s_t`` from ``s_{t-1}`` and ``x_t``."""

    @abstractmethod
    def linearise(
        self, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        """Linearise every step at once, at the states ``before`` it and the inputs of it."""

    def preactivations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Tensor]:
        """What enters each gate, (B H) by the gate's name; empty if there are no gates."""
        return {}

    def weights(self) -> dict[str, Tensor]:
        """The weights by torch's names, without the layer suffix; empty if they are not known."""
        return {}

    def replay(
        self,
        inputs: Float[Tensor, "T B I"],
        outputs: Float[Tensor, "T B P"],
        initial: Float[Tensor, "B S"],
    ) -> tuple[Float[Tensor, "T B S"], Linearised]:
        """All states, and the linearisation, from the outputs that a fused kernel recorded."""
        before = torch.cat([initial.unsqueeze(0), outputs[:-1]])
        return outputs, self.linearise(before, inputs)

    def vjp(
        self,
        state: Float[Tensor, "B S"],
        x: Float[Tensor, "B I"],
        rows: Float[Tensor, "... B S"],
    ) -> Float[Tensor, "... B S"]:
        """``Jᵀ rows`` of the one step that starts at ``state``."""
        return self.linearise(state.unsqueeze(0), x.unsqueeze(0)).vjp(0, rows)

    def jvp(
        self,
        state: Float[Tensor, "B S"],
        x: Float[Tensor, "B I"],
        columns: Float[Tensor, "... B S"],
    ) -> Float[Tensor, "... B S"]:
        """``J columns`` of the one step that starts at ``state``."""
        return self.linearise(state.unsqueeze(0), x.unsqueeze(0)).jvp(0, columns)

    def jacobian(
        self, state: Float[Tensor, "B S"], x: Float[Tensor, "B I"]
    ) -> Float[Tensor, "B S S2"]:
        """J itself, ``J[b, i, j] = ∂s'_i/∂s_j``: for small S, for reading and for tests."""
        batch, size = state.shape
        basis = torch.eye(size, dtype=state.dtype, device=state.device)
        rows = self.vjp(state, x, basis.unsqueeze(1).expand(size, batch, size).contiguous())
        return rows.permute(1, 0, 2)

    def unroll(
        self, inputs: Float[Tensor, "T B I"], initial: Float[Tensor, "B S"]
    ) -> Float[Tensor, "T B S"]:
        """The states s_1 … s_T, one step after another."""
        states, state = [], initial
        for x in inputs:
            state = self.step(state, x)
            states.append(state)
        return torch.stack(states) if states else initial.new_empty(0, *initial.shape)


def flat(rows: Tensor) -> Tensor:
    """Leading axes folded into one, so that a product over all rows is one matrix product."""
    return rows.reshape(-1, rows.shape[-1])
