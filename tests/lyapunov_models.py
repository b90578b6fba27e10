"""Layers of torch's whose Lyapunov exponents are measured: gains and biases from calm to chaos."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from cases import normal
from torch import nn

T, B, I, H = 100, 2, 4, 12
BURN_IN = 20
MEAN, LOW, HIGH, STATISTICAL, NUMERICAL = range(5)
CELLS = {"RNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}


def gained(kind: str, gain: float) -> nn.RNNBase:
    """W_hh Gaussian, of spectral radius about ``gain`` (per gate); the rest as torch draws it."""
    model = getattr(nn, kind)(I, H).double()
    with torch.no_grad():
        model.weight_hh_l0.copy_(gain * normal(*model.weight_hh_l0.shape, seed=7) / math.sqrt(H))
    return model


def biased(forget: float) -> nn.LSTM:
    model = nn.LSTM(I, H).double()
    with torch.no_grad():
        model.bias_ih_l0[H : 2 * H], model.bias_hh_l0[H : 2 * H] = forget, 0.0
    return model


MODELS: dict[str, Callable[[], nn.RNNBase]] = {
    "RNN": lambda: nn.RNN(I, H).double(),
    "LSTM": lambda: nn.LSTM(I, H).double(),
    "GRU": lambda: nn.GRU(I, H).double(),
    **{f"{kind}, g={g}": lambda kind=kind, g=g: gained(kind, g)
       for kind in CELLS for g in (0.5, 1.0, 1.5, 3.0)},
    "LSTM, forget bias +5": lambda: biased(5.0),
    "LSTM, forget bias -3": lambda: biased(-3.0),
}  # fmt: skip  # rows of a table


def made(name: str) -> nn.RNNBase:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return MODELS[name]()
