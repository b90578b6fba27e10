"""LSTM (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000), on the joint state (h, c).

``c' = f ⊙ c + i ⊙ g``, ``h' = o ⊙ tanh(c')``, with a projection ``h' = W_hr (o ⊙ tanh(c'))`` if
``proj_size`` is set. ``∂c'/∂c = diag(f)`` is the carousel; the other paths of J run through h and
the gates. The adjoint of one step, with ``D = o (1 − tanh² c')``:

    δc' = δc + D ⊙ δh,   δa_i = g i(1−i) δc',   δa_f = c f(1−f) δc',   δa_g = i (1−g²) δc',
    δa_o = tanh(c') o(1−o) δh,   δh_prev = W_hhᵀ δa,   δc_prev = f ⊙ δc'.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recurrences.base import Linearised, Recurrence, flat
from throughtime.recurrences.products import linear


# ``slope(g, y, grad_input=out)`` writes g y (1 − y), respectively g (1 − y²), in one pass.
_sigmoid_slope = torch.ops.aten.sigmoid_backward.grad_input
_tanh_slope = torch.ops.aten.tanh_backward.grad_input


def _tanh(values: Tensor) -> Tensor:
    """tanh of a slice: torch runs it over contiguous memory alone at full speed."""
    return torch.tanh(values.contiguous())


class Gates(NamedTuple):
    """Activations of the gates i f g o, each (T B H)."""

    i: Tensor
    f: Tensor
    g: Tensor
    o: Tensor


class LSTM(Recurrence):
    """The recurrence of ``nn.LSTM`` and ``nn.LSTMCell``; gate order i f g o; S = P + H.

    P is ``proj_size`` if there is one, else H: the state holds h (P) first, then c (H).
    """

    kind: ClassVar[str] = "LSTM"

    def __init__(
        self,
        weight_ih: Float[Tensor, "G I"],
        weight_hh: Float[Tensor, "G P"],
        bias: Float[Tensor, " G"] | None = None,
        weight_hr: Float[Tensor, "P H"] | None = None,
    ) -> None:
        self.weight_ih, self.weight_hh, self.bias, self.weight_hr = (
            weight_ih,
            weight_hh,
            bias,
            weight_hr,
        )
        self.cell_size, self.output_size = len(weight_hh) // 4, weight_hh.shape[1]
        self.state_size = self.output_size + self.cell_size
        self.parts = {
            "h": slice(0, self.output_size),
            "c": slice(self.output_size, self.state_size),
        }

    def step(self, state: Float[Tensor, "B S"], x: Float[Tensor, "B I"]) -> Float[Tensor, "B S"]:
        h, c = self.split(state)
        gates = self._gates(h, x)
        c = gates.f * c + gates.i * gates.g
        h = gates.o * torch.tanh(c)
        return torch.cat([h if self.weight_hr is None else h @ self.weight_hr.T, c], -1)

    def split(self, state: Float[Tensor, "... S"]) -> tuple[Tensor, Tensor]:
        """h and c of a joint state."""
        return state[..., : self.output_size], state[..., self.output_size :]

    def linearise(
        self, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        h, c = self.split(before)
        gates = self._gates(h, inputs)
        return LinearisedLSTM(self, gates, h, c, torch.tanh(gates.f * c + gates.i * gates.g))

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
        written = (gates.i * gates.g).unbind(0)
        for t, (forget, cells) in enumerate(zip(gates.f.unbind(0), c[1:].unbind(0), strict=True)):
            torch.addcmul(written[t], forget, c[t], out=cells)
        return path[1:], LinearisedLSTM(self, gates, h[:-1], c[:-1], _tanh(c[1:]))

    def preactivations(
        self, state: Float[Tensor, "B S"], x: Float[Tensor, "B I"]
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
        return linear(x, self.weight_ih, self.bias).add_(linear(h, self.weight_hh))

    def _gates(self, h: Tensor, x: Tensor) -> Gates:
        i, f, g, o = self._preactivation(h, x).split(self.cell_size, -1)
        return Gates(torch.sigmoid(i), torch.sigmoid(f), _tanh(g), torch.sigmoid(o))


class LinearisedLSTM(Linearised):
    """The adjoint step above and its transpose, for every t."""

    def __init__(self, cell: LSTM, gates: Gates, h: Tensor, c: Tensor, squashed: Tensor) -> None:
        self.steps = len(h)
        self._cell, self._h = cell, h
        self._recurrent = cell.weight_hh.T.contiguous()
        i, f, g, o = gates
        written = c.new_empty(*c.shape[:2], 3, cell.cell_size)
        _sigmoid_slope(g, i, grad_input=written[:, :, 0])
        _sigmoid_slope(c, f, grad_input=written[:, :, 1])
        _tanh_slope(i, g, grad_input=written[:, :, 2])
        self._written = written
        self._output = torch.ops.aten.sigmoid_backward(squashed, o)
        self._readout = torch.ops.aten.tanh_backward(o, squashed)
        self._by_step = list(
            zip(
                written.unbind(0), self._output.unbind(0), self._readout.unbind(0), f.unbind(0),
                strict=True,
            )
        )  # fmt: skip

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
        out = torch.empty_like(rows) if out is None else out
        width = self._cell.output_size
        through_cell, preactivation = self._pull_back(rows, *self._by_step[t][:3])
        h, c = out[..., :width], out[..., width:]
        h.copy_(linear(preactivation, self._recurrent).view(h.shape))
        torch.mul(through_cell, self._by_step[t][3], out=c)
        return out if plus is None else out.add_(plus)

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
        gates = h @ self._cell.weight_hh.T
        if x is not None:
            gates = gates + x @ self._cell.weight_ih.T
        gates = gates.unflatten(-1, (4, -1))
        c = c * forget + (gates[..., :3, :] * written).sum(-2)
        h = c * readout + gates[..., 3, :] * output
        return torch.cat([h if self._cell.weight_hr is None else h @ self._cell.weight_hr.T, c], -1)

    def input_vjp(self, t: int, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B I"]:
        _, preactivation = self._pull_back(rows, *self._by_step[t][:3])
        return (preactivation @ self._cell.weight_ih).view(*rows.shape[:-1], -1)

    def recurrent_weight_gradient(self, rows: Float[Tensor, "T B S"]) -> Tensor | None:
        _, preactivation = self._pull_back(rows, self._written, self._output, self._readout)
        return preactivation.T @ flat(self._h)
