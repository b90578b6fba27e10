"""``h' = φ(W_hh h + W_ih x)`` trained in one loop each way: φ = modReLU, tanh or ReLU.

``modReLU(a) = sign(a) ReLU(|a| + b)`` (Arjovsky, Shah & Bengio 2016, on real numbers) has
its bias b inside; tanh and ReLU add it to the pre-activation. ``J = diag(φ'(a)) W_hh``, where φ'
follows from the output: it is 1 or 0 but for tanh.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences.base import NO_SQUASHING, Linearised, Squashing
from throughtime.recurrences.coefficients import ByCoefficients, summed
from throughtime.recurrences.driven import Driven
from throughtime.recurrences.products import linear, quick, repeated
from throughtime.recurrences.squashing import tanh, tanh_


class ModReLU(Driven):
    """The recurrence of ``throughtime.cells.OrthogonalRNN``; the state is h, S = H."""

    kind: ClassVar[str] = "OrthogonalRNN"
    names: ClassVar[tuple[str, ...]] = ("weight_ih", "weight_hh", "bias")
    gates: ClassVar[tuple[str, ...]] = ("a",)
    variants: ClassVar[tuple[str, ...]] = (NO_SQUASHING,)
    function: ClassVar[Squashing] = "relu"
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None

    def __init__(self, *weights: Tensor | None, **settings: float) -> None:
        super().__init__(*weights, **settings)
        self.state_size = self.weight_hh.shape[1]
        self.parts = {"h": slice(0, self.state_size)}
        self.squashing = {"h": self.function}

    def drive(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... G"]:
        return linear(x, self.weight_ih)

    def activate(self, total: Float[Tensor, "... H"]) -> Float[Tensor, "... H"]:
        """φ(a)."""
        if self.bias is None:  # b = 0: the identity
            return total
        return torch.sign(total) * torch.relu(total.abs() + self.bias)

    def activate_(self, total: Float[Tensor, "B H"]) -> None:
        """φ(a) in place of a."""
        if self.bias is not None:
            sign = total.sign()
            magnitude = torch.addcmul(self.bias, total, sign).relu_()
            torch.mul(magnitude, sign, out=total)

    def slope(self, after: Float[Tensor, "T B H"]) -> Float[Tensor, "T B H"]:
        """φ'(a), from φ(a)."""
        if self.bias is None:
            return torch.ones_like(after)
        return (after != 0).to(after.dtype)

    def inside(self, after: Float[Tensor, "T B H"]) -> Float[Tensor, "T B H"] | None:
        """∂φ/∂b from φ(a): sign(a) where the unit is on; None for a bias outside of φ."""
        return after.sign()

    def advance(
        self, state: Float[Tensor, "... S"], driven: Float[Tensor, "... G"]
    ) -> Float[Tensor, "... S"]:
        return self.activate(driven + linear(state, self.weight_hh))

    @torch.no_grad()
    def run(
        self, driven: Float[Tensor, "T B G"], initial: Float[Tensor, "B S"]
    ) -> Float[Tensor, "T B S"]:
        states, add_recurrent = torch.empty_like(driven), repeated(self.weight_hh, len(initial))
        state = initial
        with quick():
            for drive, after in zip(driven.unbind(0), states.unbind(0), strict=True):
                state = add_recurrent(state, drive, after)
                self.activate_(state)
        return states

    def preactivations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Tensor]:
        return {"a": self.drive(x) + linear(state, self.weight_hh)}

    @torch.no_grad()
    def activations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Float[Tensor, "... B H"]]:
        """|h|, since modReLU is flat where it is 0."""
        return {"h": self.step(state, x).abs()}

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
        return outputs, self._around(outputs, torch.cat([initial.unsqueeze(0), outputs[:-1]]))

    @torch.no_grad()
    def variant(
        self, name: str, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        if name == NO_SQUASHING:
            return LinearisedRNN(self, torch.ones_like(before), before)
        return super().variant(name, before, inputs)

    def _around(self, after: Tensor, before: Tensor) -> LinearisedRNN:
        return LinearisedRNN(self, self.slope(after), before, self.inside(after))


class Tanh(ModReLU):
    """The same with tanh, and the bias beside the input."""

    function: ClassVar[Squashing] = "tanh"

    def drive(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... G"]:
        return linear(x, self.weight_ih, self.bias)

    def activate(self, total: Float[Tensor, "... H"]) -> Float[Tensor, "... H"]:
        return tanh(total)

    def activate_(self, total: Float[Tensor, "B H"]) -> None:
        tanh_(total)

    def slope(self, after: Float[Tensor, "T B H"]) -> Float[Tensor, "T B H"]:
        return torch.addcmul(after.new_ones(()), after, after, value=-1)

    def inside(self, after: Float[Tensor, "T B H"]) -> Float[Tensor, "T B H"] | None:
        return None

    def activations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Float[Tensor, "... B H"]]:
        return {"h": self.step(state, x)}


class ReLU(Tanh):
    """The same with ReLU, and the bias beside the input."""

    function: ClassVar[Squashing] = "relu"

    def activate(self, total: Float[Tensor, "... H"]) -> Float[Tensor, "... H"]:
        return torch.relu(total)

    def activate_(self, total: Float[Tensor, "B H"]) -> None:
        total.relu_()

    def slope(self, after: Float[Tensor, "T B H"]) -> Float[Tensor, "T B H"]:
        return (after > 0).to(after.dtype)


class LinearisedRNN(ByCoefficients):
    """``J_t = diag(slope_t) W_hh``."""

    def __init__(
        self,
        cell: ModReLU,
        slope: Float[Tensor, "T B H"],
        before: Float[Tensor, "T B H"],
        inside: Float[Tensor, "T B H"] | None = None,
    ) -> None:
        """``inside``: ∂h'/∂b, where b is inside of φ."""
        super().__init__(cell.weight_ih, [slope])
        self._weight_hh, self.reads, self._inside = cell.weight_hh.detach(), before, inside

    def adjoint_(
        self, total: Float[Tensor, "T B S"], blocked: frozenset[int] = frozenset()
    ) -> None:
        entering = total.new_empty(total.shape[1:])
        add_back = repeated(self._weight_hh.T, len(entering))
        with quick():
            totals, slopes = total.unbind(0), self.coefficients[0].unbind(0)
            for t in range(self.steps - 1, 0, -1):
                if t not in blocked:
                    torch.mul(totals[t], slopes[t], out=entering)
                    add_back(entering, totals[t - 1], totals[t - 1])

    def back(self, rows: Float[Tensor, "... S"], *coefficients: Tensor) -> Float[Tensor, "... S"]:
        return linear(self.entering(rows, *coefficients), self._weight_hh.T)

    def entering(
        self, rows: Float[Tensor, "... S"], *coefficients: Tensor
    ) -> Float[Tensor, "... G"]:
        return rows * coefficients[0]

    def stages(self, t: int, rows: Float[Tensor, "... B S"]) -> dict[str, Tensor]:
        entering = self.entering(rows, *self.by_step[t])
        return {
            "nonlinearity": entering,
            "recurrent matrix": linear(entering, self._weight_hh.T),
        }

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        total = linear(columns, self._weight_hh)
        if x is not None:
            total = total + linear(x, self.weight_ih)
        return total * self.by_step[t][0]

    def sums(
        self,
        rows: Float[Tensor, "T B S"],
        entering: Float[Tensor, "T B G"],
        inputs: Float[Tensor, "T B I"],
    ) -> dict[str, Tensor]:
        found = super().sums(rows, entering, inputs)
        if self._inside is not None:
            found["bias"] = summed(rows * self._inside)
        return found
