"""The small models that numbers are planted in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import throughtime as tt

T, B, I, H = 10, 3, 4, 5
STEP, SAMPLE = 6, 1

FUSED: dict[str, Callable[..., nn.RNNBase]] = {
    "RNN": nn.RNN,
    "RNN relu": lambda *sizes, **more: nn.RNN(*sizes, nonlinearity="relu", **more),
    "LSTM": nn.LSTM,
    "GRU": nn.GRU,
}
CELLS: dict[str, Callable[[int, int], nn.RNNCellBase]] = {
    "RNNCell": nn.RNNCell,
    "LSTMCell": nn.LSTMCell,
    "GRUCell": nn.GRUCell,
}


def put(tensor: Tensor, index: Any, value: float = float("nan")) -> None:
    """Write one number into a tensor or a parameter."""
    with torch.no_grad():
        tensor[index] = value


def data(dtype: torch.dtype = torch.float32, *, batch_first: bool = False) -> Tensor:
    """Input of ``T`` steps."""
    x = torch.randn(T, B, I).to(dtype)
    return x.transpose(0, 1).contiguous() if batch_first else x


class Reader(nn.Module):
    """A front, a fused layer, a head; the front and the head may be anything."""

    def __init__(
        self,
        rnn: nn.Module,
        front: Callable[[Tensor], Tensor] | None = None,
        head: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.front, self.rnn, self.head = front, rnn, head

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        """The output of the layer, through the head."""
        x = x if self.front is None else self.front(x)
        output: Tensor = self.rnn(x, state)[0]
        return output if self.head is None else self.head(output)


class Packed(nn.Module):
    """A layer that reads a padded batch as a packed one."""

    def __init__(self, rnn: nn.RNNBase, lengths: list[int]) -> None:
        super().__init__()
        self.rnn, self.lengths = rnn, lengths

    def forward(self, x: Tensor) -> Tensor:
        """The padded output."""
        packed = pack_padded_sequence(x, torch.tensor(self.lengths), enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0])[0]


class Loop(nn.Module):
    """A cell in a loop; ``between`` sees the state after every step, ``before`` the input."""

    def __init__(
        self,
        cell: nn.RNNCellBase,
        between: Callable[[int, Tensor], Tensor] | None = None,
        *,
        before: Callable[[int, Tensor], Tensor] | None = None,
        mark: bool = False,
    ) -> None:
        super().__init__()
        self.cell, self.between, self.before, self.mark = cell, between, before, mark

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        """All states h."""
        pair = isinstance(self.cell, nn.LSTMCell)
        if state is None:
            zero = x.new_zeros(x.shape[1], self.cell.hidden_size)
            state = (zero, zero) if pair else zero
        states = []
        for t, step in enumerate(x):
            read = step if self.before is None else self.before(t, step)
            state = self.cell(read, state)
            if self.between is not None:
                h = self.between(t, state[0] if pair else state)
                state = (h, state[1]) if pair else h
            if self.mark:
                tt.mark(state, "state")
            states.append(state[0] if pair else state)
        return torch.stack(states)


class Feedback(nn.Module):
    """Two cells, each of which reads what the other wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.upper, self.lower = nn.GRUCell(H, H), nn.GRUCell(I + H, H)

    def forward(self, x: Tensor) -> Tensor:
        """The states of the upper cell."""
        upper = lower = x.new_zeros(x.shape[1], H)
        states = []
        for step in x:
            lower = self.lower(torch.cat([step, upper], -1), lower)
            upper = self.upper(lower, upper)
            states.append(upper)
        return torch.stack(states)


class Marked(nn.Module):
    """A recurrence of its own: ``h' = tanh(W h + V x)``, then ``after``; marked once a step."""

    def __init__(
        self,
        after: Callable[[int, Tensor], Tensor] | None = None,
        squash: Callable[[Tensor], Tensor] = torch.tanh,
    ) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(H, H) / H**0.5)
        self.inner = nn.Linear(I, H)
        self.after, self.squash = after, squash

    def forward(self, x: Tensor) -> Tensor:
        """All states."""
        h = x.new_zeros(x.shape[1], H)
        states = []
        for t, step in enumerate(x):
            h = self.squash(h @ self.w + self.inner(step))
            h = h if self.after is None else self.after(t, h)
            tt.mark(h, "mine")
            states.append(h)
        return torch.stack(states)
