"""``Witness``: the order of a run, and where its numbers stop being finite.

Every call of a recurrent kernel and every mark gets its place in the run. What goes into and comes
out of a module of the model is looked at once, by its sum: the first that is not finite, out of
finite inputs, is where it was made. What autograd or the memory of a tensor links to one that is
known is explained by that one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from throughtime.recording.layout import Part, Standing
from throughtime.trace import Source

# Modules whose input may well be −inf.
_MASKED = (nn.Softmax, nn.LogSoftmax)
# So many tensors that are not finite are remembered, and so much of a graph is searched for them.
_REMEMBERED, _SEARCHED = 64, 20_000


@dataclass(eq=False)
class _Frame:
    """A module that is running; ``kernel``: a recurrent layer, whose kernels are seen one by one.

    ``given``: the source of what it was given, if that is not finite. ``after``: the module in it
    that ended last. ``bad``: the sources of what modules in it made. ``guessed``: those that were
    put down to an operation of its own.
    """

    name: str
    module: nn.Module
    kernel: bool = False
    given: Source | None = None
    after: str = ""
    bad: list[Source] = field(default_factory=list)
    guessed: list[Source] = field(default_factory=list)


class Witness:
    """What a recorder asks for the order of things, and tells what it sees."""

    def __init__(self, model: nn.Module) -> None:
        self.sources: list[Source] = []
        self.frame = 0
        self.loss_finite = True
        self._clock = 0
        self._names = {
            id(p): name for name, p in (*model.named_parameters(), *model.named_buffers())
        }
        self._open: list[_Frame] = []
        self._outermost = _Frame("", model)
        self._known: list[tuple[Tensor, Source]] = []
        self._cuts: set[Any] = set()
        self._fine: Tensor | None = None
        self._marks: dict[int, int] = {}
        self._made: dict[int, Source] = {}

    def tick(self, steps: int = 1) -> int:
        """The place in the run of the next ``steps`` steps."""
        self._clock += steps
        return self._clock - steps

    def parameter(self, weight: Tensor) -> str:
        """What the model calls a weight; empty for one that was computed."""
        return self._names.get(id(weight), "")

    def enter(self, depth: int, name: str, module: nn.Module, given: Any, kernel: bool) -> None:
        """A module begins to run inside of ``depth`` others; ``kernel``: a recurrent one."""
        del self._open[depth:]
        self.frame += not depth
        frame = _Frame(name, module, kernel)
        bad = [] if kernel else [one for one in tensors(given) if not self._finite(one)]
        if bad and not (isinstance(module, _MASKED) and _all_negative(bad[0])):
            frame.given = self._explain(bad[0], name, self._around)
        self._open.append(frame)

    @property
    def _around(self) -> _Frame:
        """The innermost module that runs, but for a recurrent one."""
        inner = [frame for frame in self._open[-2:] if not frame.kernel]
        return inner[-1] if inner else self._outermost

    def leave(self, depth: int, output: Any, keywords: dict[str, Any]) -> None:
        """The module that runs inside of ``depth`` others has ended, and those in it."""
        if depth >= len(self._open):
            return
        frame = self._open[depth]
        del self._open[depth:]
        around = self._around
        bad = [one for one in tensors(keywords) if not self._finite(one)] if frame.guessed else []
        if bad:  # torch shows keywords when the module has ended: what was guessed is known now
            self._known = [one for one in self._known if one[1] not in frame.guessed]
            given = self._explain(bad[0], frame.name, around)
            for guess in frame.guessed:
                guess.become(given)
        for tensor in tensors(output):
            if self._finite(tensor):
                self._healed(tensor)
            else:
                self._remember(tensor, self._linked(tensor) or self._made_by(frame), around)
        around.after = frame.name

    def saw(
        self, name: str, read: dict[str, Tensor], wrote: Tensor, weights: dict[str, Tensor]
    ) -> dict[str, Source]:
        """A kernel of the layer ``name`` ran: where what it read that is not finite came from."""
        module = self._open[-1] if self._open else self._outermost
        sources = {
            what: self._explain(tensor, module.name, self._around)
            for what, tensor in read.items()
            if not self._finite(tensor)
        }
        if self._finite(wrote):
            self._healed(wrote)
            return sources
        source = next(iter(sources.values()), None)
        if source is None:
            bad = next((title for title, weight in weights.items() if self._bad(weight)), "")
            made = Source("parameter", name, parameter=bad) if bad else Source("layer", name)
            source = self._new(made)
        self._remember(wrote, source, module)
        return sources

    def marked(self, parts: Sequence[Part], before: Sequence[Part]) -> None:
        """A state was marked, after ``before``, which is empty for the first one."""
        self._marks[id(parts[0])] = self.tick()
        values = [part.detach() if isinstance(part, Standing) else part for part in parts]
        bad = next((part for part in values if not self._finite(part)), None)
        if bad is None or not all(
            self._finite(part) for part in before if isinstance(part, Tensor)
        ):
            return
        own = (
            self._names.get(id(one), "?") for one in leaves_between(bad, before) if self._bad(one)
        )
        name = next(own, "") or self._own(self._around.module, recurse=False)
        source = Source("parameter", self._around.name, parameter=name) if name else None
        source = source or self._linked(bad) or self._around.given
        if source is not None:
            self._made[id(parts[0])] = source

    @property
    def now(self) -> int:
        """The place in the run of what comes next."""
        return self._clock

    def place(self, state: Part, at: int) -> None:
        """A state that was found stands at this place in the run."""
        self._marks[id(state)] = at

    def mark_of(self, state: Part) -> tuple[int, Source | None]:
        """The place of a marked state in the run, and what made it not finite, if that was seen."""
        return self._marks.get(id(state), 0), self._made.get(id(state))

    def backward(self, roots: Any) -> None:
        """A backward pass begins."""
        self.loss_finite &= all(map(self._finite, tensors(roots)))

    def close(self) -> None:
        """Hold no tensor any longer than the block."""
        self._known, self._open, self._fine = [], [], None
        self._cuts = set()

    def _explain(self, tensor: Tensor, before: str, around: _Frame) -> Source:
        """Where a tensor that is not finite, on its way into the module ``before``, came from."""
        source = self._linked(tensor) or around.given
        if source is None and tensor.grad_fn is None and around.bad:
            source = around.bad[0]
        if source is None:
            source = self._new(self._between(tensor, around, before))
            if source.kind == "operation":
                around.guessed.append(source)
        self._remember(tensor, source, around)
        return source

    def _between(self, tensor: Tensor, around: _Frame, before: str) -> Source:
        """What lies between the modules of a frame: a parameter of its own, or an operation."""
        if around is self._outermost:
            kind = "data" if tensor.grad_fn is None else "outside"
            return Source(kind, after=around.after if kind == "outside" else "", before=before)  # type: ignore[arg-type]  # both are kinds
        kind_of = type(around.module).__name__
        if name := self._own(around.module, recurse=False):
            return Source("parameter", around.name, kind_of, name)
        return Source("operation", around.name, kind_of, after=around.after, before=before)

    def _made_by(self, frame: _Frame) -> Source:
        """What a module gave back that is not finite: what it was given, or its own doing."""
        known = frame.given or next(iter(frame.bad), None)
        if known is not None:
            return known
        kind_of = type(frame.module).__name__
        if name := self._own(frame.module, recurse=True):
            return self._new(Source("parameter", frame.name, kind_of, name))
        if frame.after:
            made = Source("operation", frame.name, kind_of, after=frame.after)
            frame.guessed.append(made)
            return self._new(made)
        return self._new(Source("module", frame.name, kind_of))

    def _own(self, module: nn.Module, *, recurse: bool) -> str:
        """The first parameter or buffer of a module that is not finite, as the model names it."""
        own = (*module.parameters(recurse), *module.buffers(recurse))
        return next((self._names.get(id(one), "?") for one in own if self._bad(one)), "")

    def _linked(self, tensor: Tensor) -> Source | None:
        """The source of the first known tensor that this one shares memory with, or is made of."""
        if not self._known:
            return None
        memory = _memory(tensor)
        nodes = _ancestors(tensor, self._cuts)
        for known, source in self._known:
            if memory and memory == _memory(known):
                return source
            if known.grad_fn in nodes if known.grad_fn is not None else id(known) in nodes:
                return source
        return None

    def _remember(self, tensor: Tensor, source: Source, around: _Frame) -> None:
        around.bad.append(source)
        if len(self._known) < _REMEMBERED:
            self._known.append((tensor, source))

    def _healed(self, tensor: Tensor) -> None:
        """A finite output: what was not finite before it does not reach beyond it."""
        if self._known and tensor.grad_fn is not None:
            self._cuts.add(tensor.grad_fn)

    def _new(self, source: Source) -> Source:
        self.sources.append(source)
        return source

    def _finite(self, tensor: Tensor) -> bool:
        """Whether a tensor is known to be finite; what cannot be looked at counts as such."""
        if tensor is self._fine or not _plain(tensor):
            return True
        with torch._C.DisableTorchFunction():  # what is looked at here is no call of the user's
            return self._all_finite(tensor)

    def _all_finite(self, tensor: Tensor) -> bool:
        # A sum is finite only if all of its terms are; one that is not may have overflowed itself.
        values = tensor.detach()
        if math.isfinite(float(values.sum())) or bool(values.isfinite().all()):
            self._fine = tensor
            return True
        return False

    def _bad(self, tensor: Tensor) -> bool:
        return not self._finite(tensor)


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in what a module was given or gave back, however they are nested."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, PackedSequence):
        yield value.data
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from tensors(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from tensors(one)


def leaves_between(state: Part, before: Sequence[Part]) -> list[Tensor]:
    """The leaves of autograd's graph that make ``state`` out of the parts ``before``."""
    ends = {part.grad_fn for part in before}
    waiting: list[Any] = [state.grad_fn]
    seen: set[Any] = set()
    leaves: list[Tensor] = []
    while waiting and len(seen) < _SEARCHED:
        node = waiting.pop()
        if node is None or node in ends or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        waiting += [following for following, _ in node.next_functions]
    return leaves


def _ancestors(tensor: Tensor, cuts: set[Any]) -> set[Any]:
    """The nodes of autograd's graph that a tensor hangs on, up to ``cuts``, and ids of leaves."""
    waiting: list[Any] = [tensor.grad_fn]
    seen: set[Any] = set()
    while waiting and len(seen) < _SEARCHED:
        node = waiting.pop()
        if node is None or node in seen or node in cuts:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            seen.add(id(node.variable))
        waiting += [following for following, _ in node.next_functions]
    return seen


def _all_negative(tensor: Tensor) -> bool:
    """Whether all that is not finite is −inf, as what a softmax is to leave out."""
    return bool((tensor.isfinite() | tensor.isneginf()).all())


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _plain(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor can be read here and now."""
    return (
        tensor.is_floating_point()
        and tensor.layout is torch.strided
        and tensor.device.type != "meta"
        and type(tensor) in (Tensor, nn.Parameter, nn.Buffer)
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )
