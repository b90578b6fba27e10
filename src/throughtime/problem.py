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
    """The loss in what ``who`` returned; raises ``InputError``, with what came instead.

    As Hugging Face models return it, the loss may also be ``.loss``, the entry ``"loss"``, or the
    first element of a tuple.
    """
    loss, where = _loss_in(found)
    if isinstance(loss, Tensor) and loss.numel() == 1 and not loss.is_complex():
        return loss
    got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else _kind(loss)
    if found is None:
        got = "None: is a return missing?"
    elif loss is None:
        got = "None: give the model its labels"
    raise InputError(
        f"{plain(who)} must return the loss, one real number as a tensor, and returned {where}{got}"
    )


def _loss_in(found: object) -> tuple[object, str]:
    """What should be the loss, and where it was."""
    if isinstance(found, Mapping):
        if "loss" not in found:
            entries = ", ".join(plain(repr(key)) for key in found) or "none"
            return found, f"entries {entries} and no 'loss' in a "
        return found["loss"], f"a {_kind(found)} whose loss is "
    if not isinstance(found, Tensor) and hasattr(found, "loss"):
        return found.loss, f"a {_kind(found)} whose loss is "
    if isinstance(found, tuple) and found:
        return found[0], "a tuple whose first element is "
    return found, ""


def _kind(given: object) -> str:
    return plain(type(given).__name__)


def checked_pair(
    who: str, model: object, closure: object, example: str = ""
) -> tuple[nn.Module, Callable[[], Tensor]]:
    """A model and a function without arguments, if that is what these are; else ``InputError``.

    Args:
        who: got them, for the message.
        model: what was given for it.
        closure: what was given for it.
        example: how they are given rightly; default: as the arguments of ``who``.
    """
    example = example or f"{who}(model, lambda: loss_of(model(x)))"
    if isinstance(closure, nn.Module) and callable(model) and not isinstance(model, nn.Module):
        raise InputError(f"{who} got the closure first and then the model: write {example}")
    if not isinstance(model, nn.Module):
        raise InputError(f"{who} takes a model, a torch.nn.Module, not {shown(model)}: {example}")
    if isinstance(closure, Tensor):
        raise InputError(
            f"{who} got a tensor for the closure: give the function that computes the loss, which "
            f"runs inside: {example}"
        )
    if isinstance(closure, type) or not callable(closure):
        raise InputError(
            f"{who} takes a model together with a function that returns its loss, not "
            f"{shown(closure)}: {example}"
        )
    needed = _required(closure.forward if isinstance(closure, nn.Module) else closure)
    if needed:
        raise InputError(
            f"{who}: the closure is called without arguments, and takes {', '.join(needed)}: "
            f"write {example}"
        )
    return model, closure


def check_problem(who: str, problem: object) -> None:
    """Raise ``InputError`` unless this is a ``Problem``."""
    if not isinstance(problem, Problem):
        raise InputError(
            f"{who} takes a throughtime.Problem, not {shown(problem)}: make one by "
            "Problem(name, model, batches, loss, span)"
        )


def check_maker(who: str, make: object) -> None:
    """Raise ``InputError`` unless this is a function, which makes a problem anew at every call."""
    if isinstance(make, (type, nn.Module)) or not callable(make):
        raise InputError(
            f"{who} makes the problem anew for every training, and takes a function for that, not "
            f"{shown(make)}: def make(seed): ... return Problem(name, model, batches, loss, span)"
        )


def shown(given: object) -> str:
    """What was given, in a few words: ``the class Net: make one by Net(...)``, ``a Tensor``."""
    if isinstance(given, type):
        name = plain(given.__name__)
        return f"the class {name} itself (give an instance, {name}(...))"
    if given is None:
        return "None"
    kind = _kind(given)
    return f"{'an' if kind[:1] in set('AEIOaeiou') else 'a'} {kind}"


def _required(function: Callable[..., object]) -> list[str]:
    """The arguments without which a function cannot be called."""
    try:
        arguments = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # one that cannot tell what it takes
        return []
    many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        plain(repr(one.name))
        for one in arguments
        if one.default is inspect.Parameter.empty and one.kind not in many
    ]


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
