"""The eight networks, healthy and not, and the two placements of the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from throughtime.problem import seeded

STEPS, BATCH, INPUTS, HIDDEN = 100, 8, 8, 32
PLACEMENTS = ("last", "all")

Change = Callable[[nn.RNNBase, torch.Generator], None]


class Regressor(nn.Module):
    """A recurrence and a linear read-out, one number at each step."""

    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.rnn = rnn
        self.head = nn.Linear(rnn.hidden_size, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.rnn(inputs)[0]).squeeze(-1)


@dataclass(frozen=True)
class Network:
    """One row of the table: a layer as torch makes it, what is then done to it, and its input."""

    name: str
    make: Callable[[], nn.RNNBase]
    change: Change | None = None
    input_scale: float = 1.0

    def build(self, seed: int) -> tuple[Regressor, Tensor, Tensor]:
        """The model, its inputs (T B I) and its targets (T B): standard normal, times the scale."""
        generator = torch.Generator().manual_seed(seed)
        with seeded(seed):
            model = Regressor(self.make())
        if self.change is not None:
            with torch.no_grad():
                self.change(model.rnn, generator)
        inputs = self.input_scale * torch.randn(STEPS, BATCH, INPUTS, generator=generator)
        return model, inputs, torch.randn(STEPS, BATCH, generator=generator)


def loss(model: Regressor, inputs: Tensor, targets: Tensor, placement: str) -> Tensor:
    """The mean squared error, at the last step alone or over all steps."""
    errors = (model(inputs) - targets).square()
    return errors[-1].mean() if placement == "last" else errors.mean()


def _radius(rnn: nn.RNNBase, generator: torch.Generator) -> None:
    weight = torch.randn(HIDDEN, HIDDEN, generator=generator)
    rnn.weight_hh_l0.copy_(weight * 0.5 / torch.linalg.eigvals(weight).abs().max())


def _scaled_identity(scale: float) -> Change:
    def change(rnn: nn.RNNBase, _generator: torch.Generator) -> None:
        rnn.weight_hh_l0.copy_(scale * torch.eye(HIDDEN))

    return change


def _forget_bias(total: float) -> Change:
    """torch adds two biases: the one gets it all, the other none."""

    def change(rnn: nn.RNNBase, _generator: torch.Generator) -> None:
        rnn.bias_ih_l0[HIDDEN : 2 * HIDDEN] = total
        rnn.bias_hh_l0[HIDDEN : 2 * HIDDEN] = 0.0

    return change


def _orthogonal(rnn: nn.RNNBase, generator: torch.Generator) -> None:
    """No bias: it would drive the units into saturation, whatever the size of the input."""
    nn.init.orthogonal_(rnn.weight_hh_l0, generator=generator)
    rnn.bias_ih_l0.zero_()
    rnn.bias_hh_l0.zero_()


def _rnn(nonlinearity: str = "tanh") -> Callable[[], nn.RNNBase]:
    return lambda: nn.RNN(INPUTS, HIDDEN, nonlinearity=nonlinearity)


def _lstm() -> nn.RNNBase:
    return nn.LSTM(INPUTS, HIDDEN)


def _gru() -> nn.RNNBase:
    return nn.GRU(INPUTS, HIDDEN)


NETWORKS = (
    Network("RNN, spectral radius 0.5", _rnn(), _radius),
    Network("LSTM, forget bias −3", _lstm, _forget_bias(-3.0)),
    Network("RNN, saturated (W = 6 I)", _rnn(), _scaled_identity(6.0)),
    Network("nn.LSTM as torch initialises it", _lstm),
    Network("nn.GRU as torch initialises it", _gru),
    Network("ReLU RNN, W = 1.25 I", _rnn("relu"), _scaled_identity(1.25)),
    Network("LSTM, forget bias +6", _lstm, _forget_bias(6.0)),
    Network("orthogonal RNN, small input", _rnn(), _orthogonal, input_scale=0.02),
)
