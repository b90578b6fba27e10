"""Problems for tests of prescriptions: what ails each is known; and prescriptions of some."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime.cells import make_cell
from throughtime.prescription import Prescription, prescribe, treated
from throughtime.problem import Problem, seeded

T, B, I, H = 20, 4, 3, 8
SPAN = T - 1
quick = partial(prescribe, updates=3, remedies=["chrono", "orthogonal"])


class Reader(nn.Module):
    """A recurrent layer behind dropout and a buffer that counts; reads out the last state."""

    def __init__(self, cell: str, **settings: Any) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"rnn": make_cell(cell, I, H, **settings)})
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(H, 1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        return self.head(self.encoder["rnn"](self.drop(x))[0][-1]).squeeze(-1)


class ByHand(nn.Module):
    """A recurrence by hand, whose states are marked: with a buffer, and matrices of its own."""

    def __init__(self, *, square_head: bool = False) -> None:
        super().__init__()
        self.read, self.recur = nn.Linear(I, H), nn.Linear(H, H)
        self.head = nn.Linear(H, H if square_head else 1)
        self.register_buffer("scale", torch.ones(H))

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[1], H)
        for step in x:
            state = torch.tanh(self.read(step) + self.recur(state)) * self.scale
            tt.mark(state, "own")
        return self.head(state)[:, 0]


def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        x = torch.randn(T, B, I, generator=generator)
        yield x, x[0, :, 0]


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return (model(batch[0]) - batch[1]).square().mean()


def reading(cell: str, seed: int = 0, **more: Any) -> Problem:
    """Say at the end what was read first."""
    with seeded(seed):
        model = Reader(cell)
    return Problem("reading", model, batches, loss, SPAN, **more)


def scaled(problem: Problem, factor: float) -> Problem:
    """The same with recurrent weights so many times larger."""
    with torch.no_grad():
        for name, weight in problem.model.named_parameters():
            if "weight_hh" in name:
                weight.mul_(factor)
    return problem


def lived_in(problem: Problem) -> Problem:
    """With gradients, a hook, a module in eval mode and a frozen weight: a model in use."""
    problem.closure().backward()
    problem.model.register_forward_hook(_nothing)
    problem.model.get_submodule("drop").eval()
    problem.model.get_parameter("head.bias").requires_grad_(False)
    return problem


def _nothing(*_: object) -> None:
    return None


def state_of(problem: Problem) -> dict[str, Any]:
    """All about a problem's model, and about the random states, that must not change."""
    model = problem.model
    return {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "memory": [value.data_ptr() for value in model.state_dict().values()],
        "gradients": {
            name: None if value.grad is None else (value.grad.data_ptr(), value.grad.clone())
            for name, value in model.named_parameters()
        },
        "trainable": [value.requires_grad for value in model.parameters()],
        "modes": {name: module.training for name, module in model.named_modules()},
        "types": {name: type(module) for name, module in model.named_modules()},
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "hooks": {
            name: [len(value) for key, value in vars(module).items() if key.endswith("_hooks")]
            for name, module in model.named_modules()
        },
        "torch": torch.get_rng_state(),
        "numpy": copy.deepcopy(np.random.get_state(legacy=False)),  # noqa: NPY002  — left alone
        "python": random.getstate(),
    }


def exploding() -> Problem:
    return scaled(reading("relu-rnn", clip=None), 4.0)


@cache
def of_an_lstm() -> Prescription:
    return quick(reading("lstm"))


@cache
def of_an_exploding_network() -> Prescription:
    return prescribe(exploding(), updates=3, remedies=["clip", "gru+chrono+clip", "agc"])


@cache
def of_a_healthy_network() -> Prescription:
    return prescribe(treated(reading("lstm"), "chrono", SPAN))


@cache
def of_a_broken_network() -> Prescription:
    broken = scaled(reading("relu-rnn", clip=None), 1e6)
    return prescribe(broken, updates=3, remedies=["clip", "chrono", "gru+chrono"])
