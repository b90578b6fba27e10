"""LSTM (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000), on the joint state (h, c).

``c' = f ⊙ c + i ⊙ g``, ``h' = o ⊙ tanh(c')``, with a projection ``h' = W_hr (o ⊙ tanh(c'))`` if
``proj_size`` is set. ``∂c'/∂c = diag(f)`` is the carousel; the other paths of J run through h and
the gates. The adjoint of one step, with ``D = o (1 − tanh² c')``:

    δc' = δc + D ⊙ δh,   δa_i = g i(1−i) δc',   δa_f = c f(1−f) δc',   δa_g = i (1−g²) δc',
    δa_o = tanh(c') o(1−o) δh,   δh_prev = W_hhᵀ δa,   δc_prev = f ⊙ δc'.
"""

from __future__ import annotations

from functools import cached_property
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
    Recurrence,
    flat,
    orthogonal_blocks,
    with_recurrent_weight,
)
from throughtime.recurrences.products import linear
from throughtime.recurrences.views import Views

# g y (1 − y) in one pass; aten::tanh_backward is g (1 − y²).
_sigmoid_slope = torch.ops.aten.sigmoid_backward.grad_input


def _tanh(values: Tensor) -> Tensor:
    """tanh of a slice: torch runs it over contiguous memory alone at full speed."""
    return torch.tanh(values.contiguous())


