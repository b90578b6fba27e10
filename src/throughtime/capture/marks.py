"""A user's own recurrence, known only by its states: ``run.mark(state, "name")`` once a step.

The graph that the user's code built is its linearisation: J_tᵀ is one small backward pass from
state t to state t − 1. It is kept alive for that, also after ``backward()``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from throughtime.capture.calls import listen
from throughtime.errors import InputError, NoGradientError, UnsupportedError
from throughtime.recurrences import Linearised
from throughtime.trace import Far, LayerTrace

Root = tuple[Tensor, Tensor | None]
"""What a backward pass started from, and the gradient that it started with."""


@dataclass(eq=False)
class Marks:
    """The states of one marked recurrence, in order; each a tuple of parts (B ·)."""

    name: str
    states: list[tuple[Tensor, ...]] = field(default_factory=list)
    arrived: list[list[Tensor | None]] = field(default_factory=list)
    recording: bool = True

    def add(self, state: Tensor | Sequence[Tensor]) -> list[RemovableHandle]:
        """One more state, of the shape of the first; the hooks that add up its gradients."""
        parts = tuple(state) if isinstance(state, (tuple, list)) else (state,)
        self._check(parts)
        self.states.append(parts)
        self.recording &= torch.is_grad_enabled()
        sums: list[Tensor | None] = [None] * len(parts)
        self.arrived.append(sums)

        def add_up(part: int, gradient: Tensor | None) -> None:
            held = sums[part]
            if gradient is not None:
                sums[part] = gradient.detach() if held is None else held + gradient.detach()

        return [
            listen(part, partial(add_up, n)) for n, part in enumerate(parts) if part.requires_grad
        ]

    def _check(self, parts: tuple[Tensor, ...]) -> None:
        if not parts or not all(isinstance(part, Tensor) for part in parts):
            raise InputError(f"mark({self.name!r}): a state is a tensor, or a tuple of tensors")
        shapes = [tuple(part.shape) for part in parts]
        if any(len(shape) not in (1, 2) or shape[:-1] != shapes[0][:-1] for shape in shapes):
            raise InputError(
                f"mark({self.name!r}): a state is (B S), or (S) without a batch, and this one has "
                f"shape {shapes}: flatten the axes that belong to the state"
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
    def reached(self) -> bool:
        """Whether a gradient came back to any of its states."""
        return any(gradient is not None for sums in self.arrived for gradient in sums)

    def total(self) -> Float[Tensor, "T B S"]:
        """All that arrived at each state, part by part."""
        rows = []
        for parts, sums in zip(self.states, self.arrived, strict=True):
            pairs = zip(parts, sums, strict=True)
            rows.append(_joined([torch.zeros_like(p) if g is None else g for p, g in pairs]))
        return torch.stack(rows)


class LinearisedGraph(Linearised):
    """J_tᵀ read off autograd's own graph, one backward pass from state t to state t − 1 each.

    The parts of a state are coordinates of one joint state. In the user's graph one part may be
    made from another (an LSTM's h from its c), and what autograd finds for c counts that way too:
    it is taken off again.
    """

    def __init__(self, name: str, states: Sequence[tuple[Tensor, ...]]) -> None:
        self.steps, self.dtype = len(states), states[0][0].dtype
        self._name, self._states = name, states
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
            found = [self.as_coordinates(t - 1, self._pull(t, t - 1, row)) for row in stacked]
            back = torch.stack(found).view(rows.shape)
        back = back if plus is None else back + plus
        return back if out is None else out.copy_(back)

    def as_coordinates(self, t: int, found: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        """What autograd found for each part of state t, less what it sent there through others.

        With D the dependence of the parts on each other, autograd finds (1 + Dᵀ) g. D is
        nilpotent, so that as many rounds as there are parts give g exactly.
        """
        true = found
        for _ in self._widths[1:]:
            true = true + found - self._pull(t, t, true)
        return true

    def far(self, t: int, k: int) -> Far:
        """What autograd sends from state t to state k along every route of the graph."""
        like = _joined([part.detach() for part in self._states[t]])
        generator = torch.Generator().manual_seed(len(self._widths))
        sent = torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
        return Far(t, k, sent, self.as_coordinates(k, self._pull(t, k, sent)))

    def split(self, row: Float[Tensor, "B S"]) -> list[Tensor]:
        """The parts of a joint row, each in the shape that the user marked."""
        parts = row.split(self._widths, -1)
        return [part[0] if self._flat else part for part in parts]

    def _pull(self, t: int, onto: int, row: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        """What autograd sends from state t, with the gradient ``row``, to the parts of another."""
        states, ends = self._states[t], self._states[onto]
        found = pull_back(self._name, states, ends, self.split(row))
        pairs = zip(found, ends, strict=True)
        return _joined([torch.zeros_like(end) if part is None else part for part, end in pairs])

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


def marked_trace(marks: Marks, roots: Sequence[Root]) -> LayerTrace:
    """The trace of a marked recurrence; ``roots``: what the backward passes started from."""
    linear = LinearisedGraph(marks.name, marks.states)
    states = torch.stack([_joined([p.detach() for p in parts]) for parts in marks.states])
    found = marks.total()
    total = torch.stack([linear.as_coordinates(t, row) for t, row in enumerate(found)])
    passed_back = torch.zeros_like(total)
    for t in range(len(states) - 1, 0, -1):
        passed_back[t - 1] = linear.vjp(t, total[t])
    direct = difference(total, passed_back)
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
        far=_far(linear, len(states)),
    )


def _far(linear: LinearisedGraph, steps: int) -> tuple[Far, ...]:
    """Random gradients that autograd sends the whole way, not step by step."""
    pairs = dict.fromkeys([(steps - 1, 0), (steps - 1, steps // 2), (steps // 2, 0)])
    return tuple(linear.far(t, k) for t, k in pairs if t > k)


def difference(total: Float[Tensor, "T B S"], passed_back: Tensor) -> Float[Tensor, "T B S"]:
    """``total − passed_back``, exactly zero where it is nothing but the rounding of the two."""
    noise = passed_back.abs().amax(-1, keepdim=True) * (32 * torch.finfo(total.dtype).eps)
    left = total - passed_back
    return torch.where(left.abs() <= noise, torch.zeros_like(left), left)


def pull_back(
    name: str,
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """One backward pass through the graph that the user's code built, which is kept.

    Raises:
        NoGradientError: if a weight in it was changed since.
    """
    known = [n for n, tensor in enumerate(inputs) if tensor.requires_grad]
    starts = [n for n, tensor in enumerate(outputs) if tensor.requires_grad]
    found: list[Tensor | None] = [None] * len(inputs)
    if not known or not starts:
        return found
    try:
        with torch.enable_grad():
            gradients = torch.autograd.grad(
                [outputs[n] for n in starts],
                [inputs[n] for n in known],
                [cotangents[n] for n in starts],
                retain_graph=True,
                allow_unused=True,
            )
    except RuntimeError as error:
        if "inplace operation" not in str(error):
            raise
        raise NoGradientError(
            f"the marked recurrence {name!r} cannot be read: a tensor in its graph was changed in "
            "place since, by optimizer.step() perhaps: measure the trace before the step"
        ) from error
    for n, gradient in zip(known, gradients, strict=True):
        found[n] = gradient
    return found


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


def _parameter_check(
    marks: Marks, direct: Tensor, linear: LinearisedGraph, roots: Sequence[Root]
) -> tuple[Tensor | None, Tensor | None, str]:
    """The gradient of the recurrence's own parameters, from the trace and from autograd.

    Its own are the parameters that the loss reaches through the marked states alone. If a state
    depends on more than the one before it, the rebuilt gradient counts paths twice and shows it.
    """
    ends = {part.grad_fn for parts in marks.states for part in parts}
    elsewhere = _leaves([root.grad_fn for root, _ in roots], ends)
    inside = _leaves([part.grad_fn for parts in marks.states for part in parts], set())
    own = [leaf for key, leaf in inside.items() if key not in elsewhere]
    if not own or not roots:
        return None, None, "every parameter of the recurrence is also used outside of it"
    outputs = [part for parts in marks.states for part in parts]
    cotangents = [piece for row in direct for piece in linear.split(row)]
    rebuilt = pull_back(marks.name, outputs, own, cotangents)
    starts, given = zip(*roots, strict=True)
    theirs = pull_back(marks.name, starts, own, given)
    return _flattened(theirs, own), _flattened(rebuilt, own), ""


def _flattened(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    return torch.cat(
        [
            (torch.zeros_like(leaf) if gradient is None else gradient).flatten().double()
            for gradient, leaf in zip(gradients, like, strict=True)
        ]
    )


def _leaves(starts: Sequence[Any], ends: set[Any]) -> dict[int, Tensor]:
    """The leaves of autograd's graph that ``starts`` reach without crossing ``ends``."""
    leaves: dict[int, Tensor] = {}
    waiting = [node for node in starts if node is not None]
    inner = set(waiting)
    seen: set[Any] = set()  # nodes, not their ids: Python's handle of a node lives while it is held
    while waiting:
        node = waiting.pop()
        if node in seen or (node in ends and node not in inner):
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves[id(node.variable)] = node.variable
        waiting += [following for following, _ in node.next_functions if following is not None]
    return leaves
