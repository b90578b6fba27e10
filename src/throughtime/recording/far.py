"""What autograd sends from a state to one far before it, through the user's own graph.

The gradient of the recurrent weight is a sum that short lags dominate, and agrees although the long
lags are wrong. So a few random gradients are sent the whole way, and kept for comparison with the
product of the recorded Jacobians.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from throughtime.recording.calls import Call
from throughtime.recording.chains import Chain
from throughtime.trace import Far


def look(chains: Sequence[Chain]) -> dict[int, tuple[Far, ...]]:
    """By the id of the first call of a chain: its comparisons, where the graph gives any."""
    found: dict[int, tuple[Far, ...]] = {}
    for chain in chains:
        if sum(call.steps for call in chain.calls) > 1:
            found[id(chain.calls[0])] = tuple(_of_chain(chain))
    return found


def _of_chain(chain: Chain) -> Iterator[Far]:
    calls = chain.calls
    if len(calls) == 1:
        if (far := _within(calls[0])) is not None:
            yield far
        return
    able = [n for n, call in enumerate(calls) if any(end.requires_grad for end in _ends(call))]
    if not able:
        return
    steps = [0, *accumulate(call.steps for call in calls)]
    last, middle = able[-1], able[len(able) // 2]
    for later, earlier in dict.fromkeys([(last, 0), (last, middle), (middle, 0)]):
        found = _between(calls[later], calls[earlier]) if later > earlier else None
        if found is not None:
            sent, arrived = found
            yield Far(steps[later + 1] - 1, steps[earlier + 1] - 1, sent, arrived)


def _between(call: Call, before: Call) -> tuple[Tensor, Tensor] | None:
    """From the end of a call to the end of one before it, along every route of the graph.

    The last of the outputs is the same state as the final one: what arrives at either counts.
    """
    ends = _ends(call)
    sent = _cotangents(ends)
    whole = () if before.whole is None else (before.whole,)
    arrived = _pulled(ends, (*before.ends, *whole), sent)
    if arrived is None:
        return None
    parts, rest = arrived[: len(before.ends)], arrived[len(before.ends) :]
    state = _state(parts, before) if parts else torch.zeros_like(before.final_state)
    for outputs in rest:
        state[:, : outputs.shape[-1]] += outputs[-1]
    return _state(sent, call), state


def _within(call: Call) -> Far | None:
    """From the end of the only call to the state at which it began."""
    ends = _ends(call)
    sent = _cotangents(ends)
    arrived = _pulled(ends, call.begins, sent)
    if arrived is None:
        return None
    return Far(call.steps - 1, -1, _state(sent, call), _state(arrived, call))


def _ends(call: Call) -> tuple[Tensor, ...]:
    """The final state in the graph; where it is not handed out, the last of the outputs."""
    return call.ends or (() if call.whole is None else (call.whole[-1],))


def _cotangents(ends: Sequence[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(len(ends))
    return [
        torch.randn(end.shape, generator=generator, dtype=torch.float64).to(end) for end in ends
    ]


def _pulled(
    ends: Sequence[Tensor], onto: Sequence[Tensor], sent: Sequence[Tensor]
) -> list[Tensor] | None:
    """The gradients of ``onto``; None where the graph does not give them."""
    pairs = [(end, one) for end, one in zip(ends, sent, strict=True) if end.requires_grad]
    known = [one for one in onto if one.requires_grad]
    if not pairs or not known:
        return None
    try:
        found = torch.autograd.grad(
            [end for end, _ in pairs],
            known,
            [one for _, one in pairs],
            retain_graph=True,
            allow_unused=True,
        )
    except RuntimeError:  # a reentrant checkpoint, a tensor changed in place: there is no answer
        return None
    by_id = dict(zip(map(id, known), found, strict=True))
    return [torch.zeros_like(one) if (g := by_id.get(id(one))) is None else g for one in onto]


def _state(parts: Sequence[Tensor], call: Call) -> Tensor:
    """Parts of a state, (B ·) or (1 B ·), as one (B S) in the order of the user's batch."""
    flat = [part.detach().reshape(-1, part.shape[-1]) for part in parts]
    joined = torch.cat(flat, -1)
    return joined if call.order is None else joined.index_select(0, call.order)
