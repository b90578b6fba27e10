"""A problem: a model, and all that it takes to train and to judge it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from throughtime.carried import State, detached
from throughtime.errors import InputError, plain
from throughtime.typed import checked_span

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
Batch = Any  # whatever ``loss`` understands: a pair of tensors, a PackedSequence, a dictionary


_CALLED = {
    "batches": "and is called as batches(seed)",
    "loss": "and is called as loss(model, batch)",
}


class Clipper(Protocol):
    """An object that bounds gradients: called between the backward pass and the update."""

    def __call__(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Change ``.grad`` in place; returns the norm before that, of what was finite."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, in plain values and tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what another one remembered."""
        ...


@dataclass(frozen=True)
class Criterion:
    """When a problem counts as solved: a score of ``evaluate`` below, or above, a bound."""

    score: str
    side: Literal["below", "above"]
    bound: float

    def met(self, scores: Mapping[str, float]) -> bool:
        """Whether these scores meet it; a score that is not a number never does."""
        value = scores[self.score]
        return value < self.bound if self.side == "below" else value > self.bound

    def __str__(self) -> str:
        return f"{self.score} {self.side} {self.bound:g}"


@dataclass(frozen=True)
class Problem:
    """One training problem. Every task makes one, and a file of yours can.

    Attributes:
        name: what reports and file names call it.
        model: the module to train; it is trained in place.
        batches: ``batches(seed)`` gives batches without end, the same ones for the same seed.
        loss: ``loss(model, batch)`` gives the mean loss of a batch, a scalar tensor.
        span: how many steps back the task needs to see.
        evaluate: ``evaluate(model)`` gives named scores on data kept apart from training; that of a
            task may take further keywords.
        optimizer: makes the optimiser from the parameters.
        trivial_loss: the loss of the best answer that never looks at its input, where known.
        solved: when ``evaluate`` says that it is solved, where the task has such a bound.
        windows: ``windows(batch, length)`` cuts a batch along time into pieces of ``length`` steps,
            for truncated backpropagation.
        carry: ``carry(model, window, state)`` gives the loss of one piece, None if it asks for
            nothing, and the state to go on from; the first piece gets the state None.
        shard: ``shard(batch, rank, world)`` gives one of ``world`` equal shares of a batch, for a
            training over several processes; None for a tuple of tensors with the batch on axis 1,
            or on axis 0 of those that have one axis only.
        clip: a longer gradient, of all parameters together, is scaled down to it before an update;
            or an object that bounds gradients (``throughtime.remedies``); None for never.
        window: truncated backpropagation: batches are cut into pieces of so many time steps; None
            for none.
        backward: ``backward(model, make_loss)`` leaves the gradient of ``make_loss()`` in the
            parameters, and returns that loss: for what adds to a gradient. None for
            ``loss.backward()``.
    """

    name: str
    model: nn.Module
    batches: Callable[[int], Iterator[Batch]]
    loss: Callable[[nn.Module, Batch], Tensor]
    span: int
    evaluate: Callable[..., Mapping[str, float]] | None = None
    optimizer: MakeOptimizer = partial(Adam, lr=1e-3)
    trivial_loss: float | None = None
    solved: Criterion | None = None
    windows: Callable[[Batch, int], Iterable[Batch]] | None = None
    carry: Callable[[nn.Module, Batch, State], tuple[Tensor | None, State]] | None = None
    shard: Callable[[Batch, int, int], Batch] | None = None
    clip: float | Clipper | None = 1.0
    window: int | None = None
    backward: Callable[[nn.Module, Callable[[], Tensor]], Tensor] | None = None

    def __post_init__(self) -> None:
        who = f"Problem {plain(self.name)!r}"
        if not isinstance(self.model, nn.Module):
            raise InputError(
                f"{who}: its model is of type {plain(type(self.model).__name__)}: give a torch "
                "module, in the order name, model, batches, loss, span"
            )
        for name in ("batches", "loss"):
            if not callable(getattr(self, name)):
                raise InputError(f"{who}: {name} is no function, {_CALLED[name]}")
        object.__setattr__(self, "span", checked_span(self.span, who))

    def closure(self, seed: int = 0) -> Tensor:
        """The loss of the model on the first batch of ``seed``: what ``diagnose`` looks at.

        As it is trained: where there is a ``window``, no gradient crosses from one to the next.
        """
        batch = next(iter(self.batches(seed)))
        if self.window is None or self.windows is None or self.carry is None:
            return as_loss(self.loss(self.model, batch), f"{self.name}: loss(model, batch)")
        losses, state = [], None
        for piece in self.windows(batch, self.window):
            part, state = self.carry(self.model, piece, state)
            losses += [] if part is None else [part]
            state = detached(state)
        return torch.stack(losses).mean()


def make_optimizer(make: MakeOptimizer, parameters: Sequence[nn.Parameter], name: str) -> Optimizer:
    """The optimiser of these parameters, for the problem of this name.

    Raises:
        InputError: it is no optimiser, or one that evaluates the loss several times a step (LBFGS),
            which leaves no place for clipping between the gradient and the update.
    """
    found = make(parameters)
    if not isinstance(found, Optimizer):
        raise InputError(
            f"{plain(name)}: its optimizer(parameters) returned something of type "
            f"{plain(type(found).__name__)}, not a torch.optim.Optimizer"
        )
    closure = inspect.signature(found.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise InputError(
            f"{plain(name)}: {plain(type(found).__name__)} evaluates the loss several times a "
            "step, which cannot be clipped or measured update by update: take one that does not, "
            "such as torch.optim.Adam"
        )
    return found


def as_loss(found: object, who: str) -> Tensor:
    """What ``who`` returned, if that is a loss. Raises ``InputError``, with what it is instead."""
    if isinstance(found, Tensor) and found.numel() == 1 and not found.is_complex():
        return found
    got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
    raise InputError(
        f"{plain(who)} must return the loss, one real number as a tensor, and returned {plain(got)}"
    )


@contextmanager
def seeded(seed: int, model: nn.Module | None = None) -> Iterator[None]:
    """Draw from ``seed`` inside the block, and leave the global random state as it was.

    For what offers no generator argument: initialisation of a module, dropout.

    Args:
        seed: seed of the CPU generator, and of those devices that ``model`` lives on.
        model: the module that will run inside; None for the CPU alone.
    """
    devices = set() if model is None else {p.device for p in model.parameters() if p.is_cuda}
    with torch.random.fork_rng(devices=[device.index for device in devices]):
        torch.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device.index].manual_seed(seed)
        yield
