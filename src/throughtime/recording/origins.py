"""Where the state that a call starts from came from, read off autograd's graph while it is there.

Between two calls of a layer a user's code may hand the state on as it is, cut it, mask it, drop
parts of it, scale its gradient. Wherever each number of the new state comes from the same number of
the old one alone, the gradient on the way is multiplied by a factor, and the run goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recording.keeping import Keeping

if TYPE_CHECKING:
    from throughtime.recording.calls import Call, Passes

# Operations that move numbers and leave them, and their gradients, as they are.
_ROUTING = (
    "Alias", "AsStrided", "Cat", "Clone", "Permute", "ReshapeAlias", "Select", "Slice", "Split",
    "Squeeze", "Stack", "T", "Transpose", "Unbind", "UnsafeSplit", "UnsafeView", "Unsqueeze",
    "View",
)  # fmt: skip  # a list, not a column
# So many nodes of a graph are looked at, and so many latest calls of a layer looked for.
_MOST_NODES, _LATEST = 4096, 32


@dataclass(frozen=True, eq=False)
class Origin:
    """What the graph says of the state that a call starts from.

    Attributes:
        call: the earlier call of the same layer whose final state it was made from; None for none.
        factor: by which the gradient is multiplied on the way (B S); None: it passes as it is.
        changed: it was made from that state in another way than number by number.
        mixed: an even earlier state of the layer has a part in it, past that call.
        fed: no state of the layer, but the output or state of another layer has a part in it.
        opaque: a function stands on the way into which nobody can look, a checkpoint perhaps.
    """

    call: Call | None = None
    factor: Float[Tensor, "B S"] | None = None
    changed: bool = False
    mixed: bool = False
    fed: bool = False
    opaque: bool = False


@dataclass(frozen=True, eq=False)
class _End:
    """The final state of a call: as it left the kernel, and as the user has it."""

    call: Call
    raw: tuple[Tensor, ...]
    nodes: tuple[Any, ...]


class Origins:
    """The latest final states of every layer, and what leads back to them."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self._ends: dict[str, list[_End]] = {}
        self._outputs: dict[str, Any] = {}
        self._nodes: set[Any] = set()

    def note(
        self, call: Call, raw: Sequence[Tensor], given: Sequence[Tensor], output: Tensor
    ) -> None:
        """Remember a final state: ``raw`` before, ``given`` behind the copy that the user gets.

        ``output``: what else the user gets of the call, of which the latest is remembered.
        """
        if call.differentiable:
            ends = self._ends.setdefault(call.name, [])
            ends.append(_End(call, tuple(raw), tuple(part.grad_fn for part in given)))
            self._nodes |= set(ends[-1].nodes)
            for gone in ends[:-_LATEST]:
                self._nodes -= set(gone.nodes)
            del ends[:-_LATEST]
            self._outputs[call.name] = output.grad_fn

    def clear(self) -> None:
        """Let go of all graphs."""
        self._ends.clear()
        self._outputs.clear()
        self._nodes.clear()

    def of(self, name: str, initial: Sequence[Tensor]) -> Origin | None:
        """Where ``initial`` came from; None where the graph cannot say."""
        ends = self._ends.get(name, [])
        if not torch.is_grad_enabled() or _saving_elsewhere():
            return None
        if not any(part.requires_grad for part in initial):
            return Origin()
        targets = {node: (end, n) for end in ends for n, node in enumerate(end.nodes) if node}
        walks = [_Walk.back(part.grad_fn, targets) for part in initial]
        hits = {id(end): end for walk in walks for end, _ in walk.hits}
        opaque = any(walk.opaque for walk in walks)
        if not hits:
            return Origin(opaque=opaque, fed=self._fed(name, initial))
        last = next(end for end in reversed(ends) if id(end) in hits)
        straight = [walk.hits == [(last, n)] and walk.routing for n, walk in enumerate(walks)]
        cut = [not walk.hits and not walk.opaque for walk in walks]
        mixed = len(hits) > 1
        if all(straight):
            return Origin(last.call, opaque=opaque)
        if all(a or b for a, b in zip(straight, cut, strict=True)):
            pairs = zip(initial, straight, strict=True)
            factors = [torch.full_like(part.detach(), float(on)) for part, on in pairs]
            return Origin(last.call, _batched(factors), opaque=opaque)
        try:
            factor = self._probed(initial, last.raw)
        except RuntimeError:  # the graph in between is gone: a backward pass went through it
            return Origin(opaque=True)
        return Origin(last.call, factor, factor is None, mixed, opaque)

    def stands_at(self, node: Any) -> bool:
        """Whether a node is that of a state, or an output, of a recorded call."""
        return node in self._nodes or node in self._outputs.values()

    def _fed(self, name: str, initial: Sequence[Tensor]) -> bool:
        """Whether another layer's states lead to this start, as an encoder's to its decoder's."""
        targets = {
            node: (end, n)
            for other, ends in self._ends.items()
            for end in ends
            for n, node in enumerate((*end.nodes, self._outputs[other]))
            if other != name and node is not None
        }
        return any(_Walk.back(part.grad_fn, targets).hits for part in initial if targets)

    def _probed(self, initial: Sequence[Tensor], raw: Sequence[Tensor]) -> Tensor | None:
        """The factor of every number, if it is one: two backward passes from start to end agree.

        They start from powers of two, so that a factor comes out exact.
        """
        draw = torch.Generator().manual_seed(0)
        factors = []
        starts = [part for part in initial if part.requires_grad]
        for _ in range(2):
            sent = [_powers_of_two(part, draw) for part in starts]
            with self._quiet(), torch.enable_grad():
                found = torch.autograd.grad(
                    starts, raw, sent, retain_graph=True, allow_unused=True, materialize_grads=True
                )
            waiting = iter(sent)
            # A kernel's state has an axis for layers in front, ``unroll`` has all steps: the last.
            ends = [
                got[-1] if got.dim() > start.dim() else got
                for start, got in zip(initial, found, strict=True)
            ]
            pairs = zip(initial, ends, strict=True)
            factors.append(
                _batched(
                    [
                        (got / next(waiting)).detach()
                        if start.requires_grad
                        else torch.where(got == 0, 0.0, torch.nan).to(start)
                        for start, got in pairs
                    ]
                )
            )
        one, other = factors
        near = 16 * torch.finfo(one.dtype).eps * one.abs()
        return one if bool(((one - other).abs() <= near).all()) else None

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        self._passes.probing = True
        try:
            yield
        finally:
            self._passes.probing = False


