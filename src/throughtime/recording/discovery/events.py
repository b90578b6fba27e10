"""The torch calls of a run, each with the place in the user's code from which it was made.

Only what autograd knows is kept: the nodes of its graph that a call read and made, and the tensors
that it returned, whose values a state is read from later. Nothing is looked up while the model
runs; ``loops`` does that once, before the first backward pass.
"""

from __future__ import annotations

import dis
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Key = tuple[Any, int]
"""One value of autograd's graph: a node, and which of its outputs."""

STORES = frozenset({"__setitem__", "index_copy_", "index_put_", "copy_", "masked_scatter_"})
"""Calls that write into a tensor, of which they may leave a part as it was."""
_DEEPEST = 200
_SMALL = 2**16
_DETACHED = 64


class Site(NamedTuple):
    """A place in the code, as it was reached.

    Attributes:
        frames: the instruction of every Python frame, the innermost first.
        modules: the modules that were running, by identity, the outermost first.
        weights: the parameters that the call itself read, by identity.
        label: whose call it is, where one place in the code serves several layers.
    """

    frames: tuple[tuple[CodeType, int], ...]
    modules: tuple[int, ...]
    weights: tuple[int, ...]
    label: tuple[tuple[int, ...], tuple[int, ...]] | None = None


class Event:
    """One torch call: its site, its name, and the values that it read and made.

    Attributes:
        kernel: the recorded layers that it ran, where it is a recurrent kernel.
        fed: of such a kernel the value that it read as its input, not as its state.
        cuts: the values that it read detached.
    """

    __slots__ = (
        "cuts", "fed", "kernel", "keys", "name", "outputs", "place", "reads", "shapes", "site", "sizes",
        "versions",
    )  # fmt: skip  # a list, not a column

    def __init__(self, site: int, name: str, reads: list[Key], outputs: list[Tensor]) -> None:
        self.site, self.name, self.reads = site, name, reads
        self.outputs: list[Tensor | None] = list(outputs)
        self.keys: list[Key] = [(one.grad_fn, one.output_nr) for one in outputs]
        self.versions = [one._version for one in outputs]
        self.shapes = [tuple(one.shape) for one in outputs]
        # 0 for a single number without an axis, which is no state.
        self.sizes = [one.numel() if one.dim() else 0 for one in outputs]
        self.place = 0
        self.kernel: tuple[str, ...] = ()
        self.fed: Key | None = None
        self.cuts: tuple[Key, ...] = ()


