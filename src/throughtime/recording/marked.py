"""A marked recurrence linearised: J_tᵀ is one small backward pass through the user's own graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from throughtime.errors import NoGradientError, UnsupportedError
from throughtime.recording.layout import Layout, Part, edges
from throughtime.recording.marks import MarkedRun, Root
from throughtime.recording.passages import HOOKED
from throughtime.recording.weights import Weights
from throughtime.recurrences import Linearised
from throughtime.trace import Far, LayerTrace


class LinearisedGraph(Linearised):
    """J_tᵀ read off autograd's own graph, one backward pass from state t to state t − 1 each.

    The parts of a state are coordinates of one joint state. In the user's graph one part may be
    made from another (an LSTM's h from its c), and what autograd finds for c counts that way too:
    it is taken off again.
    """

    def __init__(
        self,
        name: str,
        states: Sequence[tuple[Part, ...]],
        layout: Layout | None = None,
        weights: Weights | None = None,
    ) -> None:
        self.steps, self.dtype = len(states), states[0][0].dtype
        self._name, self._states = name, states
        self._weights = Weights() if weights is None else weights
        self._layout = Layout.batch_first(states[0]) if layout is None else layout

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
        for _ in self._layout.widths[1:]:
            true = true + found - self._pull(t, t, true)
        return true

    def far(self, t: int, k: int) -> Far:
        """What autograd sends from state t to state k along every route of the graph."""
        like = self._layout.rows([part.detach() for part in self._states[t]])
        generator = torch.Generator().manual_seed(len(self._layout.widths))
        sent = torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
        return Far(t, k, sent, self.as_coordinates(k, self._pull(t, k, sent)))

    def split(self, row: Float[Tensor, "B S"]) -> list[Tensor]:
        """The parts of a joint row, each in the shape that the user marked."""
        return self._layout.split(row)

    def _pull(self, t: int, onto: int, row: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        """What autograd sends from state t, with the gradient ``row``, to the parts of another."""
        states, ends = self._states[t], self._states[onto]
        with self._weights.as_they_were():
            found = pull_back(self._name, states, ends, self.split(row))
        pairs = zip(found, ends, strict=True)
        return self._layout.rows(
            [torch.zeros_like(end.detach()) if part is None else part for part, end in pairs]
        )

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


def marked_trace(run: MarkedRun, name: str, roots: Sequence[Root]) -> LayerTrace:
    """The trace of a marked recurrence; ``roots``: what the backward passes started from."""
    layout = run.marks.layout()
    linear = LinearisedGraph(name, run.states, layout, run.marks.weights)
    states = torch.stack([layout.rows([p.detach() for p in parts]) for parts in run.states])
    found = run.total()
    total = torch.stack([linear.as_coordinates(t, row) for t, row in enumerate(found)])
    passed_back = torch.zeros_like(total)
    for t in range(len(states) - 1, 0, -1):
        passed_back[t - 1] = linear.vjp(t, total[t])
    direct = difference(total, passed_back)
    autograds, rebuilt, reason = _parameter_check(run, direct, linear, roots)
    return LayerTrace(
        name,
        run.marks.kind,
        _parts(layout),
        states,
        direct,
        total,
        linear,
        walls=tuple(run.walls),
        starts=_starts(run, linear, states, total, passed_back),
        spoilt=HOOKED if run.hooked else "",
        parameter_gradient=autograds,
        rebuilt_gradient=rebuilt,
        unchecked_because=reason,
        far=_far(linear, len(states)),
    )


def _far(linear: LinearisedGraph, steps: int) -> tuple[Far, ...]:
    """Random gradients that autograd sends the whole way, not step by step."""
    pairs = dict.fromkeys([(steps - 1, 0), (steps - 1, steps // 2), (steps // 2, 0)])
    return tuple(linear.far(t, k) for t, k in pairs if t > k)


def _starts(
    run: MarkedRun, linear: LinearisedGraph, states: Tensor, total: Tensor, passed_back: Tensor
) -> Bool[Tensor, "T B"] | None:
    """Where a sequence begins anew: all of them by the graph, single ones where a mask is zero.

    Nothing passes a mask of zero, though the step is differentiable: not so where every unit is at
    the end of its range, which is where a dead ReLU and a saturated tanh stop it as well.
    """
    starts = torch.zeros(states.shape[:2], dtype=torch.bool, device=states.device)
    starts[run.starts] = True
    cut = (total[1:] != 0).any(-1) & (passed_back[:-1] == 0).all(-1) & ~starts[1:]
    cut &= ~((states[1:] == 0) | (states[1:].abs() == 1)).all(-1)
    cut[[t - 1 for t in run.walls]] = False
    draw = torch.Generator().manual_seed(0)
    for t in (cut.any(1).nonzero().flatten() + 1).tolist():
        sent = torch.randn(states.shape[1:], generator=draw, dtype=torch.float64).to(states)
        silent = (linear.vjp(t, sent) == 0).all(-1)
        starts[t] |= cut[t - 1] & silent
    return starts if bool(starts.any()) else None


def difference(total: Float[Tensor, "T B S"], passed_back: Tensor) -> Float[Tensor, "T B S"]:
    """``total − passed_back``, exactly zero where it is nothing but the rounding of the two."""
    noise = passed_back.abs().amax(-1, keepdim=True) * (32 * torch.finfo(total.dtype).eps)
    left = total - passed_back
    return torch.where(left.abs() <= noise, torch.zeros_like(left), left)


def pull_back(
    name: str,
    outputs: Sequence[Part],
    inputs: Sequence[Part],
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
                edges([outputs[n] for n in starts]),
                edges([inputs[n] for n in known]),
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


def _parts(layout: Layout) -> dict[str, slice]:
    parts, start, several = {}, 0, len(layout.widths)
    names = ["h", "c"] if several == 2 else ["h", *(f"s{n}" for n in range(1, several))]
    for name, width in zip(names, layout.widths, strict=True):
        parts[name] = slice(start, start + width)
        start += width
    return parts


def checked_jointly(
    runs: Sequence[MarkedRun], traces: Sequence[LayerTrace], roots: Sequence[Root]
) -> list[LayerTrace]:
    """The same traces, those of one name that share their weights checked together.

    Two passes of one recurrence have one gradient of their weights. Where one of them reads what
    the other wrote, what arrives at a state is not that of the loss alone, and nothing is checked.
    """
    found = list(traces)
    for name in {run.name for run in runs}:
        group = [
            n
            for n, run in enumerate(runs)
            if run.name == name and traces[n].parameter_gradient is None
        ]
        if len(group) < 2 or any(runs[n].reads_another for n in group):
            continue
        outputs = [part for n in group for parts in runs[n].states for part in parts]
        cotangents = [
            piece for n in group for row in found[n].direct for piece in _split(found[n], row)
        ]
        theirs, rebuilt, reason = _gradients(name, outputs, cotangents, roots)
        for n in group:
            found[n] = replace(
                found[n],
                parameter_gradient=theirs,
                rebuilt_gradient=rebuilt,
                unchecked_because=reason,
            )
    return found


def _split(trace: LayerTrace, row: Tensor) -> list[Tensor]:
    assert isinstance(trace.linear, LinearisedGraph)
    return trace.linear.split(row)


def _parameter_check(
    run: MarkedRun, direct: Tensor, linear: LinearisedGraph, roots: Sequence[Root]
) -> tuple[Tensor | None, Tensor | None, str]:
    """The gradient of the recurrence's own parameters, from the trace and from autograd."""
    outputs = [part for parts in run.states for part in parts]
    cotangents = [piece for row in direct for piece in linear.split(row)]
    return _gradients(run.name, outputs, cotangents, roots)


def _gradients(
    name: str, outputs: Sequence[Part], cotangents: Sequence[Tensor], roots: Sequence[Root]
) -> tuple[Tensor | None, Tensor | None, str]:
    """What autograd found for the parameters behind ``outputs``, and what ``cotangents`` give.

    Those are the parameters that the loss reaches through the marked states alone. If a state
    depends on more than the one before it, the rebuilt gradient counts paths twice and shows it.
    """
    ends = {part.grad_fn for part in outputs}
    elsewhere = _leaves([root.grad_fn for root, _ in roots], ends)
    inside = _leaves([part.grad_fn for part in outputs], set())
    own = [leaf for key, leaf in inside.items() if key not in elsewhere]
    if not own or not roots:
        return None, None, "every parameter of the recurrence is also used outside of it"
    try:
        rebuilt = pull_back(name, outputs, own, cotangents)
        starts, given = zip(*roots, strict=True)
        theirs = pull_back(name, starts, own, given)
    except NoGradientError:
        return None, None, "its weights were changed since, by optimizer.step() perhaps"
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
