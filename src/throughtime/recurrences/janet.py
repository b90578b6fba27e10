"""JANET, an LSTM that is nothing but its forget gate (van der Westhuizen & Lasenby 2018, eq. 5).

``s = W_f x + U_f h + b_f``, ``f = σ(s)``, ``i = 1 − σ(s − β)``, ``g = tanh(W_g x + U_g h + b_g)``,
``h' = f ⊙ h + i ⊙ g``. So ``J = diag(f) + diag(C_f) U_f + diag(C_g) U_g`` with

    C_f = f (1 − f) h − i (1 − i) g,   C_g = i (1 − g²).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences.base import (
    FORGET_OPEN,
    NO_GATE_PATH,
    NO_SQUASHING,
    ORTHOGONAL,
    Linearised,
    orthogonal_blocks,
    with_recurrent_weight,
)
from throughtime.recurrences.coefficients import ByCoefficients
from throughtime.recurrences.driven import Doubling
from throughtime.recurrences.products import linear, quick, repeated
from throughtime.recurrences.squashing import from_logistic_

_sigmoid_slope = torch.ops.aten.sigmoid_backward  # g y (1 − y) in one pass
_tanh_slope = torch.ops.aten.tanh_backward  # g (1 − y²) in one pass


class JANET(Doubling):
    """The recurrence of ``throughtime.cells.JANET``; gate order f g; the state is h, S = H.

    ``beta`` is how much more than it forgets a unit writes: β of the paper.
    """

    kind: ClassVar[str] = "JANET"
    names: ClassVar[tuple[str, ...]] = ("weight_ih", "weight_hh", "bias")
    gates: ClassVar[tuple[str, ...]] = ("f", "g")
    variants: ClassVar[tuple[str, ...]] = (FORGET_OPEN, NO_GATE_PATH, NO_SQUASHING, ORTHOGONAL)
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None

    def __init__(self, *weights: Tensor | None, beta: float = 1.0) -> None:
        super().__init__(*weights, beta=beta)
        self.beta = beta
        self.state_size = self.weight_hh.shape[1]
        self.parts = {"h": slice(0, self.state_size)}
        self.squashing = {"f": "sigmoid", "i": "sigmoid", "g": "tanh"}

    def drive(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... G"]:
        return linear(x, self.weight_ih, self.bias)

    def advance(
        self, state: Float[Tensor, "... S"], driven: Float[Tensor, "... G"]
    ) -> Float[Tensor, "... S"]:
        forget, write, candidate = self._gates(state, driven)
        return torch.addcmul(write * candidate, forget, state)

    def scale(self) -> Float[Tensor, " G"]:
        """``tanh a = 2 σ(2a) − 1``: all gates are one pass of σ where a enters doubled."""
        return self.weight_hh.new_tensor([1, 2]).repeat_interleave(self.state_size)

    def run_scaled(self, driven: Tensor, initial: Tensor) -> Tensor:
        """All states from what is driven, a doubled; in its place all that enters: s and 2a."""
        batch, size = initial.shape
        states, state = driven.new_empty(len(driven), batch, size), initial
        made, beta = driven.new_empty(batch, 3, size), driven.new_tensor(self.beta)
        entered, (forget, candidate, write) = made[:, :2].flatten(1), made.unbind(1)
        add_recurrent = repeated(self.weight_hh * self.scale().unsqueeze(1), batch)
        with quick():
            for drive, after in zip(driven.unbind(0), states.unbind(0), strict=True):
                drive.copy_(add_recurrent(state, drive, entered))
                torch.sub(beta, forget, out=write)
                made.sigmoid_()
                from_logistic_(candidate)
                state = torch.mul(forget, state, out=after).addcmul_(write, candidate)
        return states

    @torch.no_grad()
    def recall(
        self,
        inputs: Float[Tensor, "T B I"],
        states: Float[Tensor, "T B S"],
        initial: Float[Tensor, "B S"],
        *remembered: Float[Tensor, "T ..."],
    ) -> Linearised:
        before = torch.cat([initial.unsqueeze(0), states[:-1]])
        entered, twice = remembered[0].chunk(2, -1)
        forget, write = torch.sigmoid(entered), torch.sub(self.beta, entered).sigmoid_()
        candidate = from_logistic_(torch.sigmoid(twice))
        return LinearisedJANET(self, before, forget, write, candidate)

    def activations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Float[Tensor, "... B H"]]:
        return dict(zip("fig", self._gates(state, self.drive(x)), strict=True))

    def preactivations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Tensor]:
        total = self.drive(x) + linear(state, self.weight_hh)
        return dict(zip(self.gates, total.chunk(2, -1), strict=True))

    @torch.no_grad()
    def linearise(
        self, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        return LinearisedJANET(self, before, *self._gates(before, self.drive(inputs)))

    @torch.no_grad()
    def variant(
        self, name: str, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        gates = self._gates(before, self.drive(inputs))
        if name == ORTHOGONAL:
            twin = with_recurrent_weight(self, orthogonal_blocks(self))
            return LinearisedJANET(twin, before, *gates)
        if name == NO_GATE_PATH:
            twin = with_recurrent_weight(self, torch.zeros_like(self.weight_hh))
            return LinearisedJANET(twin, before, *gates)
        if name == FORGET_OPEN:
            return LinearisedJANET(self, before, *gates, kept=torch.ones_like(before))
        if name == NO_SQUASHING:
            return LinearisedJANET(self, before, *gates, slope=torch.ones_like(before))
        return super().variant(name, before, inputs)

    def _gates(self, state: Tensor, driven: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f, i and g; one matrix product for all steps where the arguments hold them all."""
        forget, candidate = (driven + linear(state, self.weight_hh)).chunk(2, -1)
        return (
            torch.sigmoid(forget),
            torch.sigmoid(self.beta - forget),
            torch.tanh(candidate.contiguous()),
        )


