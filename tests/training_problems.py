"""Small problems for tests of training: each holds a kind of state that a resume may lose."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, Adam

from throughtime.problem import Criterion, Problem, seeded

Pair = tuple[Tensor, Tensor]


class Reader(nn.Module):
    """A recurrent layer and a linear read-out of every step."""

    def __init__(self, recurrent: nn.Module, *before: nn.Module) -> None:
        super().__init__()
        self.before = nn.Sequential(*before)
        self.recurrent = recurrent
        self.readout = nn.Linear(8, 1)

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        states, state = self.recurrent(self.before(x), state)
        return self.readout(states).squeeze(-1), state

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)[0]


class Counting(nn.Module):
    """Adds what a buffer counts; the buffer is left out of ``state_dict``."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.count += 1
        return x + self.count.sin()


class Stateful(nn.Module):
    """Carries a state from batch to batch by itself, and counts them, in plain attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.state: Tensor | None = None
        self.seen, self.history = 0, [0.0]

    def forward(self, x: Tensor) -> Tensor:
        self.state = torch.tanh(x.mean((0, 1)) + (0 if self.state is None else self.state))
        self.seen += 1
        self.history.append(float(x[0, 0, 0]))
        return x + self.state + self.seen / 10 + sum(self.history) / 100


class Rebinding(nn.Module):
    """The same in a buffer: another tensor in its place every time."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.state = torch.tanh(x.mean((0, 1)) + self.state)
        return x + self.state


def running_sum(
    *before: nn.Module, layers: int = 1, dropout: float = 0.0, seed: int = 0
) -> Problem:
    """Say at every step the running mean of what was read: batches (T B I), (T B)."""
    with seeded(seed):
        model = Reader(nn.LSTM(3, 8, layers, dropout=dropout), *before)

    def batches(seed: int) -> Iterator[Pair]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield labelled(torch.randn(12, 6, 3, generator=generator))

    return Problem(
        "running sum",
        model,
        batches,
        loss,
        span=11,
        evaluate=evaluate,
        optimizer=partial(Adam, lr=0.01),
        trivial_loss=1.0,
        solved=Criterion("loss", "below", 0.05),
        windows=windows,
        carry=carry,
    )


def labelled(x: Tensor) -> Pair:
    return x, x.sum(-1).cumsum(0) / 4


def loss(model: nn.Module, batch: Pair) -> Tensor:
    x, y = batch
    return (model(x) - y).square().mean()


def evaluate(model: nn.Module) -> dict[str, float]:
    """Draws from the global generators and leaves the model in another mode: both are allowed."""
    random.random()
    with torch.no_grad():
        model.eval()
        return {"loss": float(loss(model, labelled(torch.randn(12, 20, 3))))}


def windows(batch: Pair, length: int) -> Iterable[Pair]:
    return zip(batch[0].split(length), batch[1].split(length), strict=True)


def carry(model: Reader, window: Pair, state: Any) -> tuple[Tensor, Any]:
    scores, state = model.run(window[0], state)
    return (scores - window[1]).square().mean(), state


def drawing(draw: Callable[[], Tensor]) -> Problem:
    """Batches from a generator that the whole process shares, as a user's file may have them."""

    def batches(_seed: int) -> Iterator[Pair]:
        while True:
            yield labelled(draw())

    return replace(running_sum(nn.Dropout(0.2)), batches=batches)


class Deck:
    """Batches that know where they are."""

    def __init__(self, seed: int) -> None:
        self._seed, self.position, self.drawn = seed, 0, 0

    def __iter__(self) -> Deck:
        return self

    def __next__(self) -> Pair:
        self.position += 1
        self.drawn += 1
        generator = torch.Generator().manual_seed(1000 * self._seed + self.position)
        return labelled(torch.randn(12, 6, 3, generator=generator))

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


class Remembering:
    """Whatever changes gradients from update to update by what it counts."""

    def __init__(self) -> None:
        self.count = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


class Tightening(Remembering):
    """Clips shorter and shorter."""

    def __call__(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        self.count += 1
        return clip_grad_norm_(parameters, 1 / self.count)


class Growing(Remembering):
    """Weighs the loss more and more."""

    def __call__(self, _: nn.Module, make_loss: Callable[[], Tensor]) -> Tensor:
        self.count += 1
        loss = make_loss()
        (self.count * loss).backward()
        return loss


def tied() -> Problem:
    problem = running_sum()
    problem.model.twin = problem.model.readout
    return problem


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "Adam": running_sum,
    "momentum": lambda: replace(running_sum(), optimizer=partial(SGD, lr=0.01, momentum=0.9)),
    "dropout": lambda: running_sum(nn.Dropout(0.3), layers=2, dropout=0.3),
    "state over batches": lambda: replace(running_sum(), windows=None),
    "unsaved buffer": lambda: running_sum(Counting()),
    "plain attributes": lambda: running_sum(Stateful()),
    "another buffer each time": lambda: running_sum(Rebinding()),
    "tied weights": tied,
    "drawn by torch": lambda: drawing(lambda: torch.randn(12, 6, 3)),
    "drawn by Python": lambda: drawing(
        lambda: torch.tensor([random.gauss(0, 1) for _ in range(216)]).view(12, 6, 3)
    ),
    "drawn by numpy": lambda: drawing(
        lambda: torch.from_numpy(np.random.standard_normal((12, 6, 3))).float()  # noqa: NPY002  — users draw so
    ),
    "batches with a state": lambda: replace(running_sum(), batches=Deck),
    "a clipper with a memory": lambda: replace(running_sum(), clip=Tightening()),
    "a backward pass with a memory": lambda: replace(running_sum(), backward=Growing()),
}
