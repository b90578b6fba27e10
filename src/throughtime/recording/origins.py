"""Where the state that a call starts from came from, read off autograd's graph while it is there.

Between two calls of a layer a user's code may hand the state on as it is, cut it, mask it, drop
parts of it, scale its gradient. Wherever each number of the new state comes from the same number of
the old one alone, the gradient on the way is multiplied by a factor, and the run goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from throughtime.recording.chaining import Probe, batched, carried
from throughtime.recording.keeping import Keeping
from throughtime.recurrences import Gate

if TYPE_CHECKING:
    from throughtime.recording.calls import Call, Passes

# Operations that move numbers and leave them, and their gradients, as they are.
ROUTING = (
    "Alias", "AsStrided", "Cat", "Clone", "Permute", "ReshapeAlias", "Select", "Slice", "Split",
    "Squeeze", "Stack", "T", "Transpose", "Unbind", "UnsafeSplit", "UnsafeView", "Unsqueeze",
    "View",
)  # fmt: skip  # a list, not a column
# Those of them that leave the order of all numbers alone.
_STRAIGHT = (
    "Alias",
    "Clone",
    "ReshapeAlias",
    "Select",
    "Squeeze",
    "UnsafeView",
    "Unsqueeze",
    "View",
)
# So many nodes of a graph are looked at.
_MOST_NODES = 4096


@dataclass(frozen=True, eq=False)
class Origin:
    """What the graph says of the state that a call starts from.

    Attributes:
        call: the earlier call of the same layer whose final state it was made from; None for none.
        factor: by which the gradient is multiplied on the way (B S), or a map of the state; None:
            it passes as it is.
        hooks: hooks of the user's were about, and are a part of it.
        changed: it was made from that state in another way than number by number.
        mixed: an even earlier state of the layer has a part in it, past that call.
        elsewhere: autograd's graph leads to it, and from no state of the layer.
        fed: no state of the layer, but the output or state of another layer has a part in it.
        opaque: a function stands on the way into which nobody can look, a checkpoint perhaps.
    """

    call: Call | None = None
    factor: Gate | None = None
    changed: bool = False
    mixed: bool = False
    elsewhere: bool = False
    fed: bool = False
    opaque: bool = False
    hooks: bool = False


@dataclass(frozen=True, eq=False)
class _End:
    """The final state of a call: as it left the kernel, and as the user has it."""

    call: Call
    raw: tuple[Tensor, ...]
    given: tuple[Tensor, ...]


class Origins:
    """The final states of every layer, and what leads back to them."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        # Nodes, not their ids: Python's handle of a node lives only while somebody holds it.
        self._ends: dict[Any, tuple[_End, int]] = {}
        self._outputs: dict[Any, str] = {}

    def note(
        self, call: Call, raw: Sequence[Tensor], given: Sequence[Tensor], output: Tensor
    ) -> None:
        """Remember a final state: ``raw`` before, ``given`` behind the copy that the user gets.

        ``output``: what else the user gets of the call.
        """
        if call.differentiable:
            end = _End(call, tuple(raw), tuple(given))
            self._ends |= {part.grad_fn: (end, n) for n, part in enumerate(given)}
            self._outputs[output.grad_fn] = call.name

    def clear(self) -> None:
        """Let go of all graphs."""
        self._ends.clear()
        self._outputs.clear()

    def of(self, name: str, initial: Sequence[Tensor]) -> Origin | None:
        """Where ``initial`` came from; None where the graph cannot say."""
        if not torch.is_grad_enabled():
            return None
        if not any(part.requires_grad for part in initial):
            return Origin()
        walks = [_Walk.back(part.grad_fn, self._ends, name) for part in initial]
        hits = {id(end): end for walk in walks for end, _ in walk.hits}
        opaque = any(walk.opaque for walk in walks)
        if not hits:
            if _saving_elsewhere():
                return None
            elsewhere = any(part.grad_fn is not None for part in initial)
            fed = self._fed(name, initial)
            return Origin(elsewhere=elsewhere and not opaque, opaque=opaque, fed=fed)
        last = max(hits.values(), key=lambda end: end.call.at)
        straight = [walk.hits == [(last, n)] and walk.straight for n, walk in enumerate(walks)]
        cut = [not walk.hits and not walk.opaque for walk in walks]
        if all(a or b for a, b in zip(straight, cut, strict=True)) and not self._passes.hooked:
            if all(straight):
                return Origin(last.call, opaque=opaque)
            pairs = zip(initial, straight, strict=True)
            factors = [torch.full_like(part.detach(), float(on)) for part, on in pairs]
            return Origin(last.call, batched(factors), opaque=opaque)
        if _saving_elsewhere():
            return None
        older = [end for end in hits.values() if end is not last]
        try:
            probe = Probe(self._passes, name, initial, last.raw)
            mixed = bool(older) and probe.reaches([part for end in older for part in end.raw])
            factor: Gate | None = probe.factor()
            if factor is None and not mixed:
                factor = carried(probe.pull, batched([part.detach() for part in initial]))
        except RuntimeError:  # the graph in between is gone: a backward pass went through it
            return Origin(opaque=True)
        return Origin(last.call, factor, factor is None, mixed, opaque, hooks=self._passes.hooked)

    def stands_at(self, node: Any) -> bool:
        """Whether a node is that of a state, or an output, of a recorded call."""
        return node in self._ends or node in self._outputs

    def _fed(self, name: str, initial: Sequence[Tensor]) -> bool:
        """Whether another layer's states lead to this start, as an encoder's to its decoder's."""
        waiting: list[Any] = [part.grad_fn for part in initial]
        seen: set[Any] = {None}
        while waiting and len(seen) < _MOST_NODES:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            end = self._ends.get(node)
            found = self._outputs.get(node) if end is None else end[0].call.name
            if found is not None and found != name:
                return True
            waiting += [after for after, _ in node.next_functions]
        return False


@dataclass(eq=False)
class _Walk:
    """A walk on the graph from one node back to the ends of calls."""

    hits: list[tuple[_End, int]]
    straight: bool = True
    opaque: bool = False

    @classmethod
    def back(cls, start: Any, ends: dict[Any, tuple[_End, int]], name: str) -> _Walk:
        """All ends of the layer that ``start`` leads to without crossing another of them."""
        walk, waiting, seen = cls([]), [start], {None}
        while waiting:
            node = waiting.pop(0)
            if node in seen:
                continue
            seen.add(node)
            hit = ends.get(node)
            if hit is not None and hit[0].call.name == name:
                walk.hits.append(hit)
                continue
            walk.straight &= operation(node) in _STRAIGHT
            walk.opaque |= isinstance(node, torch.autograd.function.BackwardCFunction)
            if len(seen) > _MOST_NODES:
                walk.opaque = True
                break
            following = [after for after, _ in node.next_functions]
            walk.straight &= None not in following  # a part of it may have been detached
            waiting += following
        return walk


def operation(node: Any) -> str:
    """``Select`` of a ``SelectBackward0``."""
    name: str = node.name()
    return name.rstrip("0123456789").removesuffix("Backward")


def _saving_elsewhere() -> bool:
    """Whether saved tensors are packed away (a checkpoint): to look back would run it again.

    Not so where the copies of a marked recurrence's weights are kept, which is our own doing.
    """
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
    return hooks is not None and not isinstance(getattr(hooks[0], "__self__", None), Keeping)
