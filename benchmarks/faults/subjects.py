"""The small trainings whose directories are damaged."""

import torch
from torch import Tensor, nn

from throughtime.problem import Criterion, Problem, seeded
from throughtime.trials import Setting, make_grid

STEPS, MORE = 12, 16  # updates of a run, and what it is resumed to
SEEDS = 2


class _Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.readout = nn.RNN(1, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.recurrent(x)[0][-1]).squeeze(-1)


def problem(seed: int = 0) -> Problem:
    """The sum of six numbers."""
    with seeded(seed):
        model = _Reader()

    def batches(seed: int):
        generator = torch.Generator().manual_seed(seed)
        while True:
            x = torch.rand(6, 4, 1, generator=generator)
            yield x, x.sum((0, 2))

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return (model(batch[0]) - batch[1]).square().mean()

    def evaluate(model: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            return {"loss": float(loss(model, next(batches(99))))}

    return Problem(
        "sum", model, batches, loss, 5, evaluate, solved=Criterion("loss", "below", 1e-9)
    )


def settings() -> tuple[Setting, ...]:
    """Three settings of a sweep."""
    grid = {
        "task": "adding", "cells": ["rnn"], "remedies": ["none", "clip", "orthogonal"],
        "lengths": [10], "seeds": [0], "steps": STEPS, "hidden": 4, "batch": 4,
        "evaluate_every": STEPS, "measure_every": 0, "checkpoint_every": 5,
    }  # fmt: skip  # rows of a table
    return make_grid(grid).settings
