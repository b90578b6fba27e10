"""What makes a training sick: one disease each, put into its weights or into how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Generator, Tensor, nn
from torch.optim import SGD

from throughtime.problem import Problem
from throughtime.remedies import forget_bias_, identity_
from throughtime.remedies.weights import recurrent_weights

Inflict = Callable[[Problem, float, Generator], Problem]

CANDIDATES = ("a", "g", "n", "c")
"""The gate, by cell, that squashes what is written: of nn.RNN, LSTM, GRU and JANET."""


@dataclass(frozen=True)
class Ailment:
    """One way to make a training sick.

    Attributes:
        disease: what a diagnosis calls it (``throughtime.diagnosis.rules``).
        sentence: what is done, where ``{severity:g}`` is how much.
        inflict: ``inflict(problem, severity, generator)`` changes the model in place, and gives
            the problem.
        severities: the least and the most that the suite draws.
    """

    disease: str
    sentence: str
    inflict: Inflict
    severities: tuple[float, float] = (1.0, 1.0)


def on_layer(change: Callable[[nn.Module, float, Generator], object]) -> Inflict:
    """A change of the recurrent layer alone."""

    @torch.no_grad()
    def inflict(problem: Problem, severity: float, draw: Generator) -> Problem:
        change(problem.model.get_submodule("recurrent"), severity, draw)
        return problem

    return inflict


def matrix(make: Callable[[int, float, Generator], Tensor]) -> Inflict:
    """The candidate's recurrent matrix becomes ``make(H, severity, generator)``."""

    def change(layer: nn.Module, severity: float, draw: Generator) -> None:
        for weights in recurrent_weights(layer):
            blocks = weights.recurrent_blocks
            gate = next(gate for gate in CANDIDATES if gate in blocks)
            blocks[gate].copy_(make(len(blocks[gate]), severity, draw))

    return on_layer(change)


def gaussian(size: int, gain: float, draw: Generator) -> Tensor:
    """Independent entries of variance gain²/H: a spectral radius near ``gain``."""
    return gain / size**0.5 * torch.randn(size, size, generator=draw)


def orthogonal(size: int, scale: float, draw: Generator) -> Tensor:
    return scale * torch.linalg.qr(torch.randn(size, size, generator=draw))[0]


def relayed(size: int, strength: float, _draw: Generator) -> Tensor:
    """Each unit reads 0.7 of itself, and one half the other: far from normal, growth, then decay.

    At lag k the gain is near ``strength · k · 0.7^(k − 1)``.
    """
    half = size // 2
    matrix = 0.7 * torch.eye(size)
    matrix[half:, :half] += strength * torch.eye(size)[: size - half, :half]
    return matrix


def times(what: str) -> Inflict:
    """The recurrent, or the input weights, of all gates, times the severity."""

    def change(layer: nn.Module, severity: float, _draw: Generator) -> None:
        for weights in recurrent_weights(layer):
            getattr(weights, what).mul_(severity)

    return on_layer(change)


def stuck(layer: nn.Module, severity: float, draw: Generator) -> None:
    """A bias of ± severity in every unit of the candidate: tanh stands at its flat ends."""
    for weights in recurrent_weights(layer):
        gate = next(gate for gate in CANDIDATES if gate in weights.gates)
        signs = torch.randint(2, (len(weights.blocks(weights.biases[0])[gate]),), generator=draw)
        weights.set_bias(gate, severity * (2.0 * signs - 1.0))


@torch.no_grad()
def one_direction(problem: Problem, scale: float, draw: Generator) -> Problem:
    """``scale · u uᵀ`` with a unit vector u is all that survives a step; inputs are small."""
    for weights in recurrent_weights(problem.model.get_submodule("recurrent")):
        for block in weights.recurrent_blocks.values():
            u = torch.randn(len(block), generator=draw)
            block.copy_(scale * torch.outer(u, u) / u.square().sum())
        weights.weight_ih.mul_(0.2)
        for bias in weights.biases:
            bias.zero_()
    return problem


def windowed(problem: Problem, share: float, _draw: Generator) -> Problem:
    """Truncated backpropagation in windows of a share of the span."""
    return replace(problem, window=max(2, round(share * problem.span)))


def unclipped(problem: Problem, gain: float, draw: Generator) -> Problem:
    """A ReLU network of ``gain · I``, trained by plain gradient descent without clipping."""
    identity_(problem.model.get_submodule("recurrent"), gain, input_std=0.1, generator=draw)
    return replace(problem, clip=None, optimizer=partial(SGD, lr=0.1, momentum=0.9))


def untouched(problem: Problem, _severity: float, _draw: Generator) -> Problem:
    return problem


AILMENTS: dict[str, Ailment] = {
    "beyond its reach": Ailment(
        "vanishing", "as torch initialises it, at a length that it does not reach", untouched
    ),
    "small recurrent weights": Ailment(
        "vanishing", "recurrent weights times {severity:g}", times("weight_hh"), (0.1, 0.6)
    ),
    "short orthogonal": Ailment(
        "vanishing", "{severity:g} times an orthogonal matrix", matrix(orthogonal), (0.3, 0.8)
    ),
    "gates closed": Ailment(
        "gates closed",
        "bias of the gates that keep the state {severity:g}",
        on_layer(lambda layer, value, _draw: forget_bias_(layer, value)),
        (-5.0, -2.0),
    ),
    "large recurrent weights": Ailment(
        "saturated",
        "{severity:g} times the identity",
        matrix(lambda size, scale, _: scale * torch.eye(size)),
        (4.0, 8.0),
    ),
    "large inputs": Ailment(
        "saturated", "input weights times {severity:g}", times("weight_ih"), (30.0, 80.0)
    ),
    "stuck candidates": Ailment(
        "saturated", "biases of the candidate ± {severity:g}", on_layer(stuck), (3.0, 6.0)
    ),
    "large gain": Ailment(
        "exploding", "{severity:g} times an orthogonal matrix", matrix(orthogonal), (2.3, 3.0)
    ),
    "large identity": Ailment(
        "exploding",
        "{severity:g} times the identity",
        matrix(lambda size, scale, _: scale * torch.eye(size)),
        (1.6, 2.2),
    ),
    "unclipped": Ailment(
        "exploding",
        "{severity:g} times the identity, gradient descent without clipping",
        unclipped,
        (1.15, 1.3),
    ),
    "chaotic": Ailment(
        "chaotic", "Gaussian recurrent weights of gain {severity:g}", matrix(gaussian), (2.5, 5.0)
    ),
    "relayed": Ailment(
        "transient growth",
        "each unit reads 0.7 of itself, and every second one {severity:g} of another",
        matrix(relayed),
        (25.0, 60.0),
    ),
    "short windows": Ailment(
        "truncated",
        "truncated backpropagation in windows of {severity:.0%} of the span",
        windowed,
        (0.1, 0.3),
    ),
    "one direction": Ailment(
        "bottleneck",
        "{severity:g} times a matrix of rank one, input weights times 0.2",
        one_direction,
        (0.97, 1.03),
    ),
}