class LSTM(Recurrence):
    """The recurrence of ``nn.LSTM`` and ``nn.LSTMCell``; gate order i f g o; S = P + H.

    P is ``proj_size`` if there is one, else H: the state holds h (P) first, then c (H).
    """

    kind: ClassVar[str] = "LSTM"
    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    variants: ClassVar[tuple[str, ...]] = (FORGET_OPEN, NO_GATE_PATH, NO_SQUASHING, ORTHOGONAL)

    def __init__(
        self,
        weight_ih: Float[Tensor, "G I"],
        weight_hh: Float[Tensor, "G P"],
        bias: Float[Tensor, " G"] | None = None,
        weight_hr: Float[Tensor, "P H"] | None = None,
    ) -> None:
        self.weight_ih, self.weight_hh = weight_ih.detach(), weight_hh.detach()
        self.bias = None if bias is None else bias.detach()
        self.weight_hr = None if weight_hr is None else weight_hr.detach()
        self.cell_size, self.output_size = len(weight_hh) // 4, weight_hh.shape[1]
        self.state_size = self.output_size + self.cell_size
        self.parts = {
            "h": slice(0, self.output_size),
            "c": slice(self.output_size, self.state_size),
        }
        self.squashing = {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid", "c": "tanh"}

    def step(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> Float[Tensor, "... B S"]:
        h, c = self.split(state)
        i, f, g, o = self._preactivation(h, x).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return torch.cat([h if self.weight_hr is None else h @ self.weight_hr.T, c], -1)

    def split(self, state: Float[Tensor, "... S"]) -> tuple[Tensor, Tensor]:
        """h and c of a joint state."""
        return state[..., : self.output_size], state[..., self.output_size :]

    @torch.no_grad()
    def linearise(
        self, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        h, c = self.split(before)
        gates = self._gates(h, inputs)
        i, f, g, _ = gates.unbind(-2)
        return LinearisedLSTM(self, gates, h, c, torch.tanh(f * c + i * g))

    @torch.no_grad()
    def replay(
        self,
        inputs: Float[Tensor, "T B I"],
        outputs: Float[Tensor, "T B P"],
        initial: Float[Tensor, "B S"],
    ) -> tuple[Float[Tensor, "T B S"], Linearised]:
        """Every h is known, so the gates of all steps follow at once; c follows from a scan."""
        width = self.output_size
        path = outputs.new_empty(len(outputs) + 1, *initial.shape)
        path[0], path[1:, :, :width] = initial, outputs
        h, c = self.split(path)
        gates = self._gates(h[:-1], inputs)
        i, f, g, _ = gates.unbind(-2)
        written, forget, cells = (i * g).unbind(0), f.unbind(0), c.unbind(0)
        for t, write in enumerate(written):
            torch.addcmul(write, forget[t], cells[t], out=cells[t + 1])
        return path[1:], LinearisedLSTM(self, gates, h[:-1], c[:-1], _tanh(c[1:]))

    @torch.no_grad()
    def variant(
        self, name: str, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        h, c = self.split(before)
        gates = self._gates(h, inputs)
        i, f, g, o = (gate.clone() for gate in gates.unbind(-2))
        cell = self
        if name == ORTHOGONAL:
            cell = with_recurrent_weight(self, orthogonal_blocks(self))
        elif name == NO_GATE_PATH:
            cell = with_recurrent_weight(self, torch.zeros_like(self.weight_hh))
        elif name not in self.variants:
            return super().variant(name, before, inputs)
        linear = LinearisedLSTM(cell, gates, h, c, torch.tanh(f * c + i * g))
        if name == FORGET_OPEN:
            linear.replace(forget=torch.ones_like(f))
        elif name == NO_SQUASHING:
            linear.replace(candidate=i, readout=o)
        return linear

    @torch.no_grad()
    def activations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Float[Tensor, "... B H"]]:
        h, c = self.split(state)
        i, f, g, o = self._gates(h, x).unbind(-2)
        return {"i": i, "f": f, "g": g, "o": o, "c": torch.tanh(f * c + i * g)}

    def preactivations(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> dict[str, Tensor]:
        total = self._preactivation(self.split(state)[0], x)
        return dict(zip("ifgo", total.chunk(4, -1), strict=True))

    def weights(self) -> dict[str, Tensor]:
        named = {
            "weight_ih": self.weight_ih,
            "weight_hh": self.weight_hh,
            "bias": self.bias,
            "weight_hr": self.weight_hr,
        }
        return {name: weight for name, weight in named.items() if weight is not None}

    def _preactivation(self, h: Tensor, x: Tensor) -> Tensor:
        """One matrix product for all steps where ``h`` and ``x`` hold them all."""
        weight = torch.cat([self.weight_ih, self.weight_hh], -1)
        return linear(torch.cat([x, h], -1), weight, self.bias)

    def _gates(self, h: Tensor, x: Tensor) -> Float[Tensor, "... 4 H"]:
        """The activations of i f g o, each in the place of its pre-activation."""
        gates: Tensor = self._preactivation(h, x).unflatten(-1, (4, self.cell_size))
        gates[..., :2, :].sigmoid_()
        gates[..., 2, :] = _tanh(gates[..., 2, :])
        gates[..., 3, :].sigmoid_()
        return gates


class LinearisedLSTM(Linearised):
    """The adjoint step above and its transpose, for every t."""

    def __init__(self, cell: LSTM, gates: Tensor, h: Tensor, c: Tensor, squashed: Tensor) -> None:
        """``gates`` (T B 4 H) is taken over: each activation makes room for its coefficient."""
        self.steps, self.dtype = len(h), h.dtype
        self._cell, self._h = cell, h
        self._recurrent = cell.weight_hh.T.contiguous()
        i, f, g, o = gates.unbind(-2)
        forget, readout = f.contiguous(), torch.ops.aten.tanh_backward(o, squashed)
        candidate = torch.ops.aten.tanh_backward(i, g)
        _sigmoid_slope(g, i, grad_input=i)
        _sigmoid_slope(c, f, grad_input=f)
        _sigmoid_slope(squashed, o, grad_input=o)
        g.copy_(candidate)
        self._written, self._output, self._readout = gates[..., :3, :], o, readout
        self._forget = forget

    @cached_property
    def _by_step(self) -> Views:
        """The coefficients of every step."""
        return Views(self._written, self._output, self._readout, self._forget)

    def replace(
        self,
        forget: Float[Tensor, "T B H"] | None = None,
        candidate: Float[Tensor, "T B H"] | None = None,
        readout: Float[Tensor, "T B H"] | None = None,
    ) -> None:
        """Other coefficients: of ``∂c'/∂c``, of the candidate's pre-activation, of ``∂h'/∂c'``."""
        if candidate is not None:
            self._written[..., 2, :] = candidate
        self._forget = self._forget if forget is None else forget
        self._readout = self._readout if readout is None else readout
        self.__dict__.pop("_by_step", None)

    def adjoint(
        self, direct: Float[Tensor, "T B S"], blocked: frozenset[int] = frozenset()
    ) -> Float[Tensor, "T B S"]:
        """The sweep of the base class on views that are taken once: half of its time goes there."""
        if self._cell.weight_hr is not None:
            return super().adjoint(direct, blocked)
        total = torch.empty_like(direct, memory_format=torch.contiguous_format)
        total[-1:] = direct[-1:]
        h, c = (part.unbind(0) for part in self._cell.split(total))
        direct_h, direct_c = (part.unbind(0) for part in self._cell.split(direct))
        through_cell = c[0].new_empty(c[0].shape) if c else total
        gates = through_cell.new_empty(len(through_cell), 4, self._cell.cell_size)
        written_gates, output_gate, preactivation = gates[:, :3], gates[:, 3], gates.flatten(1)
        for t in range(len(direct) - 1, 0, -1):
            if t in blocked:
                total[t - 1] = direct[t - 1]
                continue
            written, output, readout, forget = self._by_step[t]
            torch.addcmul(c[t], h[t], readout, out=through_cell)
            torch.mul(through_cell.unsqueeze(1), written, out=written_gates)
            torch.mul(h[t], output, out=output_gate)
            torch.addmm(direct_h[t - 1], preactivation, self._cell.weight_hh, out=h[t - 1])
            torch.addcmul(direct_c[t - 1], through_cell, forget, out=c[t - 1])
        return total

    def vjp(
        self,
        t: int,
        rows: Float[Tensor, "... B S"],
        plus: Float[Tensor, "... B S"] | None = None,
        out: Float[Tensor, "... B S"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        if out is None:
            out = torch.empty_like(rows, memory_format=torch.contiguous_format)
        width = self._cell.output_size
        through_cell, preactivation = self._pull_back(rows, *self._by_step[t][:3])
        h, c = out[..., :width], out[..., width:]
        h.copy_(linear(preactivation, self._recurrent).view(h.shape))
        torch.mul(through_cell, self._by_step[t][3], out=c)
        return out if plus is None else out.add_(plus)

    def vjp_every(self, rows: Float[Tensor, "T B S"]) -> Float[Tensor, "T B S"]:
        parts = self._written, self._output, self._readout
        through_cell, preactivation = self._pull_back(rows, *parts)
        width = self._cell.output_size
        h = linear(preactivation, self._recurrent).view(*rows.shape[:-1], width)
        return torch.cat([h, through_cell * self._forget], -1)

    def stages(self, t: int, rows: Float[Tensor, "... B S"]) -> dict[str, Tensor]:
        written, output, readout, forget = self._by_step[t]
        h, c = self._cell.split(rows)
        found = {}
        if self._cell.weight_hr is not None:
            h = h @ self._cell.weight_hr
            found["projection"] = torch.cat([h, c], -1)
        through_cell = torch.addcmul(c, h, readout)
        found["read-out"] = torch.cat([h, through_cell], -1)
        gates = through_cell.unsqueeze(-2) * written
        preactivation = torch.cat([gates.flatten(-2), h * output], -1)
        kept = through_cell * forget
        found["gates"] = torch.cat([preactivation, kept], -1)
        found["recurrent matrix"] = torch.cat([linear(preactivation, self._recurrent), kept], -1)
        return found

    def paths(
        self, t: int, rows: Float[Tensor, "... B S"], back: Float[Tensor, "... B S"]
    ) -> dict[str, Float[Tensor, "... B S"]]:
        h, c = self._cell.split(back)  # each path ends in a part of its own
        carousel = torch.cat([torch.zeros_like(h), c], -1)
        return {"carousel": carousel, "gates": back - carousel}

    def _pull_back(
        self, rows: Tensor, written: Tensor, output: Tensor, readout: Tensor
    ) -> tuple[Tensor, Tensor]:
        """δc' (… B H) and the pre-activation adjoint δa (N 4H) of the adjoint ``rows``."""
        h, c = self._cell.split(rows)
        if self._cell.weight_hr is not None:
            h = h @ self._cell.weight_hr
        through_cell = torch.addcmul(c, h, readout)
        gates = torch.empty(*c.shape[:-1], 4, c.shape[-1], dtype=c.dtype, device=c.device)
        torch.mul(through_cell.unsqueeze(-2), written, out=gates[..., :3, :])
        torch.mul(h, output, out=gates[..., 3, :])
        return through_cell, gates.view(-1, 4 * c.shape[-1])

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        written, output, readout, forget = self._by_step[t]
        h, c = self._cell.split(columns)
        gates = linear(h, self._cell.weight_hh)
        if x is not None:
            gates = gates + linear(x, self._cell.weight_ih)
        gates = gates.unflatten(-1, (4, -1))
        c = c * forget + (gates[..., :3, :] * written).sum(-2)
        h = c * readout + gates[..., 3, :] * output
        return torch.cat([h if self._cell.weight_hr is None else h @ self._cell.weight_hr.T, c], -1)

    def input_vjp(self, t: int, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B I"]:
        _, preactivation = self._pull_back(rows, *self._by_step[t][:3])
        return (preactivation @ self._cell.weight_ih).view(
            *rows.shape[:-1], self._cell.weight_ih.shape[1]
        )

    def recurrent_weight_gradient(self, rows: Float[Tensor, "T B S"]) -> Tensor | None:
        _, preactivation = self._pull_back(rows, self._written, self._output, self._readout)
        return preactivation.T @ flat(self._h)
