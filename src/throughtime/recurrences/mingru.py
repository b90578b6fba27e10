"""minGRU (Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024): a GRU whose gates read the input alone.

``z = σ(W_z x + b_z)``, ``n = W_n x + b_n``, ``h' = (1 − z) ⊙ h + z ⊙ n`` (section 3.1). For a
positive state (appendix B) n is ``g(W_n x + b_n)``, ``g(a) = a + 1/2`` where a ≥ 0, else σ(a).
``J = diag(1 − z)``: linear and diagonal, so that nothing but one multiply-add waits for the step
before.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences.base import Linearised
from throughtime.recurrences.coefficients import ByCoefficients
from throughtime.recurrences.driven import Driven
from throughtime.recurrences.products import linear, quick


class MinGRU(Driven):
    """The recurrence of ``throughtime.cells.MinGRU``; gate order z n; the state is h, S = H."""

    kind: ClassVar[str] = "minGRU"
    names: ClassVar[tuple[str, ...]] = ("weight_ih", "bias")
    gates: ClassVar[tuple[str, ...]] = ("z", "n")
    weight_ih: Tensor
    bias: Tensor | None

    def __init__(self, *weights: Tensor | None, **settings: float) -> None:
        super().__init__(*weights, **settings)
        self.state_size = len(self.weight_ih) // 2
        self.parts = {"h": slice(0, self.state_size)}
        self.squashing = {"z": "sigmoid"}

    def drive(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... G"]:
        """What is kept, 1 − z, and what is written, z ⊙ n."""
        gate, candidate = linear(x, self.weight_ih, self.bias).chunk(2, -1)
        kept = torch.sigmoid(-gate)
        return torch.cat([kept, (1 - kept) * self.candidate(candidate)], -1)

    def advance(
        self, state: Float[Tensor, "... S"], driven: Float[Tensor, "... G"]
    ) -> Float[Tensor, "... S"]:
        kept, written = driven.chunk(2, -1)
        return torch.addcmul(written, kept, state)

    @torch.no_grad()
    def run(
        self, driven: Float[Tensor, "T B G"], initial: Float[Tensor, "B S"]
    ) -> Float[Tensor, "T B S"]:
        states, state = initial.new_empty(len(driven), *initial.shape), initial
        with quick():
            parts = (part.unbind(0) for part in (*driven.chunk(2, -1), states))
            for keep, write, after in zip(*parts, strict=True):
                state = torch.addcmul(write, keep, state, out=after)
        return states

    @torch.no_grad()
    def remember(
        self, inputs: Float[Tensor, "T B I"], initial: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "T B S"], tuple[Float[Tensor, "T ..."], ...]]:
        driven = self.drive(inputs)
        return self.run(driven, initial), (driven,)

    @torch.no_grad()
    def recall(
        self,
        inputs: Float[Tensor, "T B I"],
        states: Float[Tensor, "T B S"],
        initial: Float[Tensor, "B S"],
        *remembered: Float[Tensor, "T ..."],
    ) -> Linearised:
        kept, written = remembered[0].chunk(2, -1)
        gate, before = 1 - kept, torch.cat([initial.unsqueeze(0), states[:-1]])
        of_gate = torch.addcmul(written, gate, before, value=-1).mul_(kept)
        return LinearisedMinGRU(self.weight_ih, [kept, of_gate, gate])

    def preactivations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Tensor]:
        return dict(zip(self.gates, linear(x, self.weight_ih, self.bias).chunk(2, -1), strict=True))

    @torch.no_grad()
    def activations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Float[Tensor, "... B H"]]:
        return {"z": torch.sigmoid(self.preactivations(state, x)["z"])}

    def candidate(self, entering: Float[Tensor, "... H"]) -> Float[Tensor, "... H"]:
        """What is written (n), from its pre-activation."""
        return entering

    def slope(self, entering: Float[Tensor, "... H"]) -> Float[Tensor, "... H"] | float:
        """∂n/∂a at the pre-activation a."""
        return 1.0

    @torch.no_grad()
    def linearise(
        self, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        gate, candidate = linear(inputs, self.weight_ih, self.bias).chunk(2, -1)
        kept = torch.sigmoid(-gate)
        of_gate = (1 - kept) * kept * (self.candidate(candidate) - before)
        return LinearisedMinGRU(self.weight_ih, [kept, of_gate, (1 - kept) * self.slope(candidate)])


class PositiveMinGRU(MinGRU):
    """The same with ``n = g(W_n x + b_n)`` > 0."""

    remember, recall = Driven.remember, Driven.recall

    def candidate(self, entering: Float[Tensor, "... H"]) -> Float[Tensor, "... H"]:
        return torch.where(entering >= 0, entering + 0.5, torch.sigmoid(entering))

    def slope(self, entering: Float[Tensor, "... H"]) -> Float[Tensor, "... H"] | float:
        low = torch.sigmoid(entering)
        return torch.where(entering >= 0, 1.0, low * (1 - low))


class LinearisedMinGRU(ByCoefficients):
    """``J_t = diag(1 − z_t)``; the input enters by the slopes of z and of n."""

    def adjoint_(
        self, total: Float[Tensor, "T B S"], blocked: frozenset[int] = frozenset()
    ) -> None:
        with quick():
            totals, kept = total.unbind(0), self.coefficients[0].unbind(0)
            for t in range(self.steps - 1, 0, -1):
                if t not in blocked:
                    totals[t - 1].addcmul_(totals[t], kept[t])

    def back(self, rows: Float[Tensor, "... S"], *coefficients: Tensor) -> Float[Tensor, "... S"]:
        return rows * coefficients[0]

    def entering(
        self, rows: Float[Tensor, "... S"], *coefficients: Tensor
    ) -> Float[Tensor, "... G"]:
        return torch.cat([rows * coefficients[1], rows * coefficients[2]], -1)

    def stages(self, t: int, rows: Float[Tensor, "... B S"]) -> dict[str, Tensor]:
        return {"gates": rows * self.by_step[t][0]}

    def paths(
        self, t: int, rows: Float[Tensor, "... B S"], back: Float[Tensor, "... B S"]
    ) -> dict[str, Float[Tensor, "... B S"]]:
        """All of it by the carousel ``(1 − z) ⊙ δh``: no gate reads the state."""
        return {"carousel": back, "gates": torch.zeros_like(back)}

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        kept, of_gate, slope = self.by_step[t]
        pushed = columns * kept
        if x is not None:
            gate, candidate = linear(x, self.weight_ih).chunk(2, -1)
            pushed = pushed + gate * of_gate + candidate * slope
        return pushed
