"""How a call goes on from the one before it: what of the state and the gradient gets through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from throughtime.recording.calls import Call
from throughtime.recurrences import Gate

MIXED = "an older state is mixed into the state between the steps"
SKIPPED = "a loop skips steps of some sequences and goes on with the state before"
HOOKED = "a hook changes the gradient of the state between the steps"
IN_PLACE = "the input of the layer was changed in place after the forward pass"


@dataclass(frozen=True, eq=False)
class Passage:
    """From the end of one call to the start of the next, of the same layer.

    Attributes:
        gate: by which the gradient is multiplied (B S, or broadcast to it), or a map; None: it
            passes.
        tangent: the same for the state itself, where a detached part goes on; None: as ``gate``.
        starts: the sequences that begin anew (B); None where none does.
        held: the sequences that are given the state before the call once more (B).
        wall: the state was detached, all of it.
        detached: the parts of the state (by number) that were detached, and others were not.
        spoilt: why the measurement is not to be used, or an empty string.
        hooks: hooks of the user's on the state before are a part of ``gate``.
    """

    gate: Gate | None = None
    tangent: Gate | None = None
    starts: Bool[Tensor, " B"] | None = None
    held: Bool[Tensor, " B"] | None = None
    wall: bool = False
    detached: tuple[int, ...] = ()
    spoilt: str = ""
    hooks: bool = False


def passage(call: Call, before: Call, first: Call) -> Passage | None:
    """How ``call`` goes on from ``before``, in a run that ``first`` began; None: it does not."""
    if call.reverse or call.lengths is not None or before.lengths is not None:
        return None
    if call.kind != before.kind or call.initial[0].shape != before.final[0].shape:
        return None
    origin = call.origin
    if origin is not None and origin.call is not None:
        if origin.call is not before or origin.changed:
            return None
        return _on_the_graph(call, before)
    if origin is not None and origin.elsewhere and any(call.connected):
        return None
    return _by_value(call, before, first)


def _on_the_graph(call: Call, before: Call) -> Passage | None:
    assert call.origin is not None
    factor, hooks = call.origin.factor, call.origin.hooks
    start, end = _joined(call.initial), _joined(before.final)
    if factor is None:
        return Passage() if bool(_equal(start, end).all()) else None
    if not isinstance(factor, Tensor):
        gone = factor.silent(len(start))
        goes_on = _equal(start, end).all(-1)
        starts = gone & ~goes_on
        return Passage(factor, None, starts if bool(starts.any()) else None, hooks=hooks)
    return replace(_by_factor(call, before, factor), hooks=hooks)


def _by_factor(call: Call, before: Call, factor: Tensor) -> Passage:
    assert call.origin is not None
    start, end = _joined(call.initial), _joined(before.final)
    equal = _equal(start, end)
    passes, gone = (factor == 1).all(-1), (factor == 0).all(-1)
    if bool(passes.all() & equal.all()):
        return Passage()
    detached = _detached(call, factor, equal)
    held = gone & ~equal.all(-1) & _equal(start, _joined(before.initial)).all(-1)
    held &= call.origin.mixed  # what was held is an older state of the layer
    starts = gone & ~equal.all(-1) & ~held
    mixed = call.origin.mixed and not bool((passes | gone).all())
    going_on = torch.where(equal & ~starts.unsqueeze(-1), torch.ones_like(factor), factor)
    if bool((passes | gone).all()):
        factor = passes.to(factor.dtype).unsqueeze(-1)
    return Passage(
        factor,
        None if bool((going_on == factor).all()) else going_on,
        starts if bool(starts.any()) else None,
        held if bool(held.any()) else None,
        detached=detached,
        spoilt=MIXED if mixed else "",
    )


def _detached(call: Call, factor: Tensor, equal: Tensor) -> tuple[int, ...]:
    """The parts some numbers of which go on in value, and not in gradient."""
    start = _joined(call.initial)
    silent = ((factor == 0) & equal & (start != 0)).any(0)
    sizes = [part.shape[-1] for part in call.initial]
    return tuple(n for n, part in enumerate(silent.split(sizes)) if bool(part.any()))


def _by_value(call: Call, before: Call, first: Call) -> Passage | None:
    """A state that was detached, or of which the graph says nothing, goes on if it is the same."""
    start, end = _joined(call.initial), _joined(before.final)
    rows, zero = _equal(start, end).all(-1), (start == 0).all(-1)
    connected = _connected(call)
    # A fresh start at zero is none that goes on, even where the other happened to end at zero.
    if not bool((rows & ~zero).any()) and not (any(connected) and bool(rows.all())):
        return None
    anew = ~rows & (zero | _equal(start, _joined(first.initial)).all(-1))
    held = ~rows & ~anew & _equal(start, _joined(before.initial)).all(-1)
    starts = anew if bool(anew.any()) else None
    stays = held if bool(held.any()) else None
    gate = None if bool(rows.all()) else rows.to(end.dtype).unsqueeze(-1)
    if not any(connected):
        return Passage(gate, None, starts, stays, wall=True)
    if all(connected):
        return Passage(gate, None, starts, stays)
    parts = [torch.full_like(p, float(on)) for p, on in zip(call.initial, connected, strict=True)]
    passing = _joined(parts)
    detached = tuple(n for n, on in enumerate(connected) if not on)
    return Passage(
        passing if gate is None else passing * gate, gate, starts, stays, False, detached
    )


def _connected(call: Call) -> tuple[bool, ...]:
    """By part, whether gradient can pass: where the graph can be seen, what it shows alone."""
    if call.origin is None or call.origin.opaque:
        return call.connected
    return (False,) * len(call.connected)


def _equal(a: Tensor, b: Tensor) -> Tensor:
    return (a == b) | (a.isnan() & b.isnan())


def _joined(parts: Sequence[Tensor]) -> Float[Tensor, "B S"]:
    joined = torch.cat(list(parts), -1)
    return joined.unsqueeze(0) if joined.dim() == 1 else joined
