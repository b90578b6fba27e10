"""torch's own cells, one above the other, as one step on the joint state; and their gates, by hand.

The joint state holds all layers, lowest first; of an LSTM h, then c. Nothing of throughtime.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.diseases.networks import Reader
from benchmarks.verdicts.truth import cell_in_float64


class Cell:
    """One layer. ``state`` and ``x`` may have any leading axes where gates are asked for."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        self.cell, self.hidden = cell, cell.hidden_size
        self.joint, self.gated = isinstance(cell, nn.LSTMCell), not isinstance(cell, nn.RNNCell)
        self.size = self.hidden * (2 if self.joint else 1)

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        if self.joint:
            return torch.cat(self.cell(x, state.chunk(2, -1)), -1)
        return self.cell(x, state)

    def slope(self, state: Tensor, x: Tensor) -> Tensor:
        """Of the squashing of the candidate: tanh' or relu'."""
        read, own = self._sums(state, x)
        if self.joint:
            candidate = (read + own).chunk(4, -1)[2]
        elif self.gated:
            (r, _, n), (own_r, _, own_n) = read.chunk(3, -1), own.chunk(3, -1)
            candidate = n + (r + own_r).sigmoid() * own_n
        elif self.cell.nonlinearity == "relu":
            return (read + own > 0).to(x.dtype)
        else:
            candidate = read + own
        return 1 - candidate.tanh().square()

    def carried_step(self, state: Tensor, x: Tensor, at: tuple[Tensor, Tensor]) -> Tensor:
        """``step``, but for its derivative at the state and input ``at``: the carrying gate is 1.

        The carrying gate is the LSTM's forget and the GRU's update gate, where it multiplies the
        state; all its other ways into the step are as they are.
        """
        read, own = self._sums(*at)
        if not self.joint:
            missing = 1 - (read + own).chunk(3, -1)[1].sigmoid()
            return self.cell(x, state) + missing * (state - at[0])
        missing = 1 - (read + own).chunk(4, -1)[1].sigmoid()
        c_before, c_at = state.chunk(2, -1)[1], at[0].chunk(2, -1)[1]
        c = self.cell(x, state.chunk(2, -1))[1] + missing * (c_before - c_at)
        read, own = self._sums(state, x)
        return torch.cat([(read + own).chunk(4, -1)[3].sigmoid() * c.tanh(), c], -1)

    def _sums(self, state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """What enters all gates from the input, and from the own past."""
        read = x @ self.cell.weight_ih.T + self.cell.bias_ih
        return read, state[..., : self.hidden] @ self.cell.weight_hh.T + self.cell.bias_hh


class Stack:
    """All layers, one after another: each reads the output of the one below at the same step."""

    def __init__(self, model: Reader, dtype: torch.dtype = torch.float64) -> None:
        layers = range(model.rnn.num_layers)
        self.cells = [Cell(cell_in_float64(model.rnn, layer).to(dtype)) for layer in layers]
        self.size = sum(cell.size for cell in self.cells)
        self.gated = self.cells[0].gated

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        after = []
        for cell, own in zip(self.cells, self.split(state), strict=True):
            after.append(cell.step(own, x))
            x = after[-1][..., : cell.hidden]
        return torch.cat(after, -1)

    def carried_step(self, state: Tensor, x: Tensor, at: Tensor) -> Tensor:
        """``step``, but for its derivative at the state ``at``: every carrying gate is 1."""
        after, x_at = [], x
        for cell, own, own_at in zip(self.cells, self.split(state), self.split(at), strict=True):
            after.append(cell.carried_step(own, x, (own_at, x_at)))
            x, x_at = after[-1][..., : cell.hidden], cell.step(own_at, x_at)[..., : cell.hidden]
        return torch.cat(after, -1)

    def slopes(self, before: Tensor, after: Tensor, xs: Tensor) -> Tensor:
        """Of the candidates of all layers, side by side (T B H), from the states (T B S)."""
        slopes = []
        for cell, own, output in zip(
            self.cells, self.split(before), self.split(after), strict=True
        ):
            slopes.append(cell.slope(own, xs))
            xs = output[..., : cell.hidden]
        return torch.cat(slopes, -1)

    def output(self, states: Tensor) -> Tensor:
        """h of the top layer, which the read-out reads."""
        return self.split(states)[-1][..., : self.cells[-1].hidden]

    def split(self, state: Tensor) -> tuple[Tensor, ...]:
        return state.split([cell.size for cell in self.cells], -1)
