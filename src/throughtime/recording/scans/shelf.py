"""Tensors (T B S) that are made again when they are asked for again, where they do not fit."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import Tensor

from throughtime.trace import LayerTrace


class Shelf:
    """The tensors of all scans of one capture, the latest used of them, up to so many bytes."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held: OrderedDict[object, Tensor] = OrderedDict()

    def put(self, make: Callable[[], Tensor], made: Tensor | None = None) -> Callable[[], Tensor]:
        """A way to get what ``make`` makes; ``made``: it has been made already."""
        key = object()

        def get() -> Tensor:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
            return self._keep(key, make())

        if made is not None:
            self._keep(key, made)
        return get

    def _keep(self, key: object, tensor: Tensor) -> Tensor:
        self._held[key] = tensor
        total = sum(one.numel() * one.element_size() for one in self._held.values())
        while total > self._budget and self._held:
            _, gone = self._held.popitem(last=False)
            total -= gone.numel() * gone.element_size()
        return tensor


class _Made:
    """A tensor of a trace, which a function makes; or the tensor itself, in a changed copy."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, trace: Any, owner: type | None = None) -> Any:
        if trace is None:
            return self
        held = vars(trace)[self._name]
        return held if isinstance(held, Tensor) else held()

    def __set__(self, trace: Any, value: Any) -> None:
        vars(trace)[self._name] = value


class ScanTrace(LayerTrace):
    """The trace of a scan, whose tensors are on a ``Shelf``: S is large, and there are many layers.

    What a measure asks for is there, or is computed again from the arguments of the core.
    """

    states = _Made()
    direct = _Made()
    gradients = _Made()
    _batch: int

    @classmethod
    def of(cls, trace: LayerTrace, **tensors: Callable[[], Tensor]) -> LayerTrace:
        """The same trace with functions in the place of its tensors."""
        shelved = object.__new__(cls)
        vars(shelved).update({name: x for name, x in vars(trace).items() if name not in tensors})
        for name, make in tensors.items():
            vars(shelved)[f"_{name}"] = make
        vars(shelved)["_batch"] = trace.batch
        return shelved

    @property
    def steps(self) -> int:
        return self.linear.steps

    @property
    def batch(self) -> int:
        held = vars(self)["_states"]
        return held.shape[1] if isinstance(held, Tensor) else self._batch

    def with_lengths(self, lengths: tuple[int, ...]) -> LayerTrace:
        twin = copy.copy(self)  # not replace, which would make the tensors
        vars(twin)["lengths"] = lengths
        return twin
