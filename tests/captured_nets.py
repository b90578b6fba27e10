"""Networks of torch's layers and cells to capture, and what they read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from cases import B, H, I, T, fill, normal, weighed
from reference import Chains, assert_captured
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from throughtime.trace import Trace

LAYERS = {"tanh": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
CELLS = {"tanh": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}
State = Tensor | tuple[Tensor, ...] | None


class Net(nn.Module):
    """A stacked layer and a read-out of its last step."""

    def __init__(self, kind: str, **settings: object) -> None:
        super().__init__()
        self.layer, self.read = LAYERS[kind](I, H, num_layers=2, **settings), nn.Linear(H, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.layer(x)[0][-1])


def build(kind: str, **settings: object) -> Net:
    return fill(Net(kind, **settings).double(), scale=1.5)


def step(model: nn.Module) -> None:
    weighed(model(normal(T, B, I)), 3).backward()


def check(
    make: Callable[[], nn.Module],
    loss: Callable[[nn.Module], object] = step,
    plain: Callable[[nn.Module], object] | None = None,
    chains: Chains | None = None,
) -> Trace:
    return assert_captured(make, loss, chains, plain)


def each_kind(request: pytest.FixtureRequest) -> str:
    """One of the names of ``LAYERS``, as a fixture of these parameters."""
    return request.param


def float32(*shape: int) -> Tensor:
    return normal(*shape, dtype=torch.float32)


def first(state: Tensor | tuple[Tensor, ...]) -> Tensor:
    return state if isinstance(state, Tensor) else state[0]


class Encoder(nn.Module):
    """A layer by the name of ``rnn``, and a read-out."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn, self.read = rnn, nn.Linear(H, 1)

    def forward(self, x: Tensor | PackedSequence) -> Tensor:
        out, _ = self.rnn(x)
        return self.read(out.data if isinstance(out, PackedSequence) else out).sum()


def packed(lengths: list[int], steps: int = T) -> PackedSequence:
    x = float32(steps, len(lengths), I)
    return pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
