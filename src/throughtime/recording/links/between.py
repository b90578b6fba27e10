"""The user's code between recorded calls, as vector-Jacobian products through autograd's graph.

Every recorded call reads its input and its state through an alias. A pass of ours that stops at
those aliases shows what the code between two calls does, and nothing of what a call does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recording.calls import Call, Passes
from throughtime.recording.marks import Root

# A pass through a graph in float32 carries numbers of so many decades faithfully; what spreads
# further is sent in several.
_DECADES, _SMALLEST = 24, 300


@dataclass(frozen=True, eq=False)
class Between:
    """Pulls gradients from the entries of calls, or from a loss, back to where calls end."""

    passes: Passes

    @contextmanager
    def _quiet(self, cut: bool = False) -> Iterator[None]:
        before = self.passes.probing, self.passes.cut
        self.passes.probing, self.passes.cut = True, cut
        try:
            with torch.enable_grad():
                yield
        finally:
            self.passes.probing, self.passes.cut = before

    def from_roots(self, roots: Sequence[Root], onto: Sequence[Call]) -> list[Tensor]:
        """What the loss sends into every call past all others, (T B S) in float64."""
        starts, given = zip(*roots, strict=True)
        with self._quiet(cut=True):
            return self._pull(list(starts), list(given), onto)

    def from_entry(
        self,
        call: Call,
        inputs: Float[Tensor, "T B I"],
        state: Float[Tensor, "B S"],
        onto: Sequence[Call],
        near_one: bool = False,
    ) -> list[Tensor]:
        """What a gradient of the input and the initial state of ``call`` sends to other calls.

        In float64, and in passes of a bounded range each, so that nothing underflows on the way;
        in one where all numbers are known to be ``near_one``.
        """
        total: list[Tensor] | None = None
        for exponent, x, s in [(0.0, inputs, state)] if near_one else _bands(inputs, state):
            widths = [part.shape[-1] for part in call.initial]
            parts = zip(call.read_from[1:], s.split(widths, -1), strict=True)
            pairs = [
                (call.read_from[0], as_given(x, call)),
                *((p, unsorted(row, call)) for p, row in parts),
            ]
            kept = [
                (start, row.to(start))
                for start, row in pairs
                if start.requires_grad and bool(row.any())
            ]
            with self._quiet(cut=True):
                found = self._pull([a for a, _ in kept], [b for _, b in kept], onto)
            scaled = [part * 10.0**exponent for part in found] if exponent else found
            total = scaled if total is None else [a + b for a, b in zip(total, scaled, strict=True)]
        return total or [state.new_zeros(shape_of(other)) for other in onto]

    def all_the_way(
        self, calls: Sequence[Call], sources: Sequence[Tensor], onto: Sequence[Call]
    ) -> list[Float[Tensor, "B S"]]:
        """What autograd sends from the states of calls to initial states, through everything."""
        starts, rows = [], []
        for call, source in zip(calls, sources, strict=True):
            for start, row in zip(handed(call), _as_handed(source, call), strict=True):
                if start.requires_grad and bool((row != 0).any()):
                    starts.append(start)
                    rows.append(row.to(start))
        ends = [part for call in onto for part in call.begins]
        found: list[Tensor | None] = [None] * len(ends)
        known = [n for n, end in enumerate(ends) if end.requires_grad]
        if starts and known:
            with self._quiet():
                gradients = torch.autograd.grad(
                    starts, [ends[n] for n in known], rows, retain_graph=True, allow_unused=True
                )
            for n, gradient in zip(known, gradients, strict=True):
                found[n] = gradient
        waiting = iter(found)
        return [_initial_of(call, [next(waiting) for _ in call.begins]) for call in onto]

    def _pull(
        self, starts: list[Tensor], rows: list[Tensor | None], onto: Sequence[Call]
    ) -> list[Tensor]:
        ends = [tensor for call in onto for tensor in handed(call)]
        found: list[Tensor | None] = [None] * len(ends)
        known = [n for n, end in enumerate(ends) if end.requires_grad]
        if starts and known:
            gradients = torch.autograd.grad(
                starts, [ends[n] for n in known], rows, retain_graph=True, allow_unused=True
            )
            for n, gradient in zip(known, gradients, strict=True):
                found[n] = gradient
        waiting = iter(found)
        return [states_of(call, [next(waiting) for _ in handed(call)]) for call in onto]


def handed(call: Call) -> tuple[Tensor, ...]:
    """What the user's code has of a call: its outputs, and the parts of its final state."""
    return call.raw if call.out is None else (call.out, *call.raw)


