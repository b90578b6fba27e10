"""What is done to a network before it runs: initialisations good and bad, and broken weights.

Every change acts on all layers of the recurrence, in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor, nn

from benchmarks.diseases.networks import Change, Reader

# Where torch puts the rows of each gate.
GATES = {"RNN": ("h",), "LSTM": ("i", "f", "g", "o"), "GRU": ("r", "z", "n")}
CANDIDATE = {"RNN": "h", "LSTM": "g", "GRU": "n"}
CARRY = {"LSTM": "f", "GRU": "z"}


def every(*changes: Change) -> Change:
    """One after another."""

    def change(model: Reader, generator: Generator) -> None:
        for one in changes:
            one(model, generator)

    return change


def recurrent(make: Callable[[int, Generator], Tensor]) -> Change:
    """The candidate's recurrent matrix becomes ``make(H, generator)``; no bias in the candidate."""

    def change(model: Reader, generator: Generator) -> None:
        for weights in _layers(model.rnn):
            block = _block(model.rnn, CANDIDATE[_kind(model.rnn)])
            weights["weight_hh"][block] = make(model.rnn.hidden_size, generator)
            weights["bias_ih"][block] = weights["bias_hh"][block] = 0.0

    return change


def gaussian(gain: float) -> Change:
    """Independent entries of variance gain²/H: a spectral radius near ``gain``."""
    return recurrent(lambda size, g: gain / size**0.5 * torch.randn(size, size, generator=g))


def orthogonal(scale: float = 1.0) -> Change:
    """``scale`` times an orthogonal matrix."""
    return recurrent(
        lambda size, g: scale * torch.linalg.qr(torch.randn(size, size, generator=g))[0]
    )


def identity(scale: float = 1.0) -> Change:
    """``scale`` times the identity; at 1, with ReLU, the IRNN of Le, Jaitly & Hinton 2015."""
    return recurrent(lambda size, _: scale * torch.eye(size))


def chain(strength: float, own: float) -> Change:
    """Each unit reads itself, times ``own``, and its neighbour: far from normal, growth first."""
    return recurrent(
        lambda size, _: own * torch.eye(size) + strength * torch.eye(size).roll(1, 0).tril()
    )


def feedforward(strength: float, own: float) -> Change:
    """One half of the units reads the other half, and each itself: far from normal, depth two."""

    def make(size: int, generator: Generator) -> Tensor:
        matrix, half = own * torch.eye(size), size // 2
        matrix[half:, :half] += strength * torch.linalg.qr(
            torch.randn(size - half, half, generator=generator)
        )[0].reshape(size - half, half)
        return matrix

    return recurrent(make)


def rank_one(gain: float, *, positive: bool = False) -> Change:
    """``gain · u uᵀ`` with a unit vector u: one direction survives, whatever the rest does."""

    def make(size: int, generator: Generator) -> Tensor:
        u = torch.randn(size, generator=generator)
        u = (u.abs() if positive else u) / u.norm()
        return gain * torch.outer(u, u)

    return recurrent(make)


def times(recurrent: float = 1.0, inputs: float = 1.0) -> Change:
    """The weights as torch draws them, times a number."""

    def change(model: Reader, _generator: Generator) -> None:
        for weights in _layers(model.rnn):
            weights["weight_hh"].mul_(recurrent)
            weights["weight_ih"].mul_(inputs)

    return change


def bias(value: float, gate: str | None = None) -> Change:
    """The bias of a gate, by default of the candidate; torch adds two: one gets it all."""

    def change(model: Reader, _generator: Generator) -> None:
        block = _block(model.rnn, gate or CANDIDATE[_kind(model.rnn)])
        for weights in _layers(model.rnn):
            weights["bias_ih"][block], weights["bias_hh"][block] = value, 0.0

    return change


def carry_bias(value: float) -> Change:
    """The bias of the gate that carries the state on: LSTM's forget, GRU's update gate."""

    def change(model: Reader, generator: Generator) -> None:
        bias(value, CARRY[_kind(model.rnn)])(model, generator)

    return change


def chrono(longest: int) -> Change:
    """Forget biases ``log U(1, longest − 1)``, input biases opposite (Tallec & Ollivier 2018)."""

    def change(model: Reader, generator: Generator) -> None:
        carry_bias(0.0)(model, generator)
        for weights in _layers(model.rnn):
            drawn = 1 + (longest - 2) * torch.rand(model.rnn.hidden_size, generator=generator)
            weights["bias_ih"][_block(model.rnn, CARRY[_kind(model.rnn)])] = drawn.log()
            if _kind(model.rnn) == "LSTM":
                weights["bias_ih"][_block(model.rnn, "i")] = -drawn.log()
                weights["bias_hh"][_block(model.rnn, "i")] = 0.0

    return change


def open_gates(count: int, closed: float = -2.0, opened: float = 7.0) -> Change:
    """The carrying gates of ``count`` units stand open, all others are closed."""

    def change(model: Reader, generator: Generator) -> None:
        carry_bias(closed)(model, generator)
        for weights in _layers(model.rnn):
            start = _block(model.rnn, CARRY[_kind(model.rnn)]).start
            weights["bias_ih"][start : start + count] = opened

    return change


def entry(name: str, value: float) -> Change:
    """One number of a parameter of the first layer, NaN or infinite say."""

    def change(model: Reader, _generator: Generator) -> None:
        model.rnn.get_parameter(f"{name}_l0").flatten()[3] = value

    return change


def _layers(rnn: nn.RNNBase) -> Iterator[dict[str, Tensor]]:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    for layer in range(rnn.num_layers):
        yield {name: rnn.get_parameter(f"{name}_l{layer}") for name in names}


def _block(rnn: nn.RNNBase, gate: str) -> slice:
    place, size = GATES[_kind(rnn)].index(gate), rnn.hidden_size
    return slice(place * size, (place + 1) * size)


def _kind(rnn: nn.RNNBase) -> str:
    return type(rnn).__name__
