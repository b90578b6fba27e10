"""LEM, long expressive memory (Rusch, Mishra, Erichson & Mahoney 2022), on the joint state (y, z).

Two time scales, each learned (eq. 3). The pre-activations of g, s, r read y, that of q reads z':

    s, r = σ(·),  g, q = tanh(·),   z' = z + Δt s ⊙ (g − z),   y' = y + Δt r ⊙ (q − y).

y is read by the layer above. The paper writes Δt_n for Δt s and a bar on it for Δt r. The adjoint:

    δa_q = Δt r (1−q²) δy,   δz' = δz + W_qᵀ δa_q,   δa_r = Δt r(1−r) (q − y) δy,
    δa_g = Δt s (1−g²) δz',  δa_s = Δt s(1−s) (g − z) δz',
    δy_prev = (1 − Δt r) δy + W_gsrᵀ δa_gsr,   δz_prev = (1 − Δt s) δz'.
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
    orthogonal_blocks,
    with_recurrent_weight,
)
from throughtime.recurrences.coefficients import ByCoefficients, beside
from throughtime.recurrences.driven import Doubling
from throughtime.recurrences.products import linear, quick, repeated
from throughtime.recurrences.squashing import from_logistic_, tanh

_sigmoid_slope = torch.ops.aten.sigmoid_backward  # g y (1 − y) in one pass
_tanh_slope = torch.ops.aten.tanh_backward  # g (1 − y²) in one pass


class LEM(Doubling):
    """The recurrence of ``throughtime.cells.LEM``; S = 2H; gate order g s r q.

    W_hh (4H H) holds the four blocks; that of q reads the new z, the others y. Settings: ``dt``.
    """

    kind: ClassVar[str] = "LEM"
    names: ClassVar[tuple[str, ...]] = ("weight_ih", "weight_hh", "bias")
    gates: ClassVar[tuple[str, ...]] = ("g", "s", "r", "q")
    variants: ClassVar[tuple[str, ...]] = (NO_GATE_PATH, NO_SQUASHING, ORTHOGONAL)
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None

    def __init__(self, *weights: Tensor | None, **settings: float) -> None:
        super().__init__(*weights, **settings)
        self.dt, self.hidden_size = settings["dt"], self.weight_hh.shape[1]
        self.state_size = 2 * self.hidden_size
        self.parts = {
            "y": slice(0, self.hidden_size),
            "z": slice(self.hidden_size, self.state_size),
        }
        self.squashing = {"g": "tanh", "s": "sigmoid", "r": "sigmoid", "q": "tanh"}

    def outputs(self, states: Float[Tensor, "T B S"]) -> Float[Tensor, "T B P"]:
        return states[..., self.parts["y"]]

    def drive(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... G"]:
        return linear(x, self.weight_ih, self.bias)

    def advance(
        self, state: Float[Tensor, "... S"], driven: Float[Tensor, "... G"]
    ) -> Float[Tensor, "... S"]:
        y, _ = state.chunk(2, -1)
        _, _, r, q, z = self._gates(state, driven)
        return torch.cat([y + self.dt * r * (q - y), z], -1)

    def scale(self) -> Float[Tensor, " G"]:
        """``tanh a = 2 σ(2a) − 1``: all gates pass through σ where that of a tanh is doubled."""
        return self.weight_hh.new_tensor([2, 1, 1, 2]).repeat_interleave(self.hidden_size)

    def run_scaled(self, driven: Tensor, initial: Tensor) -> Tensor:
        """All states from what drives them, g and q doubled; the gates g s r q in its place."""
        batch, size, dt = len(initial), self.hidden_size, initial.new_tensor(self.dt)
        states, (y, z) = initial.new_empty(len(driven), *initial.shape), initial.chunk(2, -1)
        from_y, from_z = (self.weight_hh * self.scale().unsqueeze(1)).split([3 * size, size])
        add_y, add_z = repeated(from_y, batch), repeated(from_z, batch)
        made, scales = driven.new_empty(batch, 4 * size), driven.new_empty(batch, 2 * size)
        (of_y, q), (s, r) = made.split([3 * size, size], -1), scales.chunk(2, -1)
        g, time_steps = of_y[:, :size], of_y[:, size:]
        with quick():
            views = driven, *states.chunk(2, -1)
            steps = zip(*(view.unbind(0) for view in views), strict=True)
            for gates, new_y, new_z in steps:
                made.copy_(gates)
                add_y(y, of_y, of_y).sigmoid_()
                torch.mul(time_steps, dt, out=scales)
                z = torch.lerp(z, from_logistic_(g), s, out=new_z)
                add_z(z, q, q).sigmoid_()
                y = torch.lerp(y, from_logistic_(q), r, out=new_y)
                gates.copy_(made)
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
        z = states[..., self.hidden_size :]
        return LinearisedLEM(self, before, (*remembered[0].chunk(4, -1), z))

    @torch.no_grad()
    def activations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Float[Tensor, "... B H"]]:
        return dict(zip(self.gates, self._gates(state, self.drive(x))[:4], strict=True))

    def preactivations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Tensor]:
        driven = self.drive(x)
        *_, z = self._gates(state, driven)
        y, size = state[..., : self.hidden_size], self.hidden_size
        three = driven[..., : 3 * size] + linear(y, self.weight_hh[: 3 * size])
        last = driven[..., 3 * size :] + linear(z, self.weight_hh[3 * size :])
        return dict(zip(self.gates, (*three.chunk(3, -1), last), strict=True))

    @torch.no_grad()
    def linearise(
        self, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        return LinearisedLEM(self, before, self._gates(before, self.drive(inputs)))

    @torch.no_grad()
    def variant(
        self, name: str, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        cell = self
        if name == ORTHOGONAL:
            cell = with_recurrent_weight(self, orthogonal_blocks(self))
        elif name == NO_GATE_PATH:
            cell = with_recurrent_weight(self, torch.zeros_like(self.weight_hh))
        elif name not in self.variants:
            return super().variant(name, before, inputs)
        gates = self._gates(before, self.drive(inputs))
        return LinearisedLEM(cell, before, gates, squashed=name != NO_SQUASHING)

    def _gates(self, state: Tensor, driven: Tensor) -> tuple[Tensor, ...]:
        """g, s, r, q, and z' on the way to q."""
        y, z = state.chunk(2, -1)
        size = self.hidden_size
        three = driven[..., : 3 * size] + linear(y, self.weight_hh[: 3 * size])
        g, s, r = (one.contiguous() for one in three.chunk(3, -1))  # else torch is slow
        g, s, r = tanh(g), torch.sigmoid(s), torch.sigmoid(r)
        z = z + self.dt * s * (g - z)
        q = tanh(driven[..., 3 * size :] + linear(z, self.weight_hh[3 * size :]))
        return g, s, r, q, z


