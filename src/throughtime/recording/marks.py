"""A user's own recurrence, known only by its states: ``run.mark(state, "name")`` once a step.

Which state was made from which other one is read off autograd's graph: so two sequences under one
name are told apart, also where they take turns, and a state that was cut off from the one before is
known for what it is: a truncation boundary, or the start of another episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from throughtime.errors import InputError
from throughtime.recording.calls import Passes, listen
from throughtime.recording.chains import shared
from throughtime.recording.layout import Layout, Part, edges
from throughtime.recording.weights import Weights

Root = tuple[Tensor, Tensor | None]
"""What a backward pass started from, and the gradient that it started with."""

# So many sequences may take turns; so many nodes of a step's graph are looked at.
_TURNS, _MOST_NODES = 64, 4096


@dataclass(eq=False)
class Marks:
    """The states marked under one name, in order; each a tuple of parts (B ·).

    Attributes:
        depends: by state, the numbers of the states that it was made from, and of none between.
        continues: by state that depends on none, the one whose value it was made from, if any.
        paths: by state, the module calls in which it was marked.
    """

    name: str
    passes: Passes
    states: list[tuple[Part, ...]] = field(default_factory=list)
    arrived: list[list[Tensor | None]] = field(default_factory=list)
    depends: list[frozenset[int]] = field(default_factory=list)
    continues: list[int | None] = field(default_factory=list)
    paths: list[tuple[int, ...]] = field(default_factory=list)
    recording: bool = True
    kind: str = "marked"
    weights: Weights = field(default_factory=Weights)
    _nodes: dict[Any, int] = field(default_factory=dict)
    _oldest: int | None = None

    def add(
        self, state: Tensor | Sequence[Tensor], path: tuple[int, ...] = ()
    ) -> list[RemovableHandle]:
        """One more state, of the shape of the first; the hooks that add up its gradients."""
        given = tuple(state) if isinstance(state, (tuple, list)) else (state,)
        parts = tuple(_original(part) if isinstance(part, Tensor) else part for part in given)
        self._check(parts)
        return self._append(parts, path)

    def layout(self) -> Layout:
        """How its states lie in rows."""
        return Layout.batch_first(self.states[0])

    def _append(self, parts: tuple[Part, ...], path: tuple[int, ...]) -> list[RemovableHandle]:
        self._look_back(parts)
        self.paths.append(path)
        self.states.append(parts)
        self.recording &= torch.is_grad_enabled()
        sums: list[Tensor | None] = [None] * len(parts)
        self.arrived.append(sums)

        def add_up(part: int, gradient: Tensor | None) -> None:
            held = sums[part]
            if gradient is not None and not self.passes.probing:
                sums[part] = gradient.detach() if held is None else held + gradient.detach()

        return [
            listen(part, partial(add_up, n)) for n, part in enumerate(parts) if part.requires_grad
        ]

    def _look_back(self, parts: tuple[Part, ...]) -> None:
        """Which earlier states these were made from, by the graph; else by value."""
        starts = [part.grad_fn for part in parts]
        number = len(self.states)
        inside: list[Any] = []
        depends = frozenset(self._reached(starts, inside))
        self.depends.append(depends)
        self.continues.append(None if depends else self._held_by(inside))
        for node in starts:
            if node is not None:
                self._nodes[node] = number
                oldest = node._sequence_nr()
                self._oldest = oldest if self._oldest is None else min(self._oldest, oldest)

    def stands_at(self, node: Any) -> bool:
        """Whether a node of the graph is that of a marked state."""
        return node in self._nodes

    def _reached(self, starts: Sequence[Any], inside: list[Any]) -> Iterator[int]:
        """The marked states that ``starts`` lead to, past none; ``inside``: nodes on the way."""
        waiting, seen = list(starts), {None}
        while waiting and len(seen) < _MOST_NODES:
            node = waiting.pop(0)
            if node in seen:
                continue
            seen.add(node)
            if node in self._nodes:
                yield self._nodes[node]
                continue
            inside.append(node)
            # What is older than the first marked state cannot have been made from one.
            if self._oldest is None or node._sequence_nr() >= self._oldest:
                waiting += [following for following, _ in node.next_functions]

    def _held_by(self, nodes: Sequence[Any]) -> int | None:
        """The latest marked state of which the graph of a step holds the value, detached."""
        saved = [tensor for node in nodes for tensor in _saved(node)]
        for number in range(len(self.states) - 1, max(-1, len(self.states) - 1 - _TURNS), -1):
            if any(_goes_on(part, tensor) for part in self.states[number] for tensor in saved):
                return number
        return None

    def _check(self, parts: tuple[Tensor, ...]) -> None:
        if not parts or not all(isinstance(part, Tensor) for part in parts):
            raise InputError(f"mark({self.name!r}): a state is a tensor, or a tuple of tensors")
        shapes = [tuple(part.shape) for part in parts]
        batched = len(shapes[0]) > 1
        alike = all(
            shape and (len(shape) > 1) is batched and (not batched or shape[0] == shapes[0][0])
            for shape in shapes
        )
        if not alike:
            raise InputError(
                f"mark({self.name!r}): a state is (B S), or (S) without a batch, and this one has "
                f"shape {shapes}: give all parts the same batch axis, first, or none"
            )
        if self.states and shapes != (before := [tuple(part.shape) for part in self.states[0]]):
            raise InputError(
                f"mark({self.name!r}): step {len(self.states)} has shape {shapes}, the first had "
                f"{before}: mark the same state once a step"
            )

    @property
    def why_not(self) -> str:
        """Why autograd knows none of its states, or an empty string."""
        if any(part.requires_grad for parts in self.states for part in parts):
            return ""
        return (
            "its states do not require a gradient"
            if self.recording
            else "it ran under torch.no_grad()"
        )

    @property
    def loose(self) -> bool:
        """Whether neither a later state nor a loss reads any of its tensors: they are copies."""
        if self.why_not or len(self.states) < 2:
            return False
        return not any(self.depends) and not self.reached

    @property
    def reached(self) -> bool:
        """Whether a gradient came back to any of its states."""
        return any(gradient is not None for sums in self.arrived for gradient in sums)

    def runs(self) -> list[MarkedRun]:
        """The sequences that were marked, in the order in which they began."""
        turns = self._turns()
        found = [run for first in range(turns) for run in self._of_one(first, turns)]
        return sorted((run for run in found if run.reached), key=lambda run: run.numbers[0])

    def _turns(self) -> int:
        """How many sequences take turns: each state goes on from that so many marks before."""

        def share(turns: int) -> float:
            later = range(turns, len(self.states))
            on = [n - turns in self.depends[n] or self.continues[n] == n - turns for n in later]
            return sum(on) / len(on)

        return max(range(1, min(_TURNS, len(self.states) - 1) + 1), key=share, default=1)

    def _of_one(self, first: int, turns: int) -> Iterator[MarkedRun]:
        run = MarkedRun(self, [first])
        for n in range(first + turns, len(self.states), turns):
            before = n - turns
            if self._made_from(n, before):
                run.loop = (
                    shared(self.paths[before], self.paths[n]) if run.loop is None else run.loop
                )
            elif not any(part.requires_grad for part in self.states[before]):
                pass  # an initial state, which no gradient could come back to
            elif self.continues[n] == before:
                run.walls.append(len(run.numbers))
            elif not self.depends[n] and self._same_loop(run, before, n):
                run.starts.append(len(run.numbers))
            else:
                yield run
                run = MarkedRun(self, [])
            run.numbers.append(n)
        yield run

    def _made_from(self, n: int, before: int) -> bool:
        """Whether state n was made from an earlier one; a stack of many states leads to them all.

        Where the graph leads to several, a backward pass tells whether anything arrives at this.
        """
        if before not in self.depends[n] or len(self.depends[n]) == 1:
            return before in self.depends[n]
        starts = [part for part in self.states[n] if part.requires_grad]
        ends = [part for part in self.states[before] if part.requires_grad]
        draw = torch.Generator().manual_seed(0)
        sent = [torch.randn(part.shape, generator=draw).to(part.detach()) for part in starts]
        try:
            found = torch.autograd.grad(
                edges(starts), edges(ends), sent, retain_graph=True, allow_unused=True
            )
        except RuntimeError:  # the trace says which tensor was changed
            return True
        return any(gradient is not None and bool((gradient != 0).any()) for gradient in found)

    def _same_loop(self, run: MarkedRun, before: int, n: int) -> bool:
        joint = shared(self.paths[before], self.paths[n])
        return joint == (self.paths[n] if run.loop is None else run.loop)


@dataclass(eq=False)
class MarkedRun:
    """One sequence of marked states.

    Attributes:
        marks: all that was marked under its name.
        numbers: which of those states are its own, in the order of time.
        walls, starts: its steps whose state was detached from the one before, or reset.
        loop: the module calls that hold the loop, once two of its states are known to be joined.
    """

    marks: Marks
    numbers: list[int]
    walls: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    loop: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """What the user called it."""
        return self.marks.name

    @property
    def states(self) -> list[tuple[Part, ...]]:
        """Its states."""
        return [self.marks.states[n] for n in self.numbers]

    @property
    def arrived(self) -> list[list[Tensor | None]]:
        """What arrived at each part of each state."""
        return [self.marks.arrived[n] for n in self.numbers]

    @property
    def reached(self) -> bool:
        """Whether a gradient came back to any of its states."""
        return any(gradient is not None for sums in self.arrived for gradient in sums)

    @property
    def reads_another(self) -> bool:
        """Whether one of its states was made from a state of another sequence of the name."""
        own = set(self.numbers)
        return any(self.marks.depends[n] - own for n in self.numbers)

    @property
    def hooked(self) -> bool:
        """Whether the user hung a hook on a state: it may change what arrived."""
        hooks = [
            hook
            for parts in self.states
            for part in parts
            for hook in (getattr(part, "_backward_hooks", None) or {}).values()
        ]
        return any(not getattr(hook, "__torch_unserializable__", False) for hook in hooks)

    def total(self) -> Tensor:
        """All that arrived at each state (T B S), part by part."""
        rows, layout = [], self.marks.layout()
        for parts, sums in zip(self.states, self.arrived, strict=True):
            pairs = zip(parts, sums, strict=True)
            rows.append(
                layout.rows([torch.zeros_like(p.detach()) if g is None else g for p, g in pairs])
            )
        return torch.stack(rows)


def _original(part: Tensor) -> Tensor:
    """The tensor that ``part`` is another shape of, such as ``h`` of ``h.flatten(1)``.

    The next step reads ``h``: nothing that it sends back would pass the flattened view.
    """
    base = part._base
    if base is None or base.grad_fn is None or base.numel() != part.numel() or base.dim() < 2:
        return part
    same = base.shape[0] == part.shape[0] and base.is_contiguous() and part.is_contiguous()
    return base if same else part


def _saved(node: Any) -> Iterator[Tensor]:
    """The tensors that a node of the graph keeps for its backward pass."""
    for name in dir(node):
        if name.startswith("_saved_"):
            try:
                value = getattr(node, name)
            except RuntimeError:  # gone, since a backward pass went through it
                continue
            if isinstance(value, Tensor):
                yield value


def _goes_on(state: Part, tensor: Tensor) -> bool:
    """Whether ``tensor`` is the value of ``state``, of a sequence of the batch at least."""
    part = state.detach()
    if tensor.shape != part.shape or tensor.dtype != part.dtype or tensor.device != part.device:
        return False
    rows = (tensor == part).flatten(1) if part.dim() > 1 else (tensor == part).unsqueeze(0)
    nonzero = (part != 0).flatten(1) if part.dim() > 1 else (part != 0).unsqueeze(0)
    return bool((rows.all(1) & nonzero.any(1)).any())
