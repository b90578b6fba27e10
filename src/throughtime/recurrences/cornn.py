"""coRNN (Rusch & Mishra 2021): a network of driven, damped oscillators, on the joint state (y, z).

``z' = z + Δt (tanh(a) − γ y − ε z)``, ``y' = y + Δt z'``, ``a = W_hh (y, z) + W_ih x + b`` (eq. 3,
explicit: the damping reads the old z, as the authors' code does). y is read by the layer above,
z its velocity. The adjoint of one step, with ``D = Δt (1 − tanh² a)``:

    δz' = δz + Δt δy,   δa = D ⊙ δz',
    δ(y, z)_prev = (δy − Δt γ δz', (1 − Δt ε) δz') + W_hhᵀ δa.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences.base import NO_GATE_PATH, NO_SQUASHING, Linearised
from throughtime.recurrences.coefficients import ByCoefficients
from throughtime.recurrences.driven import Doubling
from throughtime.recurrences.products import linear, quick, repeated
from throughtime.recurrences.squashing import tanh_

_sigmoid_slope = torch.ops.aten.sigmoid_backward  # g y (1 − y) in one pass


class CoRNN(Doubling):
    """The recurrence of ``throughtime.cells.CoRNN``; S = 2H; W_hh (H 2H) reads y, then z.

    Settings: ``dt``, the step Δt; ``gamma``, the stiffness γ; ``epsilon``, the damping ε.
    """

    kind: ClassVar[str] = "coRNN"
    names: ClassVar[tuple[str, ...]] = ("weight_ih", "weight_hh", "bias")
    variants: ClassVar[tuple[str, ...]] = (NO_GATE_PATH, NO_SQUASHING)
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None

    def __init__(self, *weights: Tensor | None, **settings: float) -> None:
        super().__init__(*weights, **settings)
        self.dt, self.gamma, self.epsilon = (settings[n] for n in ("dt", "gamma", "epsilon"))
        self.hidden_size = len(self.weight_hh)
        self.state_size = 2 * self.hidden_size
        self.parts = {
            "y": slice(0, self.hidden_size),
            "z": slice(self.hidden_size, self.state_size),
        }
        self.squashing = {"n": "tanh"}

    def outputs(self, states: Float[Tensor, "T B S"]) -> Float[Tensor, "T B P"]:
        return states[..., self.parts["y"]]

    def drive(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... G"]:
        return linear(x, self.weight_ih, self.bias)

    def advance(
        self, state: Float[Tensor, "... S"], driven: Float[Tensor, "... G"]
    ) -> Float[Tensor, "... S"]:
        y, z = state.chunk(2, -1)
        force = torch.tanh(driven + linear(state, self.weight_hh))
        z = z + self.dt * (force - self.gamma * y - self.epsilon * z)
        return torch.cat([y + self.dt * z, z], -1)

    def scale(self) -> Float[Tensor, " G"]:
        return self.weight_hh.new_full((len(self.weight_hh),), 2)

    def run_scaled(self, driven: Tensor, initial: Tensor) -> Tensor:
        """All states from what drives 2a; σ(2a) in its place: ``tanh a = 2 σ(2a) − 1``."""
        states, state = initial.new_empty(len(driven), *initial.shape), initial.clone()
        add_recurrent, pull = repeated(2 * self.weight_hh, len(initial)), state.new_tensor(-self.dt)
        (y, z), kept = state.chunk(2, -1), 1 - self.dt * self.epsilon
        with quick():
            for made, after in zip(driven.unbind(0), states.unbind(0), strict=True):
                add_recurrent(state, made, made)
                torch.add(pull, z, alpha=kept, out=z).add_(y, alpha=-self.dt * self.gamma)
                y.add_(z.add_(made.sigmoid_(), alpha=2 * self.dt), alpha=self.dt)
                after.copy_(state)
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
        slope = _sigmoid_slope(initial.new_tensor(4 * self.dt), remembered[0])  # Δt (1 − tanh²)
        return LinearisedCoRNN(self, slope, before)

    def preactivations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Tensor]:
        return {"n": self.drive(x) + linear(state, self.weight_hh)}

    @torch.no_grad()
    def activations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Float[Tensor, "... B H"]]:
        return {"n": torch.tanh(self.preactivations(state, x)["n"])}

    def recurrent_blocks(self) -> dict[str, Float[Tensor, "H P"]]:
        """What W_hh reads of y, and of z."""
        return dict(zip(self.parts, self.weight_hh.detach().chunk(2, -1), strict=True))

    @torch.no_grad()
    def linearise(
        self, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        force = tanh_(self.preactivations(before, inputs)["n"])
        slope = torch.addcmul(force.new_tensor(self.dt), force, force, value=-self.dt)
        return LinearisedCoRNN(self, slope, before)

    @torch.no_grad()
    def variant(
        self, name: str, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        if name not in self.variants:
            return super().variant(name, before, inputs)
        slope = torch.full_like(before[..., : self.hidden_size], self.dt)
        return LinearisedCoRNN(self, slope if name == NO_SQUASHING else slope.zero_(), before)


class LinearisedCoRNN(ByCoefficients):
    """The adjoint step above and its transpose, for every t; ``slope`` is D."""

    def __init__(self, cell: CoRNN, slope: Float[Tensor, "T B H"], before: Float[Tensor, "T B S"]):
        super().__init__(cell.weight_ih, [slope])
        self._weight_hh, self.reads = cell.weight_hh.detach(), before
        self._dt, self._size = cell.dt, cell.hidden_size
        self._stiff, self._kept = cell.dt * cell.gamma, 1 - cell.dt * cell.epsilon

    def adjoint_(
        self, total: Float[Tensor, "T B S"], blocked: frozenset[int] = frozenset()
    ) -> None:
        state = total.new_empty(total.shape[1:])
        (y, z), kept = state.chunk(2, -1), total.new_tensor(self._kept)
        entering, add_back = torch.empty_like(z), repeated(self._weight_hh.T, len(state))
        with quick():
            totals, slopes = total.unbind(0), self.coefficients[0].unbind(0)
            for t in range(self.steps - 1, 0, -1):
                if t in blocked:
                    continue
                state.copy_(totals[t])
                torch.mul(z.add_(y, alpha=self._dt), slopes[t], out=entering)  # z: now δz'
                y.add_(z, alpha=-self._stiff)
                z.mul_(kept)
                add_back(entering, totals[t - 1].add_(state), totals[t - 1])

    def back(self, rows: Float[Tensor, "... S"], *coefficients: Tensor) -> Float[Tensor, "... S"]:
        entering = self.entering(rows, *coefficients)
        return linear(entering, self._weight_hh.T).add_(self._oscillator(rows))

    def entering(
        self, rows: Float[Tensor, "... S"], *coefficients: Tensor
    ) -> Float[Tensor, "... G"]:
        return self._velocity(rows) * coefficients[0]

    def _velocity(self, rows: Tensor) -> Tensor:
        """δz', which gathers what y' passes down."""
        return torch.add(rows[..., self._size :], rows[..., : self._size], alpha=self._dt)

    def _oscillator(self, rows: Tensor) -> Tensor:
        """What comes back through the free oscillator, around W_hh."""
        velocity = self._velocity(rows)
        y = torch.sub(rows[..., : self._size], velocity, alpha=self._stiff)
        return torch.cat([y, self._kept * velocity], -1)

    def stages(self, t: int, rows: Float[Tensor, "... B S"]) -> dict[str, Tensor]:
        entering = self.entering(rows, *self.by_step[t])
        oscillator = self._oscillator(rows)
        return {
            "nonlinearity": torch.cat([entering, oscillator], -1),
            "recurrent matrix": linear(entering, self._weight_hh.T).add_(oscillator),
        }

    def paths(
        self, t: int, rows: Float[Tensor, "... B S"], back: Float[Tensor, "... B S"]
    ) -> dict[str, Float[Tensor, "... B S"]]:
        """The carousel is the free oscillator."""
        carousel = self._oscillator(rows)
        return {"carousel": carousel, "gates": back - carousel}

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        y, z = columns.chunk(2, -1)
        entering = linear(columns, self._weight_hh)
        if x is not None:
            entering = entering + linear(x, self.weight_ih)
        z = self._kept * z - self._stiff * y + entering * self.by_step[t][0]
        return torch.cat([y + self._dt * z, z], -1)
