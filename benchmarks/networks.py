"""The network and the training step that every way runs: a recurrence, a read-out at each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from throughtime.problem import seeded

CLASSES = 10


@dataclass(frozen=True)
class Size:
    """T steps, B sequences, H units and as many input features."""

    steps: int
    batch: int
    hidden: int

    def __str__(self) -> str:
        return f"T={self.steps}, B={self.batch}, H={self.hidden}"


class Tagger(nn.Module):
    """One class at every step."""

    def __init__(self, kind: str, hidden: int) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(hidden, hidden)
        self.head = nn.Linear(hidden, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.rnn(inputs)[0])


@dataclass(frozen=True)
class Task:
    """A network, and the one batch that it is run on."""

    size: Size
    model: Tagger
    inputs: Tensor
    classes: Tensor

    @classmethod
    def make(cls, kind: str, size: Size, dtype: torch.dtype = torch.float32, seed: int = 0) -> Task:
        with seeded(seed):
            model = Tagger(kind, size.hidden).to(dtype)
        generator = torch.Generator().manual_seed(seed)
        shape = size.steps, size.batch
        inputs = torch.randn(*shape, size.hidden, generator=generator, dtype=dtype)
        return cls(size, model, inputs, torch.randint(CLASSES, shape, generator=generator))

    def losses(self, logits: Tensor) -> Tensor:
        """The loss at each step (T): together they are the mean over all steps and sequences."""
        each = nn.functional.cross_entropy(
            logits.flatten(0, 1), self.classes.flatten(), reduction="none"
        )
        return each.view(self.classes.shape).sum(1) / self.classes.numel()

    def step(self, forward: Callable[[], Tensor] | None = None) -> None:
        """A training step up to its gradients; ``forward``: another way to the same logits."""
        self.model.zero_grad()
        logits = self.model(self.inputs) if forward is None else forward()
        self.losses(logits).sum().backward()
