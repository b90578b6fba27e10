"""The states of a loop, shown to the capture as marked ones would be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from throughtime.recording.discovery.events import Event, Key
from throughtime.recording.layout import Layout, Part, Standing, edges
from throughtime.recording.marks import Marks

_LEAK, _MOST_NODES = 0.2, 4096
"""So much of a gradient may arrive at other sequences: batch normalisation couples them."""


@dataclass(eq=False)
class LoopStates(Marks):
    """The states of one loop.

    Attributes:
        where: the loop in the user's words, ``model.py:12``. place: ``forward:12``.
        covers: the recorded layers whose kernels run in the loop.
        joint: one of them reads, as its input, what the loop has made of its state: there is more
            to the recurrence than that layer.
        custom: the autograd functions of the user's in a step, whose backward pass is what counts.
    """

    kind: str = "loop"
    where: str = ""
    place: str = ""
    covers: frozenset[str] = frozenset()
    joint: bool = False
    custom: tuple[str, ...] = ()
    _layout: Layout | None = None
    _wall: bool = False

    def show(self, parts: tuple[Part, ...], wall: bool) -> list[RemovableHandle]:
        """One more state; ``wall``: it was made from the one before, detached."""
        self._wall = wall
        return self._append(parts, ())

    def _held_by(self, nodes: Sequence[Any]) -> int | None:
        return len(self.states) - 1 if self._wall else None

    def layout(self) -> Layout:
        """How its states lie in rows: the axis of the batch is the one across which nothing flows.

        Where every axis mixes, the whole state is that of one sequence.
        """
        if self._layout is None:
            self._layout = _layout(self.states)
        return self._layout


def part_of(event: Event, slot: int, kept: dict[Key, Tensor]) -> Part | None:
    """The value that an event made, also if it was changed in place since; None if it is gone."""
    tensor, (node, output) = event.outputs[slot], event.keys[slot]
    same = tensor is not None and tensor._version == event.versions[slot]
    if tensor is not None and same and tensor.grad_fn is node:
        return tensor
    value = kept.get((node, output))
    if value is None and tensor is not None and same:
        value = tensor.detach()
    return None if value is None else Standing(value, node, output)


def custom_between(state: Sequence[Part], before: Sequence[Part]) -> tuple[str, ...]:
    """The names of the autograd functions written in Python that lead from one state to another.

    Their backward pass need not be the derivative of their forward pass: a spiking neuron has a
    surrogate slope.
    """
    ends = {part.grad_fn for part in before}
    waiting: list[Any] = [part.grad_fn for part in state]
    seen: set[Any] = {None}
    found: dict[str, None] = {}
    while waiting and len(seen) < _MOST_NODES:
        node = waiting.pop()
        if node in seen or node in ends:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            found[type(node).__name__.removesuffix("Backward")] = None
        waiting += [following for following, _ in node.next_functions]
    return tuple(found)


def _layout(states: Sequence[tuple[Part, ...]]) -> Layout:
    middle = len(states) // 2
    order = sorted(range(1, len(states)), key=lambda n: abs(n - middle))
    choices = [Layout(states[0], axes) for axes in _choices(states[0])]
    silent = True
    for layout in choices:
        leaks = (_leak(states[n], states[n - 1], layout) for n in order[:4])
        leak = next((one for one in leaks if one is not None), None)
        if leak is not None and leak <= _LEAK:
            return layout
        silent &= leak is None
    return choices[0] if choices and silent else Layout(states[0], None)


def _choices(state: Sequence[Part]) -> list[list[int]]:
    """The axes that may be those of the batch, by size: the first ones first."""
    if all(part.dim() < 2 for part in state):
        return []
    choices = []
    for size in dict.fromkeys(state[0].shape):
        axes = [[n for n, s in enumerate(part.shape) if s == size] for part in state]
        if all(axes) and size > 1:
            most = max(map(len, axes))
            choices += [[found[min(n, len(found) - 1)] for found in axes] for n in range(most)]
    return sorted(choices, key=max)


def _leak(state: Sequence[Part], before: Sequence[Part], layout: Layout) -> float | None:
    """The share of what is sent from one sequence that arrives at others; None: nothing arrives.

    From the first and from the last one: the layers of a stack feed one another one way alone.
    """
    like = layout.rows([part.detach() for part in state])
    draw = torch.Generator().manual_seed(0)
    drawn = torch.randn(like.shape, generator=draw).to(like)
    leaks = []
    for one in (0, len(like) - 1):
        sent = torch.zeros_like(like)
        sent[one] = drawn[one]
        found = torch.autograd.grad(
            edges(state), edges(before), layout.split(sent), retain_graph=True, allow_unused=True
        )
        pairs = zip(found, before, strict=True)
        rows = layout.rows([torch.zeros_like(b.detach()) if g is None else g for g, b in pairs])
        whole = float(rows.double().norm())
        rows[one] = 0
        if whole > 0:
            leaks.append(float(rows.double().norm()) / whole)
    return max(leaks, default=None)
