"""A model and a closure that gives its loss, as a ``Problem``: one that can be copied."""

from __future__ import annotations

import inspect
import io
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import cloudpickle
from torch import Tensor, nn

from throughtime.errors import InputError, plain
from throughtime.problem import MakeOptimizer, Problem
from throughtime.randomness import randomness
from throughtime.recording import observe

Closure = Callable[[], Tensor]

OPTIMIZER = "Adam with a learning rate of 1e-3, without clipping"
"""How a pair is trained where nothing else is asked for."""

_STRIDE = 1_000_003  # between the seeds of two updates


def from_pair(
    model: nn.Module,
    closure: Closure,
    span: int,
    name: str = "the model",
    optimizer: MakeOptimizer | None = None,
) -> Problem:
    """A problem whose loss is that of the closure, run on the model or on any copy of it.

    The closure is called once an update. All that it draws from torch, numpy or ``random`` is
    seeded for each update: the same draws for every copy. How it is trained is not known: Adam with
    a learning rate of 1e-3, without clipping, unless an ``optimizer`` is given.

    Args:
        model: what is treated.
        closure: runs it on a batch and returns the loss.
        span: how many steps back the task needs to see.
        name: what messages call it.
        optimizer: makes the optimiser from the parameters.

    Raises:
        InputError: the closure cannot be copied: it holds a generator, an open file, a lock.
    """
    return of_loss(model, PairLoss(model, closure), span, name, optimizer)


def in_place(model: nn.Module, closure: Closure, span: int, name: str) -> Problem:
    """The same for a closure that cannot be copied: its loss is that of this very model alone."""

    def loss(_model: nn.Module, seed: int) -> Tensor:
        with randomness(seed, model):
            return closure()

    return of_loss(model, loss, span, name)


def of_loss(
    model: nn.Module,
    loss: Callable[[nn.Module, int], Tensor],
    span: int,
    name: str,
    optimizer: MakeOptimizer | None = None,
) -> Problem:
    """A problem whose batches are seeds."""
    how = {} if optimizer is None else {"optimizer": optimizer}
    return Problem(name, model, _seeds, loss, span, clip=None, **how)  # type: ignore[arg-type]  # a dictionary of one kind


def longest_lag(model: nn.Module, closure: Closure, seed: int = 0) -> int:
    """How many steps back a loss of the closure can see: the span where none is given."""
    with randomness(seed, model):
        return max(1, *(layer.steps - 1 for layer in observe(model, closure)))


class PairLoss:
    """The loss of a closure on whichever model it is given.

    To run another model the closure is copied (by cloudpickle, with the functions, the data and the
    state that it holds), and what it holds of its own model is replaced by the same part of the
    other.

    Args:
        model: the closure's own.
        closure: gives the loss.

    Raises:
        InputError: the closure cannot be copied.
    """

    def __init__(self, model: nn.Module, closure: Closure) -> None:
        self._own: tuple[nn.Module, Closure] | None = (model, closure)
        self._copy = _copied(model, closure)
        self._bound: tuple[list[nn.Module], Closure] | None = None

    def __call__(self, model: nn.Module, seed: int) -> Tensor:
        """The loss, all that is random drawn from ``seed``."""
        closure = self._on(model)
        with randomness(seed, model):
            return closure()

    def __getstate__(self) -> dict[str, Any]:
        """Without the user's own objects: another process has copies alone."""
        return {"_own": None, "_copy": self._copy, "_bound": None}

    def _on(self, model: nn.Module) -> Closure:
        if self._own is not None and model is self._own[0]:
            return self._own[1]
        modules = list(model.modules())
        if self._bound is None or not _are_same(self._bound[0], modules):
            self._bound = modules, _Unpickler(io.BytesIO(self._copy), model).load()
        return self._bound[1]


def _seeds(seed: int) -> Iterator[int]:
    return count(seed, _STRIDE)


def _are_same(some: list[nn.Module], others: list[nn.Module]) -> bool:
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))


def _copied(model: nn.Module, closure: Closure) -> bytes:
    buffer = io.BytesIO()
    try:
        with _by_value(closure):
            _Pickler(buffer, model).dump(closure)
    except (TypeError, AttributeError, RuntimeError, pickle.PicklingError) as error:
        raise InputError(
            f"the closure cannot be copied ({plain(error)}): let it hold no generator, iterator, "
            "open file or lock, or give a function that makes a throughtime.Problem"
        ) from error
    return buffer.getvalue()


@contextmanager
def _by_value(closure: Closure) -> Iterator[None]:
    """Functions of the closure's module are copied with the globals that they use.

    As cloudpickle does with those of a script or a notebook, so that a model among the globals is
    seen.
    """
    name = getattr(inspect.unwrap(closure), "__module__", None)
    module = sys.modules.get(name or "")
    ours = name is None or name.partition(".")[0] in ("throughtime", "torch", "functools")
    if module is None or ours or name in cloudpickle.list_registry_pickle_by_value():
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # joblib has no types
    """Writes a path in place of each part of the model."""

    def __init__(self, file: io.BytesIO, model: nn.Module) -> None:
        super().__init__(file)
        tensors = [*model.named_parameters(), *model.named_buffers()]
        parts = [*model.named_modules(), *tensors]
        self._parts = {id(part): name for name, part in reversed(parts)}

    def persistent_id(self, value: object) -> str | None:
        return self._parts.get(id(value))


class _Unpickler(pickle.Unpickler):
    """Takes these parts from another model."""

    def __init__(self, file: io.BytesIO, model: nn.Module) -> None:
        super().__init__(file)
        self._model = model

    def persistent_load(self, name: str) -> Any:
        owner, _, leaf = name.rpartition(".")
        try:
            return getattr(self._model.get_submodule(owner), leaf) if name else self._model
        except AttributeError:
            raise InputError(f"the closure uses {plain(name)}, which is not in the model") from None
