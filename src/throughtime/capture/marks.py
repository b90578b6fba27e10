"""A user's own recurrence, known only by its states: ``run.mark(state, "name")`` once a step.

The graph that the user's code built is its linearisation: J_tᵀ is one small backward pass from
state t to state t − 1. It is kept alive for that, also after ``backward()``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.errors import InputError, UnsupportedError
from throughtime.recurrences import Linearised
from throughtime.trace import LayerTrace


@dataclass(eq=False)
class Marks:
    """The states of one marked recurrence, in order; each a tuple of parts (B ·)."""

    name: str
    states: list[tuple[Tensor, ...]] = field(default_factory=list)
    why_not: str = ""

    def add(self, state: Tensor | Sequence[Tensor]) -> None:
        """One more state; its shape must be that of the first."""
        parts = (state,) if isinstance(state, Tensor) else tuple(state)
        if not parts or not all(isinstance(part, Tensor) for part in parts):
            raise InputError(f"mark({self.name!r}): a state is a tensor, or a tuple of tensors")
        shapes = [tuple(part.shape) for part in parts]
        if self.states and shapes != [tuple(part.shape) for part in self.states[0]]:
            before = [tuple(part.shape) for part in self.states[0]]
            raise InputError(
                f"mark({self.name!r}): step {len(self.states)} has shape {shapes}, the first had "
                f"{before}: mark the same state once a step"
            )
        if not all(part.requires_grad for part in parts):
            self.why_not = self.why_not or (
                "it ran under torch.no_grad()"
                if not torch.is_grad_enabled()
                else "its states do not require a gradient"
            )
        for part in parts:
            if part.requires_grad:
                part.retain_grad()
        self.states.append(parts)


class LinearisedGraph(Linearised):
    """J_t read off autograd's own graph, one backward pass from state t to state t − 1 each."""

    def __init__(self, states: Sequence[tuple[Tensor, ...]]) -> None:
        self.steps = len(states)
        self._states = states
        self._widths = [part.shape[-1] for part in states[0]]
        self._flat = states[0][0].dim() == 1

    def vjp(
        self,
        t: int,
        rows: Float[Tensor, "... B S"],
        plus: Float[Tensor, "... B S"] | None = None,
        out: Float[Tensor, "... B S"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        back = torch.zeros_like(rows)
        if t:
            stacked = rows.reshape(-1, *rows.shape[-2:])
            back = torch.stack([self._pull_back(t, row) for row in stacked]).view(rows.shape)
        back = back if plus is None else back + plus
        return back if out is None else out.copy_(back)

    def _pull_back(self, t: int, row: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        cotangents = row.split(self._widths, -1)
        with torch.enable_grad():
            found = torch.autograd.grad(
                self._states[t],
                self._states[t - 1],
                [c[0] if self._flat else c for c in cotangents],
                retain_graph=True,
                allow_unused=True,
            )
        parts = [
            torch.zeros_like(cotangent) if part is None else part.view(cotangent.shape)
            for part, cotangent in zip(found, cotangents, strict=True)
        ]
        return torch.cat(parts, -1)

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        raise UnsupportedError(
            "a marked recurrence has no tangent sweep: give its step to "
            "throughtime.recurrences.Custom"
        )

    def input_vjp(self, t: int, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B I"]:
        raise UnsupportedError(
            "a marked recurrence does not know its input: give its step to "
            "throughtime.recurrences.Custom"
        )


def marked_trace(marks: Marks, roots: Sequence[Tensor]) -> LayerTrace:
    """The trace of a marked recurrence; ``roots`` are the losses whose backward pass was seen."""
    linear = LinearisedGraph(marks.states)
    states = torch.stack([_joined([p.detach() for p in parts]) for parts in marks.states])
    total = torch.stack([_joined([_gradient(p) for p in parts]) for parts in marks.states])
    direct = total.clone()
    for t in range(len(states) - 1, 0, -1):
        direct[t - 1] -= linear.vjp(t, total[t])
    autograds, rebuilt, reason = _parameter_check(marks, direct, linear, roots)
    return LayerTrace(
        marks.name,
        "marked",
        _parts(marks.states[0]),
        states,
        direct,
        total,
        linear,
        parameter_gradient=autograds,
        rebuilt_gradient=rebuilt,
        unchecked_because=reason,
    )


def _parts(state: tuple[Tensor, ...]) -> dict[str, slice]:
    parts, start = {}, 0
    names = ["h", "c"] if len(state) == 2 else ["h", *(f"s{n}" for n in range(1, len(state)))]
    for name, part in zip(names, state, strict=True):
        parts[name] = slice(start, start + part.shape[-1])
        start += part.shape[-1]
    return parts


def _joined(parts: list[Tensor]) -> Float[Tensor, "B S"]:
    joined = torch.cat(parts, -1)
    return joined.unsqueeze(0) if joined.dim() == 1 else joined


def _gradient(part: Tensor) -> Tensor:
    return torch.zeros_like(part) if part.grad is None else part.grad.detach()


def _parameter_check(
    marks: Marks, direct: Tensor, linear: LinearisedGraph, roots: Sequence[Tensor]
) -> tuple[Tensor | None, Tensor | None, str]:
    """The gradient of the recurrence's own parameters, from the trace and from autograd.

    Its own are the parameters that the loss reaches through the marked states alone. If a state
    depends on more than the one before it, the rebuilt gradient counts paths twice and shows it.
    """
    ends = {id(part.grad_fn) for parts in marks.states for part in parts}
    elsewhere = _leaves([root.grad_fn for root in roots], ends)
    inside = _leaves([part.grad_fn for parts in marks.states for part in parts], set())
    own = [leaf for key, leaf in inside.items() if key not in elsewhere]
    if not own or not roots:
        return None, None, "every parameter of the recurrence is also used outside of it"
    widths = linear._widths
    outputs: list[Tensor] = []
    cotangents: list[Tensor] = []
    for parts, row in zip(marks.states, direct, strict=True):
        outputs += parts
        cotangents += [
            piece.reshape(part.shape)
            for piece, part in zip(row.split(widths, -1), parts, strict=True)
        ]
    rebuilt = torch.autograd.grad(outputs, own, cotangents, retain_graph=True, allow_unused=True)
    theirs = torch.autograd.grad(roots, own, retain_graph=True, allow_unused=True)
    return _flattened(theirs, own), _flattened(rebuilt, own), ""


def _flattened(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    return torch.cat(
        [
            (torch.zeros_like(leaf) if gradient is None else gradient).flatten().double()
            for gradient, leaf in zip(gradients, like, strict=True)
        ]
    )


def _leaves(starts: Sequence[Any], ends: set[int]) -> dict[int, Tensor]:
    """The leaves of autograd's graph that ``starts`` reach without crossing ``ends``."""
    seen: set[int] = set()
    leaves: dict[int, Tensor] = {}
    waiting = [node for node in starts if node is not None]
    inner = set(map(id, waiting))
    while waiting:
        node = waiting.pop()
        if id(node) in seen or (id(node) in ends and id(node) not in inner):
            continue
        seen.add(id(node))
        if hasattr(node, "variable"):
            leaves[id(node.variable)] = node.variable
        waiting += [following for following, _ in node.next_functions if following is not None]
    return leaves
