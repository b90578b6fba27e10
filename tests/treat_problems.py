"""Small problems to be treated: functions that worker processes find under their names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam
from training_problems import running_sum

from throughtime.problem import Criterion, Problem, seeded

SPAN, BATCH = 8, 8
Pair = tuple[Tensor, Tensor]


class Echo(nn.Module):
    """Says at the end what it read first."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.readout = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.layer(x)
        return self.readout(states[-1]).squeeze(-1)


def pairs(seed: int, count: int) -> Pair:
    x = torch.randn(SPAN, count, 2, generator=torch.Generator().manual_seed(seed))
    return x, x[0, :, 0]


def batches(seed: int) -> Iterator[Pair]:
    step = 0
    while True:
        yield pairs(100_000 * (seed + 1) + step, BATCH)
        step += 1


def loss(model: nn.Module, batch: Pair) -> Tensor:
    return (model(batch[0]) - batch[1]).square().mean()


@torch.no_grad()
def evaluate(model: nn.Module) -> dict[str, float]:
    return {"loss": float(loss(model, pairs(0, 64)))}


def echo(seed: int, bound: float | None = None, lr: float = 1e-2) -> Problem:
    """An Elman RNN that must remember; solved below ``bound``."""
    with seeded(seed):
        model = Echo(nn.RNN(2, 8))
    solved = None if bound is None else Criterion("loss", "below", bound)
    return Problem(
        "echo", model, batches, loss, SPAN - 1, evaluate, partial(Adam, lr=lr), 1.0, solved
    )


def unsteady(seed: int) -> Problem:
    """Other weights at every call."""
    problem = echo(seed)
    nn.init.normal_(problem.model.readout.weight)
    return problem


def same_weights(_seed: int) -> Problem:
    return echo(0)


def same_training(_seed: int) -> Problem:
    return replace(echo(0), batches=lambda _seed: batches(0))


def exploding(seed: int) -> Problem:
    """Diverges within a few updates unless its gradient is clipped."""
    with seeded(seed):
        model = Echo(nn.RNN(2, 8, nonlinearity="relu"))
    nn.init.eye_(model.layer.weight_hh_l0).data.mul_(3.0)
    sgd = partial(SGD, lr=1e-3)
    return replace(echo(seed), model=model, clip=None, optimizer=sgd, trivial_loss=None)


def summing(seed: int) -> Problem:
    return running_sum(seed=seed)


def unclipped(seed: int) -> Problem:
    return replace(echo(seed), clip=None)
