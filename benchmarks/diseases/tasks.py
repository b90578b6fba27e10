"""What the networks are given to read, and what they are asked for.

A task draws inputs, numbers (T B I) or symbols (T B), and targets; its loss takes what the network
says at every step (T B O). ``span`` is how many steps back the task needs to see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from throughtime.tasks import python_manual

Draw = Callable[[int, Generator], tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """``draw(batch, generator)`` gives inputs and targets; ``loss(outputs, targets)`` a scalar."""

    name: str
    span: int
    draw: Draw
    loss: Loss
    inputs: int = 8
    outputs: int = 1
    symbols: int | None = None


def noise(
    scale: float = 1.0,
    *,
    steps: int = 80,
    span: int = 50,
    at: str = "last",
    outputs: int = 1,
    loss_scale: float = 1,
) -> Task:
    """Normal numbers in, normal numbers out: data without any structure of its own."""

    def draw(batch: int, generator: Generator) -> tuple[Tensor, Tensor]:
        inputs = scale * torch.randn(steps, batch, 8, generator=generator)
        return inputs, torch.randn(steps, batch, outputs, generator=generator)

    def loss(said: Tensor, targets: Tensor) -> Tensor:
        return loss_scale * squared_error(said, targets, at)

    for_how_many = f" in {outputs} numbers" if outputs > 1 else ""
    name = f"noise of size {scale:g}, span {span}, loss at {at}{for_how_many}"
    return Task(name, span, draw, loss, outputs=outputs)


def bursts(quiet: float, loud: float, *, steps: int = 80, span: int = 50, tail: int = 20) -> Task:
    """Loud noise first, and ``tail`` quiet steps before the loss at the last step."""

    def draw(batch: int, generator: Generator) -> tuple[Tensor, Tensor]:
        inputs = torch.randn(steps, batch, 8, generator=generator)
        sizes = torch.full((steps, 1, 1), loud)
        sizes[-tail:] = quiet
        return inputs * sizes, torch.randn(steps, batch, 1, generator=generator)

    return Task(
        f"noise of size {loud:g}, at the end {quiet:g}, span {span}",
        span,
        draw,
        lambda outputs, targets: squared_error(outputs, targets, "last"),
    )


def spoilt(task: Task, value: float, *, step: int = 30) -> Task:
    """The same task with one number of one sequence replaced, by NaN or infinity say."""

    def draw(batch: int, generator: Generator) -> tuple[Tensor, Tensor]:
        inputs, targets = task.draw(batch, generator)
        inputs[step, 0, 0] = value
        return inputs, targets

    return replace(task, name=f"{task.name}, one number {value}", draw=draw)


def adding(steps: int = 50) -> Task:
    """The sum of the two marked numbers, one in each half (Hochreiter & Schmidhuber 1997)."""

    def draw(batch: int, generator: Generator) -> tuple[Tensor, Tensor]:
        numbers = torch.rand(steps, batch, generator=generator)
        half = steps // 2
        places = torch.randint(half, (2, batch), generator=generator)
        places[1] += half
        marks = torch.zeros(steps, batch).scatter_(0, places, 1.0)
        targets = (numbers * marks).sum(0).expand(steps, batch).unsqueeze(-1)
        return torch.stack([numbers, marks], -1), targets

    return Task(f"adding, T = {steps}", steps // 2, draw, _last_error, inputs=2)


def copying(delay: int = 30, symbols: int = 8, length: int = 5) -> Task:
    """Repeat ``length`` symbols after ``delay`` blanks (Hochreiter & Schmidhuber 1997)."""
    blank, cue = symbols, symbols + 1

    def draw(batch: int, generator: Generator) -> tuple[Tensor, Tensor]:
        said = torch.randint(symbols, (length, batch), generator=generator)
        inputs = torch.full((2 * length + delay, batch), blank)
        inputs[:length], inputs[length + delay - 1] = said, cue
        return inputs, said

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs[-length:].flatten(0, 1), targets.flatten())

    name = f"copy over {delay} steps"
    return Task(name, delay + length, draw, loss, outputs=symbols, symbols=symbols + 2)


def temporal_order(steps: int = 50) -> Task:
    """Which of X and Y came first, which second, among distractors: one of four classes."""
    distractors = 4

    def draw(batch: int, generator: Generator) -> tuple[Tensor, Tensor]:
        inputs = torch.randint(2, 2 + distractors, (steps, batch), generator=generator)
        tenth = steps // 10
        places = torch.randint(tenth, (2, batch), generator=generator)
        places += torch.tensor([[tenth], [5 * tenth]])
        shown = torch.randint(2, (2, batch), generator=generator)
        return inputs.scatter_(0, places, shown), 2 * shown[0] + shown[1]

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs[-1], targets)

    name = f"temporal order, T = {steps}"
    return Task(name, 4 * steps // 5, draw, loss, outputs=4, symbols=2 + distractors)


def noisy_sum(lags: int = 10, steps: int = 60) -> Task:
    """At every step the sum of the last ``lags`` numbers, seen through noise."""

    def draw(batch: int, generator: Generator) -> tuple[Tensor, Tensor]:
        numbers = torch.randn(steps, batch, generator=generator)
        sums = numbers.cumsum(0)
        targets = (sums - torch.cat([torch.zeros(lags, batch), sums[:-lags]])) / lags**0.5
        noisy = numbers + 0.1 * torch.randn(steps, batch, generator=generator)
        return noisy.unsqueeze(-1), targets.unsqueeze(-1)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return squared_error(outputs, targets, "all")

    return Task(f"noisy sum of {lags}", lags, draw, loss, inputs=1)


def characters(steps: int = 50, span: int = 20) -> Task:
    """Predict every next character of Python's manual."""

    def draw(batch: int, generator: Generator) -> tuple[Tensor, Tensor]:
        text = _text()
        starts = torch.randint(len(text) - steps, (batch,), generator=generator)
        piece = text[torch.arange(steps + 1).unsqueeze(1) + starts]
        return piece[:-1], piece[1:]

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs.flatten(0, 1), targets.flatten())

    return Task(f"characters, span {span}", span, draw, loss, outputs=96, symbols=96)


def squared_error(outputs: Tensor, targets: Tensor, at: str) -> Tensor:
    """The mean squared error, at the last step alone or over all steps."""
    errors = (outputs - targets).square()
    return errors[-1].mean() if at == "last" else errors.mean()


def _last_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return squared_error(outputs, targets, "last")


@cache
def _text() -> Tensor:
    """The manual as numbers of its printable ASCII characters; any other one is a space."""
    codes = torch.tensor(list(python_manual()[:200_000].encode("ascii", "replace"))) - 32
    return codes.where((codes >= 0) & (codes < 96), 0)
