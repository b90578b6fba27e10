"""IndRNN: ``h' = ReLU(W x + b + u ⊙ h)``, each unit its own chain (Li et al. 2018, eq. 2).

``J = diag([h' > 0] u)``: the gain of a unit over k steps is |u|ᵏ, so that |u| bounds it.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences.base import NO_SQUASHING, Linearised, Squashing
from throughtime.recurrences.coefficients import ByCoefficients, summed
from throughtime.recurrences.driven import Driven
from throughtime.recurrences.products import linear, quick


class IndRNN(Driven):
    """The recurrence of ``throughtime.cells.IndRNN``; the state is h, S = H; weight_hh is u (H)."""

    kind: ClassVar[str] = "IndRNN"
    names: ClassVar[tuple[str, ...]] = ("weight_ih", "weight_hh", "bias")
    gates: ClassVar[tuple[str, ...]] = ("a",)
    variants: ClassVar[tuple[str, ...]] = (NO_SQUASHING,)
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None

    def __init__(self, *weights: Tensor | None, **settings: float) -> None:
        super().__init__(*weights, **settings)
        self.state_size = len(self.weight_hh)
        self.parts = {"h": slice(0, self.state_size)}
        squashing: Squashing = "relu"
        self.squashing = {"h": squashing}

    def drive(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... G"]:
        return linear(x, self.weight_ih, self.bias)

    def advance(
        self, state: Float[Tensor, "... S"], driven: Float[Tensor, "... G"]
    ) -> Float[Tensor, "... S"]:
        return torch.relu(torch.addcmul(driven, state, self.weight_hh))

    @torch.no_grad()
    def run(
        self, driven: Float[Tensor, "T B G"], initial: Float[Tensor, "B S"]
    ) -> Float[Tensor, "T B S"]:
        states = torch.empty_like(driven)
        state = initial
        with quick():
            for drive, after in zip(driven.unbind(0), states.unbind(0), strict=True):
                state = torch.addcmul(drive, state, self.weight_hh, out=after).relu_()
        return states

    def activations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Float[Tensor, "... B H"]]:
        return {"h": self.step(state, x)}

    def preactivations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Tensor]:
        return {"a": torch.addcmul(self.drive(x), state, self.weight_hh)}

    def recurrent_blocks(self) -> dict[str, Float[Tensor, "H P"]]:
        return {"a": torch.diag(self.weight_hh.detach())}

    @torch.no_grad()
    def linearise(
        self, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        return LinearisedIndRNN(self, (self.step(before, inputs) > 0).to(before.dtype), before)

    @torch.no_grad()
    def replay(
        self,
        inputs: Float[Tensor, "T B I"],
        outputs: Float[Tensor, "T B P"],
        initial: Float[Tensor, "B S"],
    ) -> tuple[Float[Tensor, "T B S"], Linearised]:
        before = torch.cat([initial.unsqueeze(0), outputs[:-1]])
        return outputs, LinearisedIndRNN(self, (outputs > 0).to(before.dtype), before)

    @torch.no_grad()
    def variant(
        self, name: str, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        if name == NO_SQUASHING:
            return LinearisedIndRNN(self, torch.ones_like(before), before)
        return super().variant(name, before, inputs)


class LinearisedIndRNN(ByCoefficients):
    """``J_t = diag(slope_t ⊙ u)``."""

    def __init__(self, cell: IndRNN, slope: Float[Tensor, "T B H"], before: Float[Tensor, "T B H"]):
        self._weight_hh, self._before = cell.weight_hh.detach(), before
        super().__init__(cell.weight_ih, [slope, slope * self._weight_hh])

    def adjoint_(
        self, total: Float[Tensor, "T B S"], blocked: frozenset[int] = frozenset()
    ) -> None:
        with quick():
            totals, gains = total.unbind(0), self.coefficients[1].unbind(0)
            for t in range(self.steps - 1, 0, -1):
                if t not in blocked:
                    totals[t - 1].addcmul_(totals[t], gains[t])

    def back(self, rows: Float[Tensor, "... S"], *coefficients: Tensor) -> Float[Tensor, "... S"]:
        return rows * coefficients[1]

    def entering(
        self, rows: Float[Tensor, "... S"], *coefficients: Tensor
    ) -> Float[Tensor, "... G"]:
        return rows * coefficients[0]

    def stages(self, t: int, rows: Float[Tensor, "... B S"]) -> dict[str, Tensor]:
        entering = rows * self.by_step[t][0]
        return {"nonlinearity": entering, "recurrent matrix": entering * self._weight_hh}

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        slope, gain = self.by_step[t]
        return columns * gain if x is None else columns * gain + linear(x, self.weight_ih) * slope

    def recurrent_weight_gradient(self, rows: Float[Tensor, "T B S"]) -> Tensor | None:
        return (self.entering(rows, *self.coefficients) * self._before).sum((0, 1))

    def sums(
        self,
        rows: Float[Tensor, "T B S"],
        entering: Float[Tensor, "T B G"],
        inputs: Float[Tensor, "T B I"],
    ) -> dict[str, Tensor]:
        of_recurrent = summed(entering * self._before)
        return super().sums(rows, entering, inputs) | {"weight_hh": of_recurrent}