class LinearisedLEM(ByCoefficients):
    """The adjoint step above and its transpose, for every t."""

    def __init__(
        self,
        cell: LEM,
        before: Float[Tensor, "T B S"],
        gates: tuple[Tensor, ...],
        squashed: bool = True,
    ) -> None:
        """``gates``: g, s, r, q and z'; ``squashed``: not with 1 for the slopes of both tanh."""
        g, s, r, q, after_z = gates
        size, dt = cell.hidden_size, cell.dt
        weight = cell.weight_hh.detach()
        self._from_y, self._from_z = weight[: 3 * size], weight[3 * size :]
        (self._y, z), self._z = before.chunk(2, -1), after_z
        steps, batch, _ = before.shape
        # By what they multiply, z' or y, and in the order in which ``adjoint_`` lays them out.
        self._factors = before.new_empty(2, steps, 3, batch, size)
        (keep_z, of_g, of_s), (of_r, of_q, keep_y) = (part.unbind(1) for part in self._factors)
        if squashed:
            _tanh_slope(s, g, grad_input=of_g)
            _tanh_slope(r, q, grad_input=of_q)
        else:
            of_g.copy_(s)
            of_q.copy_(r)
        _sigmoid_slope(torch.sub(g, z, out=of_s), s, grad_input=of_s)
        _sigmoid_slope(torch.sub(q, self._y, out=of_r), r, grad_input=of_r)
        if dt != 1:
            self._factors.mul_(dt)
        one = before.new_ones(())
        torch.sub(one, s, alpha=dt, out=keep_z)
        torch.sub(one, r, alpha=dt, out=keep_y)
        into_z, into_y = self._factors[0, :, 1:], self._factors[1, :, :2]
        parts = into_z.transpose(1, 2), into_y.transpose(1, 2), keep_z, keep_y
        super().__init__(cell.weight_ih, parts)

    def adjoint_(
        self, total: Float[Tensor, "T B S"], blocked: frozenset[int] = frozenset()
    ) -> None:
        batch, size = total.shape[1], total.shape[2] // 2
        add_y, add_z = repeated(self._from_y.T, batch), repeated(self._from_z.T, batch)
        made, through_z = total.new_empty(batch, 6, size), total.new_empty(batch, size)
        by_z, by_y = made.transpose(0, 1).split(3)
        kept_z, _, _, _, of_q, kept_y = made.unbind(1)
        of_y = made[:, 1:4].flatten(1)
        with quick():
            ys, zs = (part.unbind(0) for part in total.chunk(2, -1))
            into_z, into_y = (part.unbind(0) for part in self._factors)
            for t in range(self.steps - 1, 0, -1):
                if t in blocked:
                    continue
                torch.mul(ys[t], into_y[t], out=by_y)
                torch.mul(add_z(of_q, zs[t], through_z), into_z[t], out=by_z)
                add_y(of_y, ys[t - 1].add_(kept_y), ys[t - 1])
                zs[t - 1].add_(kept_z)

    def back(self, rows: Float[Tensor, "... S"], *coefficients: Tensor) -> Float[Tensor, "... S"]:
        *_, keep_z, keep_y = coefficients
        y = rows[..., : rows.shape[-1] // 2]
        through_z, entering = self._pull_back(rows, *coefficients)
        back = linear(entering[..., : len(self._from_y)], self._from_y.T)
        return torch.cat([back.addcmul_(y, keep_y), through_z * keep_z], -1)

    def entering(
        self, rows: Float[Tensor, "... S"], *coefficients: Tensor
    ) -> Float[Tensor, "... G"]:
        return self._pull_back(rows, *coefficients)[1]

    def _pull_back(self, rows: Tensor, *coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """δz' (… B H), and the pre-activation adjoint of g s r q (… B 4H)."""
        into_z, into_y, *_ = coefficients
        y, z = rows.chunk(2, -1)
        of_r, of_q = (y * one for one in into_y.unbind(-2))
        through_z = z + linear(of_q, self._from_z.T)
        of_g, of_s = (through_z * one for one in into_z.unbind(-2))
        return through_z, torch.cat([of_g, of_s, of_r, of_q], -1)

    def stages(self, t: int, rows: Float[Tensor, "... B S"]) -> dict[str, Tensor]:
        *_, keep_z, keep_y = self.by_step[t]
        through_z, entering = self._pull_back(rows, *self.by_step[t])
        kept = [rows.chunk(2, -1)[0] * keep_y, through_z * keep_z]
        from_y = entering[..., : len(self._from_y)]
        back = linear(from_y, self._from_y.T).add_(kept[0])
        return {
            "gates": torch.cat([from_y, *kept], -1),
            "recurrent matrix": torch.cat([back, kept[1]], -1),
        }

    def paths(
        self, t: int, rows: Float[Tensor, "... B S"], back: Float[Tensor, "... B S"]
    ) -> dict[str, Float[Tensor, "... B S"]]:
        """The carousels are ``(1 − Δt r) δy`` and ``(1 − Δt s) δz``."""
        *_, keep_z, keep_y = self.by_step[t]
        y, z = rows.chunk(2, -1)
        carousel = torch.cat([y * keep_y, z * keep_z], -1)
        return {"carousel": carousel, "gates": back - carousel}

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        into_z, into_y, keep_z, keep_y = self.by_step[t]
        y, z = columns.chunk(2, -1)
        three, last = linear(y, self._from_y), torch.zeros_like(y)
        if x is not None:
            driven = linear(x, self.weight_ih)
            three, last = three + driven[..., : three.shape[-1]], driven[..., three.shape[-1] :]
        three = three.unflatten(-1, (3, -1))
        z = z * keep_z + (three[..., :2, :] * into_z).sum(-2)
        last = last + linear(z, self._from_z)
        return torch.cat(
            [y * keep_y + three[..., 2, :] * into_y[..., 0, :] + last * into_y[..., 1, :], z], -1
        )

    def recurrent_weight_gradient(self, rows: Float[Tensor, "T B S"]) -> Tensor | None:
        entering = self.entering(rows, *self.coefficients)
        return self.sums(rows, entering, rows[..., :0])["weight_hh"]

    def sums(
        self,
        rows: Float[Tensor, "T B S"],
        entering: Float[Tensor, "T B G"],
        inputs: Float[Tensor, "T B I"],
    ) -> dict[str, Tensor]:
        size = len(self._from_y)
        from_y = beside(entering[..., :size], self._y, inputs)
        from_z = beside(entering[..., size:], self._z, inputs)
        return {name: torch.cat([from_y[name], from_z[name]]) for name in from_y}
