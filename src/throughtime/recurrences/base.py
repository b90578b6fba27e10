"""What every recurrence offers: a step, and the exact derivative of that step.

Axes (the legend of the whole library): T time, B batch, I input features, H hidden units, S state
size, A any leading rows (anchors, directions). One step is ``s_t = step(s_{t-1}, x_t)`` and
``J_t = ∂s_t/∂s_{t-1}``; index t of a ``Linearised`` is the step that *makes* state t.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import ClassVar, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.errors import InputError

Parts = dict[str, slice]
Squashing = Literal["tanh", "sigmoid", "relu"]

# Counterfactuals: one factor of every J_t replaced, the trajectory kept.
FORGET_OPEN = "forget gate at 1"
NO_SQUASHING, NO_GATE_PATH, ORTHOGONAL = (
    "no squashing",
    "no way through the gates",
    "W_hh orthogonal",
)


class Linearised(ABC):
    """A recurrence linearised along one trajectory of T steps: J_0 … J_{T-1}, never built."""

    steps: int
    dtype: torch.dtype
    variants: tuple[str, ...] = ()
    """The counterfactuals that ``variant`` knows."""
    weight: str = "W_hh"
    """What ``recurrent_weight_gradient`` is the gradient of."""

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

    def condensed(
        self, sources: Float[Tensor, "A B S"]
    ) -> tuple[Linearised, Float[Tensor, "A B S2"]]:
        """A recurrence on fewer numbers, and rows of it, whose sweeps have the norms of these.

        For a state that is a matrix, of which one loss step asks for a part of rank one.
        """
        return self, sources

    def norms_by_lag(
        self, sources: Float[Tensor, "A B S"], anchors: Sequence[int]
    ) -> Float[Tensor, "T A B"] | None:
        """What ``sweeps.lag_norms`` finds step by step, where there is a quicker way; else None."""
        return None

    def vjp_every(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B S"]:
        """``J_tᵀ rows_t`` for every step at once, other than ``adjoint``: no step waits."""
        back = torch.empty_like(rows, memory_format=torch.contiguous_format)
        for t in range(self.steps):
            self.vjp(t, rows[t], out=back[t])
        return back

    def stages(self, t: int, rows: Float[Tensor, "... B S"]) -> dict[str, Tensor]:
        """The vectors that an adjoint passes through on its way through step t, by what made them.

        In this order; the last of them is ``vjp(t, rows)``. Each is a joint vector (… B ·) of all
        that goes on, so that the logarithms of their norms telescope over the step.
        """
        return {"step": self.vjp(t, rows)}

    def paths(
        self, t: int, rows: Float[Tensor, "... B S"], back: Float[Tensor, "... B S"]
    ) -> dict[str, Float[Tensor, "... B S"]]:
        """``back = vjp(t, rows)`` as a sum: by the carousel, through the gates; {} without gates.

        The carousel is ``f ⊙ δc`` in an LSTM, ``z ⊙ δh`` in a GRU.
        """
        return {}

    def variant(self, name: str) -> Linearised:
        """The same trajectory, with one factor of every J_t replaced: one of ``variants``."""
        raise InputError(f"no variant {name!r} of this recurrence: it has {self.variants}")

    def to(self, dtype: torch.dtype) -> Linearised:
        """The same trajectory linearised in this precision; itself, where it knows one alone."""
        return self

    def take(self, sequences: Sequence[int]) -> Linearised | None:
        """The same for these sequences of the batch alone; None where it cannot be split."""
        return None

    def activations(self) -> dict[str, Float[Tensor, "T B H"]]:
        """The output of every squashing function at every step, by the name of its gate."""
        return {}

    @property
    def squashing(self) -> dict[str, Squashing]:
        """Which function made each of ``activations``."""
        return {}

    def recurrent_blocks(self, t: int) -> dict[str, Float[Tensor, "H P"]]:
        """W_hh of step t, by the gate it feeds; empty if it is not known."""
        return {}

    def preactivations(self, t: int) -> dict[str, Tensor]:
        """What enters each gate at step t, (B H) by the gate's name; empty without gates."""
        return {}

    def read(self, t: int) -> dict[str, Tensor]:
        """What step t read: ``{"input": (B I), "state": (B S)}``; empty if it was not recorded."""
        return {}

    def inputs(self) -> Sequence[Float[Tensor, "... I"]]:
        """All inputs that were recorded, a step or several at a time, in the order of the steps."""
        return [read["input"] for t in range(self.steps) if "input" in (read := self.read(t))]

    def weights(self, t: int) -> dict[str, Tensor]:
        """The weights that made step t, by name; empty if they are not known."""
        return {}

    def recurrent_weight_gradient(self, rows: Float[Tensor, "T B S"]) -> Tensor | None:
        """``Σ_t (∂s_t/∂W_hh)ᵀ rows_t``, or None for a recurrence that has no such matrix."""
        return None

    def gradients(
        self,
        rows: Float[Tensor, "T B S"],
        inputs: Float[Tensor, "T B I"],
        names: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """``(∂s_t/∂x_t)ᵀ rows_t`` as ``"inputs"`` (T B I), and Σ_t of it for every weight, by name.

        What autograd finds by a step of all T at once; empty where it has to find it. ``names``:
        those that are wanted, if not all are.
        """
        return {}


class Recurrence(ABC):
    """A recurrence with fixed weights: a step, and beside it its derivative."""

    kind: ClassVar[str]
    state_size: int
    parts: Parts
    """Where in the state each named part lies: ``{"h": …}``, and for LSTM ``{"h": …, "c": …}``."""
    squashing: dict[str, Squashing]
    """The function that makes each of ``activations``; empty if that is not known."""
    gates: ClassVar[tuple[str, ...]] = ()
    """The gates that the rows of W_hh feed, in torch's order."""
    variants: ClassVar[tuple[str, ...]] = ()

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

    def variant(
        self, name: str, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        """``linearise``, with one factor of every J_t replaced: one of ``variants``."""
        raise InputError(f"no variant {name!r} of a {self.kind}: it has {self.variants}")

    def to(self, dtype: torch.dtype) -> Recurrence:
        """The same recurrence in this precision; itself, where it knows one alone."""
        twin = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(twin, name, value.to(dtype))
        return twin

    def activations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Float[Tensor, "... B H"]]:
        """The output of every squashing function, by the name of its gate; empty if not known."""
        return {}

    def recurrent_blocks(self) -> dict[str, Float[Tensor, "H P"]]:
        """W_hh by the gate it feeds; empty if there is no such matrix."""
        weight = self.weights().get("weight_hh")
        if weight is None:
            return {}
        return dict(zip(self.gates, weight.chunk(len(self.gates)), strict=True))

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


AnyRecurrence = TypeVar("AnyRecurrence", bound=Recurrence)


def flat(rows: Tensor) -> Tensor:
    """Leading axes folded into one, so that a product over all rows is one matrix product."""
    return rows.reshape(-1, rows.shape[-1])


def with_recurrent_weight(cell: AnyRecurrence, weight: Float[Tensor, "G P"]) -> AnyRecurrence:
    """The same recurrence with another W_hh."""
    twin = copy.copy(cell)
    twin.weight_hh = weight  # type: ignore[attr-defined]  # not every recurrence has one
    return twin


def orthogonal_blocks(cell: Recurrence) -> Tensor:
    """W_hh with each block replaced by the nearest orthogonal matrix, its polar factor U Vᵀ."""
    blocks = []
    for block in cell.recurrent_blocks().values():
        exact = block if block.dtype.itemsize >= 4 else block.float()  # LAPACK has no half
        left, _, right = torch.linalg.svd(exact, full_matrices=False)
        blocks.append((left @ right).to(block.dtype))
    return torch.cat(blocks)
