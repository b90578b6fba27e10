"""Elman recurrence: ``h' = φ(W_ih x + b_ih + W_hh h + b_hh)``, φ = tanh or ReLU (Elman 1990).

``J = diag(φ'(a)) W_hh``. The derivative needs no pre-activation: tanh' = 1 − h'², ReLU' = [h' > 0].
Pascanu, Mikolov & Bengio 2013 print the factor transposed; the order here is autograd's.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences.base import (
    NO_SQUASHING,
    ORTHOGONAL,
    Linearised,
    Recurrence,
    Squashing,
    flat,
    orthogonal_blocks,
    with_recurrent_weight,
)
from throughtime.recurrences.products import linear


class Elman(Recurrence):
    """The recurrence of ``nn.RNN`` and ``nn.RNNCell``; the state is h, S = H."""

    kind: ClassVar[str] = "RNN"
    gates: ClassVar[tuple[str, ...]] = ("a",)
    variants: ClassVar[tuple[str, ...]] = (NO_SQUASHING, ORTHOGONAL)

    def __init__(
        self,
        weight_ih: Float[Tensor, "H I"],
        weight_hh: Float[Tensor, "H H2"],
        bias: Float[Tensor, " H"] | None = None,
        nonlinearity: str = "tanh",
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be 'tanh' or 'relu', not {nonlinearity!r}")
        self.weight_ih, self.weight_hh = weight_ih.detach(), weight_hh.detach()
        self.bias = None if bias is None else bias.detach()
        self.nonlinearity = nonlinearity
        self.state_size = weight_hh.shape[1]
        self.parts = {"h": slice(0, self.state_size)}
        squashing: Squashing = "tanh" if nonlinearity == "tanh" else "relu"
        self.squashing = {"h": squashing}

    def step(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> Float[Tensor, "... B S"]:
        total = self.preactivations(state, x)["a"]
        return torch.tanh(total) if self.nonlinearity == "tanh" else torch.relu(total)

    def preactivations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Tensor]:
        driven = torch.nn.functional.linear(x, self.weight_ih, self.bias)
        return {"a": driven + state @ self.weight_hh.T}

    def activations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Float[Tensor, "... B H"]]:
        return {"h": self.step(state, x)}

    def weights(self) -> dict[str, Tensor]:
        named = {"weight_ih": self.weight_ih, "weight_hh": self.weight_hh, "bias": self.bias}
        return {name: weight for name, weight in named.items() if weight is not None}

    @torch.no_grad()
    def linearise(
        self, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        return self._around(self.step(before, inputs), before)

    @torch.no_grad()
    def replay(
        self,
        inputs: Float[Tensor, "T B I"],
        outputs: Float[Tensor, "T B P"],
        initial: Float[Tensor, "B S"],
    ) -> tuple[Float[Tensor, "T B S"], Linearised]:
        before = torch.cat([initial.unsqueeze(0), outputs[:-1]])
        return outputs, self._around(outputs, before)

    @torch.no_grad()
    def variant(
        self, name: str, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        if name == NO_SQUASHING:
            return LinearisedElman(self, torch.ones_like(before), before)
        if name == ORTHOGONAL:
            twin = with_recurrent_weight(self, orthogonal_blocks(self))
            return twin._around(self.step(before, inputs), before)
        return super().variant(name, before, inputs)

    def _around(self, after: Tensor, before: Tensor) -> Linearised:
        if self.nonlinearity == "tanh":
            return LinearisedElman(
                self, torch.addcmul(after.new_ones(()), after, after, value=-1), before
            )
        return LinearisedElman(self, (after > 0).to(after.dtype), before)


class LinearisedElman(Linearised):
    """``J_t = diag(slope_t) W_hh``."""

    def __init__(self, cell: Elman, slope: Float[Tensor, "T B H"], before: Float[Tensor, "T B H"]):
        self.steps, self.dtype = len(slope), slope.dtype
        self._slope, self._slopes, self._before = slope, slope.unbind(0), before
        self._weight_ih, self._weight_hh = cell.weight_ih, cell.weight_hh
        self._recurrent = cell.weight_hh.T.contiguous()

    def vjp(
        self,
        t: int,
        rows: Float[Tensor, "... B S"],
        plus: Float[Tensor, "... B S"] | None = None,
        out: Float[Tensor, "... B S"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        preactivation = flat(rows * self._slopes[t])
        if out is None and plus is None:
            return linear(preactivation, self._recurrent).view(rows.shape)
        if out is None:
            out = torch.empty_like(rows, memory_format=torch.contiguous_format)
        if plus is None:
            torch.mm(preactivation, self._weight_hh, out=out.view(-1, out.shape[-1]))
        else:
            torch.addmm(flat(plus), preactivation, self._weight_hh, out=out.view(-1, out.shape[-1]))
        return out

    def vjp_every(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B S"]:
        return linear(rows * self._slope, self._recurrent)

    def stages(self, t: int, rows: Float[Tensor, "... B S"]) -> dict[str, Tensor]:
        preactivation = rows * self._slopes[t]
        return {
            "nonlinearity": preactivation,
            "recurrent matrix": linear(preactivation, self._recurrent),
        }

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        total = linear(columns, self._weight_hh)
        if x is not None:
            total = total + linear(x, self._weight_ih)
        return total * self._slopes[t]

    def input_vjp(self, t: int, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B I"]:
        return (rows * self._slopes[t]) @ self._weight_ih

    def recurrent_weight_gradient(self, rows: Float[Tensor, "T B S"]) -> Tensor | None:
        return flat(rows * self._slope).T @ flat(self._before)