def shape_of(call: Call) -> tuple[int, int, int]:
    """Of the states of a call, (T, B, S)."""
    return call.steps, len(call.initial[0]), sum(part.shape[-1] for part in call.initial)


def states_of(call: Call, gradients: Sequence[Tensor | None]) -> Float[Tensor, "T B S"]:
    """Gradients of what was ``handed`` out, as those of the states, in the user's batch order."""
    steps, batch, size = shape_of(call)
    total = torch.zeros(steps, batch, size, dtype=torch.float64, device=call.outputs.device)
    waiting = list(gradients)
    if call.out is not None and (of_outputs := waiting.pop(0)) is not None:
        dense = of_outputs if call.packed is None else call.packed.pad(of_outputs)
        total[..., : dense.shape[-1]] += dense
    last = torch.tensor(call.lengths or (steps,) * batch, device=total.device) - 1
    samples = torch.arange(batch, device=total.device)
    start = 0
    for part, gradient in zip(call.initial, waiting, strict=False):
        stop = start + part.shape[-1]
        if gradient is not None:
            total[last, samples, start:stop] += gradient.reshape(batch, -1)
        start = stop
    return total if call.order is None else total.index_select(1, call.order)


def _as_handed(source: Float[Tensor, "T B S"], call: Call) -> list[Tensor]:
    """Gradients of states as those of what was ``handed`` out: ``states_of`` backwards."""
    source = unsorted(source, call, axis=1)
    steps, batch, _ = shape_of(call)
    rest = source.clone()
    rows: list[Tensor] = []
    if call.out is not None:
        width = call.outputs.shape[-1]
        outputs = source[..., :width]
        rest[..., :width] = 0
        rows.append(outputs if call.packed is None else outputs[call.packed.mask])
    last = torch.tensor(call.lengths or (steps,) * batch, device=source.device) - 1
    ends = rest[last, torch.arange(batch, device=source.device)]
    widths = [part.shape[-1] for part in call.initial]
    pairs = zip(ends.split(widths, -1), call.raw, strict=False)
    return rows + [part.reshape(end.shape) for part, end in pairs]


def _initial_of(call: Call, gradients: Sequence[Tensor | None]) -> Float[Tensor, "B S"]:
    pairs = zip(gradients, call.initial, strict=True)
    parts = [torch.zeros_like(like) if g is None else g.reshape(like.shape) for g, like in pairs]
    joined = torch.cat(parts, -1).double()
    return joined if call.order is None else joined.index_select(0, call.order)


def as_given(values: Float[Tensor, "T B I"], call: Call) -> Tensor:
    """A gradient of the input, as the layer was given it: a cell one step, packed, or (T B I)."""
    values = unsorted(values, call, axis=1)
    if call.packed is not None:
        return values[call.packed.mask]
    return values.reshape(call.read_from[0].shape)


def unsorted(values: Tensor, call: Call, axis: int = 0) -> Tensor:
    """From the order of the user's batch to that of the call."""
    return values if call.order is None else values.index_select(axis, call.order.argsort())


def _bands(inputs: Tensor, state: Tensor) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Both as sums of parts of a bounded range, each divided by 10 to its exponent."""
    sizes = inputs.abs().amax((1, 2)) if inputs.numel() else inputs.new_zeros(len(inputs))
    sizes = torch.cat([sizes, state.abs().amax().reshape(1)])
    logs = sizes.log10()
    left = sizes > 0
    while bool(left.any()):
        top = float(logs[left].max())
        if not math.isfinite(top):
            yield 0.0, inputs, state
            return
        if top < -_SMALLEST:
            return
        band = left & (logs > top - _DECADES)
        rows = band.to(inputs) * 10.0**-top
        yield top, inputs * rows[:-1, None, None], state * rows[-1]
        left &= ~band
