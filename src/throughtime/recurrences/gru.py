"""GRU as torch computes it (Cho et al. 2014, with the reset gate after the matrix product).

``r, z = σ(·)``, ``q = W_hn h + b_hn``, ``n = tanh(W_in x + b_in + r ⊙ q)``,
``h' = (1 − z) ⊙ n + z ⊙ h``. So ``J = diag(z) + Σ_k diag(C_k) W_k`` over the gates r, z, n, with

    C_r = (1 − z)(1 − n²) q r (1 − r),   C_z = (h − n) z (1 − z),   C_n = (1 − z)(1 − n²) r.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences.base import (
    NO_GATE_PATH,
    NO_SQUASHING,
    ORTHOGONAL,
    Linearised,
    Recurrence,
    flat,
    orthogonal_blocks,
    with_recurrent_weight,
)
from throughtime.recurrences.products import linear

UPDATE_OPEN = "update gate at 1"


class GRU(Recurrence):
    """The recurrence of ``nn.GRU`` and ``nn.GRUCell``; gate order r z n; the state is h, S = H."""

    kind: ClassVar[str] = "GRU"
    gates: ClassVar[tuple[str, ...]] = ("r", "z", "n")
    variants: ClassVar[tuple[str, ...]] = (UPDATE_OPEN, NO_GATE_PATH, NO_SQUASHING, ORTHOGONAL)

    def __init__(
        self,
        weight_ih: Float[Tensor, "G I"],
        weight_hh: Float[Tensor, "G H"],
        bias_ih: Float[Tensor, " G"] | None = None,
        bias_hh: Float[Tensor, " G"] | None = None,
    ) -> None:
        self.weight_ih, self.weight_hh = weight_ih.detach(), weight_hh.detach()
        self.bias_ih = None if bias_ih is None else bias_ih.detach()
        self.bias_hh = None if bias_hh is None else bias_hh.detach()
        self.state_size = weight_hh.shape[1]
        self.parts = {"h": slice(0, self.state_size)}
        self.squashing = {"r": "sigmoid", "z": "sigmoid", "n": "tanh"}

    def step(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> Float[Tensor, "... B S"]:
        _, update, candidate, _ = self._gates(state, x)
        return torch.lerp(candidate, state, update)

    @torch.no_grad()
    def activations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Float[Tensor, "... B H"]]:
        return dict(zip(self.gates, self._gates(state, x), strict=False))

    def preactivations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Tensor]:
        driven = linear(x, self.weight_ih, self.bias_ih).chunk(3, -1)
        recurrent = linear(state, self.weight_hh, self.bias_hh).chunk(3, -1)
        reset, update = driven[0] + recurrent[0], driven[1] + recurrent[1]
        return {"r": reset, "z": update, "n": driven[2] + torch.sigmoid(reset) * recurrent[2]}

    def weights(self) -> dict[str, Tensor]:
        named = {
            "weight_ih": self.weight_ih,
            "weight_hh": self.weight_hh,
            "bias_ih": self.bias_ih,
            "bias_hh": self.bias_hh,
        }
        return {name: weight for name, weight in named.items() if weight is not None}

    @torch.no_grad()
    def linearise(
        self, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        return LinearisedGRU(self, before, *self._gates(before, inputs))

    @torch.no_grad()
    def variant(
        self, name: str, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        reset, update, candidate, query = self._gates(before, inputs)
        cell = self
        if name == ORTHOGONAL:
            cell = with_recurrent_weight(self, orthogonal_blocks(self))
        elif name == NO_GATE_PATH:
            cell = with_recurrent_weight(self, torch.zeros_like(self.weight_hh))
        elif name not in self.variants:
            return super().variant(name, before, inputs)
        squash = torch.zeros_like(candidate) if name == NO_SQUASHING else candidate
        linear = LinearisedGRU(cell, before, reset, update, candidate, query, slope=1 - squash**2)
        if name == UPDATE_OPEN:
            linear.keep(torch.ones_like(update))
        return linear

    def _gates(self, state: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """r, z, n and q; one matrix product for all steps where the arguments hold them all."""
        size = self.state_size
        driven = linear(x, self.weight_ih, self.bias_ih)
        recurrent = linear(state, self.weight_hh, self.bias_hh)
        both = torch.sigmoid(driven[..., : 2 * size] + recurrent[..., : 2 * size])
        reset, update = both[..., :size], both[..., size:]
        query = recurrent[..., 2 * size :]
        return (
            reset,
            update,
            torch.tanh(torch.addcmul(driven[..., 2 * size :], reset, query)),
            query,
        )


class LinearisedGRU(Linearised):
    """``J_t = diag(z_t) + Σ_k diag(C_k,t) W_k``."""

    def __init__(
        self,
        cell: GRU,
        before: Tensor,
        reset: Tensor,
        update: Tensor,
        candidate: Tensor,
        query: Tensor,
        slope: Tensor | None = None,
    ) -> None:
        """``slope``: of the candidate's tanh, where it is to be another than its own."""
        self.steps, self.dtype = len(before), before.dtype
        self._before, self._update = before, update
        self._weight_ih, self._weight_hh = cell.weight_ih, cell.weight_hh
        self._recurrent = cell.weight_hh.T.contiguous()
        if slope is None:
            slope = torch.addcmul(candidate.new_ones(()), candidate, candidate, value=-1)
        self._candidate = (1 - update) * slope
        gates = torch.empty(
            *before.shape[:2], 3, cell.state_size, dtype=before.dtype, device=before.device
        )
        torch.mul(self._candidate, reset, out=gates[:, :, 2])
        torch.mul(gates[:, :, 2] * (1 - reset), query, out=gates[:, :, 0])
        torch.mul((before - candidate) * update, 1 - update, out=gates[:, :, 1])
        self._gates = gates
        self._gate_steps, self._update_steps = gates.unbind(0), update.unbind(0)

    def keep(self, update: Float[Tensor, "T B H"]) -> None:
        """Another coefficient of the carousel ``z ⊙ h`` than the update gate."""
        self._update, self._update_steps = update, update.unbind(0)

    def vjp(
        self,
        t: int,
        rows: Float[Tensor, "... B S"],
        plus: Float[Tensor, "... B S"] | None = None,
        out: Float[Tensor, "... B S"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        preactivation = (rows.unsqueeze(-2) * self._gate_steps[t]).flatten(-2)
        if out is None and plus is None:
            back = linear(preactivation, self._recurrent)
            return back.addcmul_(rows, self._update_steps[t])
        if out is None:
            out = torch.empty_like(rows, memory_format=torch.contiguous_format)
        if plus is None:
            torch.mul(rows, self._update_steps[t], out=out)
        else:
            torch.addcmul(plus, rows, self._update_steps[t], out=out)
        out.view(-1, out.shape[-1]).addmm_(flat(preactivation), self._weight_hh)
        return out

    def vjp_every(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B S"]:
        preactivation = (rows.unsqueeze(-2) * self._gates).flatten(-2)
        return torch.addcmul(linear(preactivation, self._recurrent), rows, self._update)

    def stages(self, t: int, rows: Float[Tensor, "... B S"]) -> dict[str, Tensor]:
        kept = rows * self._update_steps[t]
        gates = rows.unsqueeze(-2) * self._gate_steps[t]
        entering = torch.cat([gates[..., 1, :], rows * self._candidate[t], kept], -1)
        reset = torch.cat([gates.flatten(-2), kept], -1)
        back = torch.add(linear(gates.flatten(-2), self._recurrent), kept)
        return {"gates": entering, "reset": reset, "recurrent matrix": back}

    def paths(
        self, t: int, rows: Float[Tensor, "... B S"], back: Float[Tensor, "... B S"]
    ) -> dict[str, Float[Tensor, "... B S"]]:
        carousel = rows * self._update_steps[t]
        return {"carousel": carousel, "gates": back - carousel}

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        gates = linear(columns, self._weight_hh).unflatten(-1, (3, -1)) * self._gate_steps[t]
        if x is not None:
            driven = linear(x, self._weight_ih).unflatten(-1, (3, -1))
            gates = gates + driven * self._input_gates(t)
        pushed: Tensor = columns * self._update_steps[t] + gates.sum(-2)
        return pushed

    def _input_gates(self, t: int) -> Tensor:
        """The coefficients C of the input's way in: it enters n beside r ⊙ q, not through it."""
        return torch.cat([self._gate_steps[t][:, :2], self._candidate[t].unsqueeze(1)], 1)

    def input_vjp(self, t: int, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B I"]:
        return (rows.unsqueeze(-2) * self._input_gates(t)).flatten(-2) @ self._weight_ih

    def recurrent_weight_gradient(self, rows: Float[Tensor, "T B S"]) -> Tensor | None:
        gates = (rows.unsqueeze(-2) * self._gates).view(-1, len(self._weight_hh))
        return gates.T @ flat(self._before)