class Events:
    """Records the calls of one thread; ``budget``: how many bytes of values are held at most."""

    def __init__(self, budget: int) -> None:
        self.events: list[Event] = []
        self.sites: list[Site] = []
        self.counts: Counter[int] = Counter()
        self.before_writes: dict[Key, Tensor] = {}
        self.forgotten = False
        # What was detached, by the identity of the copy: it is held, so that no id is used again.
        self._detached: dict[int, tuple[Tensor, Key]] = {}
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._known: dict[Site, int] = {}
        self._writes: dict[str, bool] = {}
        self._overwritten: list[Key] = []
        self._top: FrameType | None = None
        self._budget, self._held, self._released = budget, 0, 0

    def begin(self, frame: FrameType | None) -> None:
        """``frame``: the one in which the block stands; what is around it does not count."""
        self._top = None if frame is None else frame.f_back

    def end(self) -> None:
        """Let go of everything."""
        self._top = None
        self.clear()
        self._detached.clear()
        self._numbers.clear()
        self._known.clear()
        self.sites.clear()
        self.counts.clear()

    def clear(self) -> None:
        """Forget the calls so far, and not their sites."""
        self.events.clear()
        self.before_writes.clear()
        for old in list(self._detached)[:-_DETACHED]:  # the next window begins from the last ones
            del self._detached[old]
        self._held = self._released = 0

    def writes(self, name: str) -> bool:
        """Whether a call of this name changes its first argument in place."""
        known = self._writes.get(name)
        if known is None:
            known = name == "__setitem__" or (name.startswith("__i") and name.endswith("__"))
            known |= name.endswith("_") and not name.endswith("__")
            known &= name not in ("__index__", "__int__", "__invert__", "requires_grad_")
            self._writes[name] = known
        return known

    def before_write(self, target: Any) -> None:
        """A tensor is about to be changed in place: keep its value, if it is small."""
        self._overwritten = []
        for tensor in _written(target):
            if tensor.grad_fn is None:
                continue
            key = tensor.grad_fn, tensor.output_nr
            self._overwritten.append(key)
            if tensor.numel() <= _SMALL:
                self.before_writes[key] = tensor.detach().clone()
                self._hold(tensor)

    def note(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        result: Any,
        modules: Sequence[tuple[nn.Module, int]],
    ) -> Event | None:
        """A call has returned; ``modules``: those that are running."""
        in_place = bool(args) and self.writes(name)
        made = _written(args[0]) if in_place else list(_tensors(result))
        outputs = [one for one in made if one.grad_fn is not None]
        given = list(_tensors((args, kwargs) if kwargs else args))
        if not outputs:
            self._follow(name, given, result)
            return None
        reads: list[Key] = list(self._overwritten) if in_place and not _all_of(name, args) else []
        weights: list[int] = []
        for one in given[1:] if in_place else given:
            if one.requires_grad and one.grad_fn is not None:
                reads.append((one.grad_fn, one.output_nr))
            elif isinstance(one, nn.Parameter):
                weights.append(id(one))
        event = Event(self._site(modules, tuple(weights)), name, reads, outputs)
        if self._detached:
            known = (self._detached.get(id(one)) for one in given)
            event.cuts = tuple(found[1] for found in known if found is not None)
        self.events.append(event)
        self.counts[event.site] += 1
        for one in outputs:
            if one._base is None:
                self._hold(one)
        return event

    def _follow(self, name: str, given: Sequence[Tensor], result: Any) -> None:
        """A call without gradient: what was detached, and what is made of that."""
        if name not in ("detach", "detach_") and not self._detached:
            return
        for one in given:
            known = self._detached.get(id(one))
            key = (one.grad_fn, one.output_nr) if one.grad_fn is not None else None
            source = known[1] if known is not None else key if name == "detach" else None
            for made in _tensors(result) if source is not None else ():
                self._detached[id(made)] = (made, source)

    def _site(self, modules: Sequence[tuple[nn.Module, int]], weights: tuple[int, ...]) -> int:
        frame, top, depth = sys._getframe(4), self._top, _DEEPEST
        path: list[Any] = []
        while frame is not top and depth:
            path.append(frame.f_code)
            path.append(frame.f_lasti)
            if frame.f_back is None:
                break
            frame, depth = frame.f_back, depth - 1
        running = tuple([id(module) for module, _ in modules])
        key = (running, weights, *path)
        number = self._numbers.get(key)
        if number is None:
            frames = tuple(map(_instruction, path[::2], path[1::2]))
            site = Site(frames, running, weights)
            number = self._known.setdefault(site, len(self.sites))
            if number == len(self.sites):
                self.sites.append(site)
            self._numbers[key] = number
        return number

    def _hold(self, tensor: Tensor) -> None:
        self._held += tensor.numel() * tensor.element_size()
        if self._held > self._budget:
            self._release()

    def _release(self) -> None:
        """Let go of values at places that ran once; of the oldest where those are not enough."""
        rare = [e for e in self.events[self._released :] if self.counts[e.site] < 2]
        oldest = self.events[: len(self.events) // 2]
        for event in rare or oldest:
            event.outputs = [None] * len(event.outputs)
        self.forgotten |= not rare
        self._released = len(self.events)
        self._held //= 2


@lru_cache(maxsize=4096)
def _starts(code: CodeType) -> tuple[int, ...]:
    """Where the instructions of a function begin, without the caches that the interpreter adds."""
    starts, before = [], ""
    for one in dis.get_instructions(code):
        if (before, one.opname) != ("PRECALL", "CALL"):  # a specialised call runs in the former
            starts.append(one.offset)
        before = one.opname
    return tuple(starts)


def _instruction(code: CodeType, last: int) -> tuple[CodeType, int]:
    """The instruction that runs: a call that the interpreter has specialised points behind it."""
    starts = _starts(code)
    return code, starts[max(0, bisect_right(starts, last) - 1)]


def _written(target: Any) -> list[Tensor]:
    """The tensor that a call writes into, and the one of which it is a view."""
    if not isinstance(target, Tensor):
        return []
    return [target] if target._base is None else [target, target._base]


def _all_of(name: str, args: Sequence[Any]) -> bool:
    """Whether a call writes the whole of a tensor anew."""
    value = args[-1]
    whole = name in ("copy_", "__setitem__") and isinstance(value, Tensor)
    return whole and value.shape == args[0].shape and args[0]._base is None


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in arguments, however they are nested."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)


def transformed() -> bool:
    """Whether a function transform (vmap, grad) is under way, whose tensors are not the user's."""
    return torch._C._are_functorch_transforms_active()