@dataclass(eq=False)
class _Walk:
    """A walk on the graph from one node back to the ends of calls."""

    hits: list[tuple[_End, int]]
    routing: bool = True
    opaque: bool = False

    @classmethod
    def back(cls, start: Any, targets: dict[Any, tuple[_End, int]]) -> _Walk:
        """All ends that ``start`` leads to without crossing another; two calls are enough."""
        walk, waiting, seen = cls([]), [start], {None}
        while waiting:
            node = waiting.pop(0)
            if node in seen:
                continue
            seen.add(node)
            if node in targets:
                walk.hits.append(targets[node])
                if len({id(end) for end, _ in walk.hits}) > 1:
                    break
                continue
            walk.routing &= _operation(node) in _ROUTING
            walk.opaque |= isinstance(node, torch.autograd.function.BackwardCFunction)
            if len(seen) > _MOST_NODES:
                walk.opaque = True
                break
            following = [after for after, _ in node.next_functions]
            walk.routing &= None not in following  # a part of it may have been detached
            waiting += following
        return walk


def _operation(node: Any) -> str:
    """``Select`` of a ``SelectBackward0``."""
    name: str = node.name()
    return name.rstrip("0123456789").removesuffix("Backward")


def _saving_elsewhere() -> bool:
    """Whether saved tensors are packed away (a checkpoint): to look back would run it again.

    Not so where the copies of a marked recurrence's weights are kept, which is our own doing.
    """
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
    return hooks is not None and not isinstance(getattr(hooks[0], "__self__", None), Keeping)


def _powers_of_two(like: Tensor, draw: torch.Generator) -> Tensor:
    exponents = torch.randint(-1, 2, like.shape, generator=draw)
    signs = torch.randint(0, 2, like.shape, generator=draw) * 2 - 1
    return (signs * 2.0**exponents).to(like)


def _batched(parts: Sequence[Tensor]) -> Float[Tensor, "B S"]:
    joined = torch.cat(list(parts), -1)
    return joined.unsqueeze(0) if joined.dim() == 1 else joined
