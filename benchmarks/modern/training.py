"""One cell of the table: an architecture and a seed, before and after training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from benchmarks.modern.measuring import measured
from benchmarks.modern.mixers.mixer import STEPS, Mixer
from benchmarks.modern.network import built, sizes
from benchmarks.modern.task import DISTANCES, TOKENS, TRIVIAL, Batch, accuracy, batch, losses
from throughtime.problem import Problem
from throughtime.training import train

RATE, CLIP, BATCH = 3e-3, 1.0, 16
LAG = 40  # of the directions that come back
LEARNED = 0.9  # of the answers, at every distance
_HELD_OUT = 1_000_000  # a seed that no training draws
_JUDGED = 64  # sequences, by their answers


@dataclass(frozen=True)
class Size:
    """How much is trained and measured.

    Attributes:
        updates: of each network.
        judged_every: updates between two looks at the accuracy.
        sequences: that are measured.
        steps: of each sequence.
        distances: between the mark and the questions.
        lag: of the directions.
    """

    updates: int = 300
    judged_every: int = 10
    sequences: int = 8
    steps: int = STEPS
    distances: tuple[int, ...] = DISTANCES
    lag: int = LAG

    def batch(self, sequences: int, seed: int) -> Batch:
        """Sequences of this size."""
        return batch(sequences, seed, self.steps, self.distances)


REAL = Size()
QUICK = Size(20, 10, 2, 32, (4, 16), 8)


def problem(mixer: Mixer, seed: int, size: Size = REAL) -> Problem:
    """Recall, to be trained by any architecture."""

    def batches(first: int) -> Iterator[Batch]:
        draws = torch.Generator().manual_seed(first)
        while True:
            yield size.batch(BATCH, int(torch.randint(2**31, (), generator=draws)))

    def loss(model: nn.Module, one: Batch) -> Tensor:
        return losses(model(one.words), one).mean()

    return Problem(
        "recall",
        built(mixer, TOKENS, seed),
        batches,
        loss,
        max(size.distances),
        optimizer=partial(AdamW, lr=RATE),
        trivial_loss=TRIVIAL,
        clip=CLIP,
    )


def cell(mixer: Mixer, seed: int, size: Size = REAL) -> dict[str, Any]:
    """Measure, train, measure."""
    begun = time.process_time()
    one = problem(mixer, seed, size)
    network: Any = one.model
    seen = size.batch(size.sequences, _HELD_OUT)
    judge = _Judge(network, size)
    untrained = measured(network, seen, size.lag)
    train(one, size.updates, seed=seed + 1, on_step=judge)
    return {
        "architecture": mixer.name,
        "seed": seed,
        "sizes": sizes(network),
        "untrained": untrained,
        "trained": measured(network, seen, size.lag),
        "accuracy": judge.accuracy,
        "learned at": judge.learned_at,
        "seconds": round(time.process_time() - begun, 1),
    }


class _Judge:
    """Looks at the accuracy on held-out sequences now and then."""

    def __init__(self, network: nn.Module, size: Size) -> None:
        self._network, self._size = network, size
        self._held_out = size.batch(_JUDGED, _HELD_OUT + 1)
        self.learned_at: int | None = None
        self.accuracy: list[float] = []

    @torch.no_grad()
    def __call__(self, step: int, _loss: float) -> bool:
        if step % self._size.judged_every == 0:
            logits = self._network(self._held_out.words)
            self.accuracy = [round(one, 4) for one in accuracy(logits, self._held_out).tolist()]
            if self.learned_at is None and min(self.accuracy) >= LEARNED:
                self.learned_at = step
        return False