class LinearisedJANET(ByCoefficients):
    """``J_t = diag(f_t) + Σ_k diag(C_k,t) U_k`` over f and g."""

    def __init__(
        self,
        cell: JANET,
        before: Tensor,
        forget: Tensor,
        write: Tensor,
        candidate: Tensor,
        slope: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> None:
        """``slope`` of the candidate's tanh, ``kept`` of the state: other ones than their own."""
        self._weight_hh, self.reads = cell.weight_hh.detach(), before
        steps, batch, size = before.shape
        self._factors = before.new_empty(steps, 3, batch, size)  # of f, of g, of the state
        of_forget, of_candidate, of_state = self._factors.unbind(1)
        of_state.copy_(forget if kept is None else kept)
        torch.sub(_sigmoid_slope(before, forget), _sigmoid_slope(candidate, write), out=of_forget)
        if slope is None:
            _tanh_slope(write, candidate, grad_input=of_candidate)
        else:
            torch.mul(write, slope, out=of_candidate)
        super().__init__(cell.weight_ih, [of_state, self._factors[:, :2].transpose(1, 2)])

    def adjoint_(
        self, total: Float[Tensor, "T B S"], blocked: frozenset[int] = frozenset()
    ) -> None:
        _, batch, size = total.shape
        add_back, made = repeated(self._weight_hh.T, batch), total.new_empty(batch, 3, size)
        by_factor, entering, kept = made.transpose(0, 1), made[:, :2].flatten(1), made[:, 2]
        with quick():
            totals, factors = total.unbind(0), self._factors.unbind(0)
            for t in range(self.steps - 1, 0, -1):
                if t not in blocked:
                    torch.mul(totals[t], factors[t], out=by_factor)
                    add_back(entering, totals[t - 1].add_(kept), totals[t - 1])

    def back(self, rows: Float[Tensor, "... S"], *coefficients: Tensor) -> Float[Tensor, "... S"]:
        entering = self.entering(rows, *coefficients)
        return linear(entering, self._weight_hh.T).addcmul_(rows, coefficients[0])

    def entering(
        self, rows: Float[Tensor, "... S"], *coefficients: Tensor
    ) -> Float[Tensor, "... G"]:
        return torch.cat([rows * one for one in coefficients[1].unbind(-2)], -1)

    def stages(self, t: int, rows: Float[Tensor, "... B S"]) -> dict[str, Tensor]:
        kept, entering = rows * self.by_step[t][0], self.entering(rows, *self.by_step[t])
        back = linear(entering, self._weight_hh.T) + kept
        return {"gates": torch.cat([entering, kept], -1), "recurrent matrix": back}

    def paths(
        self, t: int, rows: Float[Tensor, "... B S"], back: Float[Tensor, "... B S"]
    ) -> dict[str, Float[Tensor, "... B S"]]:
        carousel = rows * self.by_step[t][0]
        return {"carousel": carousel, "gates": back - carousel}

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        forget, coefficients = self.by_step[t]
        total = linear(columns, self._weight_hh)
        total = total if x is None else total + linear(x, self.weight_ih)
        gates = total.unflatten(-1, (2, -1)) * coefficients
        return torch.addcmul(gates.sum(-2), columns, forget)
