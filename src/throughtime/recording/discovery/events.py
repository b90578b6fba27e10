"""The torch calls of a run, each with the place in the user's code from which it was made.

Only what autograd knows is kept: the nodes of its graph that a call read and made, and the tensors
that it returned, whose values a state is read from later. Nothing is looked up while the model
runs; ``loops`` does that once, before the first backward pass.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from types import CodeType, FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.recording.discovery.code import Code, code_of

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

    frames: tuple[tuple[Code, int], ...]
    modules: tuple[int, ...]
    weights: tuple[int, ...]
    label: tuple[tuple[int, ...], tuple[int, ...]] | None = None


class Event:
    """One torch call: its site, its name, and the values that it read and made.

    Attributes:
        kernel: the recorded layers that it ran, where it is a recurrent kernel.
        fed: of such a kernel the value that it read as its input, not as its state.
        cuts: the values that it read detached.
        place: where it stands in the run, as recorded kernels do.
    """

    __slots__ = (
        "cuts", "fed", "kernel", "keys", "name", "outputs", "place", "reads", "shapes", "site",
        "sizes", "versions",
    )  # fmt: skip  # a list, not a column

    def __init__(
        self, site: int, name: str, reads: list[Key], outputs: list[Tensor], keys: list[Key]
    ) -> None:
        self.site, self.name, self.reads, self.keys = site, name, reads, keys
        self.outputs: list[Tensor | None] = outputs  # type: ignore[assignment]  # until released
        self.versions = [one._version for one in outputs]
        self.place = 0
        self.kernel: tuple[str, ...] = ()
        self.fed: Key | None = None
        self.cuts: tuple[Key, ...] = ()
        self.shapes: list[tuple[int, ...]] = []
        self.sizes: list[int] = []

    def settle(self) -> None:
        """Take down the shapes; a single number without an axis is no state, and has size 0."""
        for one in self.outputs if not self.shapes else ():
            assert one is not None
            self.shapes.append(tuple(one.shape))
            self.sizes.append(one.numel() if one.dim() else 0)

    def release(self) -> None:
        """Let go of the values."""
        self.settle()
        self.outputs = [None] * len(self.outputs)


class Events:
    """Records the calls of one thread; ``budget``: how many bytes of values are held at most."""

    def __init__(self, budget: int) -> None:
        self.events: list[Event] = []
        self.counts: list[int] = []
        self.before_writes: dict[Key, Tensor] = {}
        self.forgotten = False
        # What was detached, by the identity of the copy: it is held, so that no id is used again.
        self._detached: dict[int, tuple[Tensor, Key]] = {}
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._raw: list[tuple[Any, ...]] = []
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
        self._raw.clear()
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
        made: Any = _written(args[0]) if in_place else result
        outputs: list[Tensor] = []
        keys: list[Key] = []
        for one in (made,) if isinstance(made, Tensor) else _tensors(made):
            node = one.grad_fn
            if node is not None:
                outputs.append(one)
                keys.append((node, one.output_nr))
        given = list(_tensors((args, kwargs) if kwargs else args))
        if not outputs:
            if self._detached or name == "detach":
                self._follow(name, given, result)
            return None
        reads: list[Key] = list(self._overwritten) if in_place and not _all_of(name, args) else []
        weights: tuple[int, ...] = ()
        for one in given[1:] if in_place else given:
            node = one.grad_fn
            if node is not None:
                reads.append((node, one.output_nr))
            elif type(one) is not Tensor and isinstance(one, nn.Parameter):
                weights += (id(one),)
        event = Event(self._site(modules, weights), name, reads, outputs, keys)
        if self._detached:
            known = (self._detached.get(id(one)) for one in given)
            event.cuts = tuple(found[1] for found in known if found is not None)
        self.events.append(event)
        for one in outputs:
            if one._base is None:
                self._hold(one)
        return event

    def _follow(self, name: str, given: Sequence[Tensor], result: Any) -> None:
        """A call without gradient: what was detached, and what is made of that."""
        for one in given:
            known = self._detached.get(id(one))
            source: Key | None = None if known is None else known[1]
            if known is None and name == "detach" and one.grad_fn is not None:
                source = one.grad_fn, one.output_nr
            if source is not None:
                self._detached |= {id(made): (made, source) for made in _tensors(result)}

    def _site(self, modules: Sequence[tuple[nn.Module, int]], weights: tuple[int, ...]) -> int:
        innermost = sys._getframe(4)
        frame: FrameType | None = innermost
        top, depth = self._top, _DEEPEST
        path: list[Any] = [weights]
        path += [id(module) for module, _ in modules]
        while frame is not top and frame is not None and depth:
            path.append(id(frame.f_code))
            path.append(frame.f_lasti)
            frame, depth = frame.f_back, depth - 1
        key = tuple(path)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._raw)
            running = tuple(id(module) for module, _ in modules)
            frames = tuple(_frames(innermost, top))
            self._raw.append((frames, running, weights))
            self.counts.append(0)
        self.counts[number] += 1
        return number

    def settled(self) -> list[Site]:
        """All sites, for a look at the events, which are given their numbers.

        What the interpreter has specialised runs at another instruction than it did at first.
        """
        numbers: dict[Site, int] = {}
        new: dict[int, int] = {}
        for event in self.events:
            event.settle()
            if event.site not in new:
                frames, running, weights = self._raw[event.site]
                places = tuple((code_of(c), code_of(c).instruction(at)) for c, at in frames)
                site = Site(places, running, weights)
                new[event.site] = numbers.setdefault(site, len(numbers))
            event.site = new[event.site]
        return list(numbers)

    def _hold(self, tensor: Tensor) -> None:
        self._held += tensor.numel() * tensor.element_size()
        if self._held > self._budget:
            self._release()

    def _release(self) -> None:
        """Let go of values at places that ran once; of the oldest where those are not enough."""
        rare = [e for e in self.events[self._released :] if self.counts[e.site] < 2]
        for event in rare or self.events[: len(self.events) // 2]:
            event.release()
        self.forgotten |= not rare
        self._released = len(self.events)
        self._held //= 2


def _frames(frame: FrameType | None, top: FrameType | None) -> Iterator[tuple[CodeType, int]]:
    """The instructions of this frame and those around it."""
    for _ in range(_DEEPEST):
        if frame is None or frame is top:
            return
        yield frame.f_code, frame.f_lasti
        frame = frame.f_back


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
