"""AntisymmetricRNN (Chang, Chen, Haber & Chi 2019): Euler steps of a differential equation.

``h' = h + ε tanh(M h + W_ih x + b)`` with ``M = W_hh − W_hhᵀ − γ I`` (section 3), whose eigenvalues
have the real part −γ. The gated form has a gate that reads the same M h:
``h' = h + ε z ⊙ tanh(M h + W_h x + b_h)``, ``z = σ(M h + W_z x + b_z)``. Of both,
``J = I + diag(C) M``, where ``C = ε (1 − n²)``, or ``ε (z (1 − n²) + n z (1 − z))``.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences.base import NO_SQUASHING, Linearised
from throughtime.recurrences.coefficients import ByCoefficients
from throughtime.recurrences.driven import Doubling
from throughtime.recurrences.products import linear, quick, repeated
from throughtime.recurrences.squashing import from_logistic_, tanh


class Antisymmetric(Doubling):
    """The recurrence of ``throughtime.cells.AntisymmetricRNN``; the state is h, S = H.

    It is gated if W_ih has 2H rows, those of n first, then those of z.

    Settings: ``epsilon``, the step ε; ``gamma``, the diffusion γ.
    """

    kind: ClassVar[str] = "AntisymmetricRNN"
    names: ClassVar[tuple[str, ...]] = ("weight_ih", "weight_hh", "bias")
    variants: ClassVar[tuple[str, ...]] = (NO_SQUASHING,)
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None

    def __init__(self, *weights: Tensor | None, **settings: float) -> None:
        super().__init__(*weights, **settings)
        self.epsilon, self.gamma = settings["epsilon"], settings["gamma"]
        self.state_size = len(self.weight_hh)
        self.gated = len(self.weight_ih) == 2 * self.state_size
        self.parts = {"h": slice(0, self.state_size)}
        self.squashing = {"n": "tanh", "z": "sigmoid"} if self.gated else {"n": "tanh"}

    def matrix(self) -> Float[Tensor, "H H2"]:
        """M, what the recurrence multiplies by: the antisymmetric part of W_hh twice, less γ I."""
        matrix = self.weight_hh - self.weight_hh.T
        matrix.diagonal().sub_(self.gamma)
        return matrix

    def drive(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... G"]:
        return linear(x, self.weight_ih, self.bias)

    def advance(
        self, state: Float[Tensor, "... S"], driven: Float[Tensor, "... G"]
    ) -> Float[Tensor, "... S"]:
        made = self._activated(state, driven)
        return state + self.epsilon * (made["n"] * made["z"] if self.gated else made["n"])

    def scale(self) -> Float[Tensor, " G"]:
        """``tanh a = 2 σ(2a) − 1``: quicker than a tanh where a enters doubled."""
        scale = self.weight_hh.new_ones(len(self.weight_ih))
        scale[: self.state_size] = 2
        return scale

    def run_scaled(self, driven: Tensor, initial: Tensor) -> Tensor:
        """All states from what drives them, n doubled; in its place n, or n and z."""
        if self.gated:
            return self._run_gated(driven, initial)
        states, add_recurrent = torch.empty_like(driven), repeated(2 * self.matrix(), len(initial))
        state = initial
        with quick():
            for made, after in zip(driven.unbind(0), states.unbind(0), strict=True):
                from_logistic_(add_recurrent(state, made, made).sigmoid_())
                state = torch.add(state, made, alpha=self.epsilon, out=after)
        return states

    def _run_gated(self, driven: Tensor, initial: Tensor) -> Tensor:
        size = self.state_size
        states, recurrent = driven.new_empty(*driven.shape[:2], size), self.matrix().T
        state, pushed = initial, torch.empty_like(initial)
        with quick():
            parts = (part.unbind(0) for part in (driven, *driven.split(size, -1), states))
            for made, candidate, gate, after in zip(*parts, strict=True):
                torch.mm(state, recurrent, out=pushed)
                candidate.add_(pushed, alpha=2)
                gate.add_(pushed)
                made.sigmoid_()
                from_logistic_(candidate)
                state = torch.addcmul(state, candidate, gate, value=self.epsilon, out=after)
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
        made = dict(zip(self.squashing, remembered[0].split(self.state_size, -1), strict=True))
        return self._around(before, made)

    def preactivations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Tensor]:
        return self._entering(state, self.drive(x))

    @torch.no_grad()
    def activations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Float[Tensor, "... B H"]]:
        return self._activated(state, self.drive(x))

    def recurrent_blocks(self) -> dict[str, Float[Tensor, "H P"]]:
        """M, and ``I + ε M``: J itself where nothing is squashed, whose powers are the memory."""
        matrix = self.matrix().detach()
        return {"M": matrix, "I + εM": torch.eye(len(matrix)).to(matrix) + self.epsilon * matrix}

    def _entering(self, state: Tensor, driven: Tensor) -> dict[str, Tensor]:
        pushed = linear(state, self.matrix())
        parts = driven.unflatten(-1, (-1, self.state_size)) + pushed.unsqueeze(-2)
        return dict(zip(self.squashing, parts.unbind(-2), strict=True))

    def _activated(self, state: Tensor, driven: Tensor) -> dict[str, Tensor]:
        entering = self._entering(state, driven)
        made = {"n": tanh(entering["n"])}
        return made | ({"z": torch.sigmoid(entering["z"])} if self.gated else {})

    @torch.no_grad()
    def linearise(
        self, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        return self._around(before, self._activated(before, self.drive(inputs)))

    def _around(self, before: Tensor, made: dict[str, Tensor]) -> LinearisedAntisymmetric:
        slope = torch.addcmul(before.new_ones(()), made["n"], made["n"], value=-1)
        return LinearisedAntisymmetric(self, before, slope, made)

    @torch.no_grad()
    def variant(
        self, name: str, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        if name != NO_SQUASHING:
            return super().variant(name, before, inputs)
        made = self._activated(before, self.drive(inputs))
        return LinearisedAntisymmetric(self, before, torch.ones_like(before), made)


class LinearisedAntisymmetric(ByCoefficients):
    """``J_t = I + diag(C_t) M``; the input enters by the terms of C one by one."""

    def __init__(
        self, cell: Antisymmetric, before: Tensor, slope: Tensor, made: dict[str, Tensor]
    ) -> None:
        """``slope``: of the candidate's tanh."""
        self._matrix, self.reads = cell.matrix().detach(), before
        terms = [cell.epsilon * slope]
        if cell.gated:
            candidate, gate = made["n"], made["z"]
            terms = [terms[0] * gate, cell.epsilon * candidate * gate * (1 - gate)]
        total = terms[0] + terms[1] if cell.gated else terms[0]
        super().__init__(cell.weight_ih, [total, *terms])

    def adjoint_(
        self, total: Float[Tensor, "T B S"], blocked: frozenset[int] = frozenset()
    ) -> None:
        entering = total.new_empty(total.shape[1:])
        add_back = repeated(self._matrix.T, len(entering))
        with quick():
            totals, slopes = total.unbind(0), self.coefficients[0].unbind(0)
            for t in range(self.steps - 1, 0, -1):
                if t not in blocked:
                    torch.mul(totals[t], slopes[t], out=entering)
                    add_back(entering, totals[t - 1].add_(totals[t]), totals[t - 1])

    def back(self, rows: Float[Tensor, "... S"], *coefficients: Tensor) -> Float[Tensor, "... S"]:
        return linear(rows * coefficients[0], self._matrix.T).add_(rows)

    def entering(
        self, rows: Float[Tensor, "... S"], *coefficients: Tensor
    ) -> Float[Tensor, "... G"]:
        return torch.cat([rows * term for term in coefficients[1:]], -1)

    def stages(self, t: int, rows: Float[Tensor, "... B S"]) -> dict[str, Tensor]:
        entering = rows * self.by_step[t][0]
        back = linear(entering, self._matrix.T).add_(rows)
        return {"nonlinearity": torch.cat([entering, rows], -1), "recurrent matrix": back}

    def paths(
        self, t: int, rows: Float[Tensor, "... B S"], back: Float[Tensor, "... B S"]
    ) -> dict[str, Float[Tensor, "... B S"]]:
        """The carousel is the identity in J."""
        return {"carousel": rows, "gates": back - rows}

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        total, *terms = self.by_step[t]
        pushed = columns + linear(columns, self._matrix) * total
        if x is not None:
            driven = linear(x, self.weight_ih).chunk(len(terms), -1)
            pushed = pushed + sum(part * term for part, term in zip(driven, terms, strict=True))
        return pushed

    def recurrent(self, gradient: Float[Tensor, "G P"]) -> Tensor:
        of_matrix: Tensor = gradient.unflatten(0, (-1, gradient.shape[1])).sum(0)
        return of_matrix - of_matrix.T
