"""Calls that continue one another become one sequence: a chain.

A cell in a Python loop, a layer called one step at a time, and windows of truncated BPTT all carry
their state from call to call. A call continues another if it starts at the very state, value for
value, at which the other ended. If the state was detached on the way, there is a wall in between.

A loop may hold, or reset, the state of some sequences of the batch (those that have ended, or that
begin a new episode). The others go on, and the rows that do are remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool
from torch import Tensor

from throughtime.capture.calls import Call


@dataclass(eq=False)
class Chain:
    """Calls of one layer in one direction that follow each other in time.

    ``rows[n]`` (B) says which sequences of call n go on where call n − 1 ended; None: all of them.
    """

    calls: list[Call] = field(default_factory=list)
    rows: list[Bool[Tensor, " B"] | None] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.calls[0].name

    @property
    def reached(self) -> bool:
        """Whether a gradient came back to any of its states."""
        return any(call.reached for call in self.calls)

    @property
    def single(self) -> bool:
        """Whether this is one call of one step, and no more."""
        return len(self.calls) == 1 and self.calls[0].steps == 1

    def walls(self) -> tuple[int, ...]:
        """The steps whose state was detached from the one before."""
        walls, start = [], 0
        for call in self.calls:
            if start and not call.connected:
                walls.append(start)
            start += call.steps
        return tuple(walls)

    def carried(self) -> tuple[int, int]:
        """The longest run of calls joined by a state that was not detached: calls, steps.

        Where each call is a single step it is a loop, not a run of windows: (1, 1).
        """
        longest, current = (1, 1), (1, 1)
        for call, before in zip(self.calls[1:], self.calls, strict=False):
            calls, steps = current if current[0] > 1 else (1, before.steps)
            current = (calls + 1, steps + call.steps) if call.connected else (1, 1)
            if current[1] > current[0]:
                longest = max(longest, current)
        return longest

    def direct(self) -> Tensor:
        """The direct gradient of every state (T B S): what arrived, less the next call's share."""
        parts = [call.direct() for call in self.calls]
        following = zip(self.calls[1:], self.rows[1:], strict=True)
        for part, (call, rows) in zip(parts, following, strict=False):
            widths = [initial.shape[-1] for initial in call.initial]
            for slot, piece in zip(("h0", "c0"), part[-1].split(widths, -1), strict=False):
                if call.connected and slot in call.received:
                    sent = call.received[slot].to(piece.dtype)
                    piece.sub_(sent if rows is None else sent * rows.unsqueeze(-1))
        return torch.cat(parts)


def find_chains(calls: Sequence[Call]) -> list[Chain]:
    """All chains of the calls that autograd recorded, in the order in which they began."""
    chains: list[Chain] = []
    open_by_name: dict[str, list[Chain]] = {}
    for call in _in_order(calls):
        if not call.differentiable:
            continue
        candidates = open_by_name.setdefault(call.name, [])
        for chain in candidates:
            rows = _continuing(call, chain.calls[-1])
            if rows is not None:
                chain.rows.append(None if bool(rows.all()) else rows)
                break
        else:
            chain = Chain(rows=[None])
            chains.append(chain)
            # A layer rarely serves many sequences at once: the latest few are enough to look at.
            candidates.insert(0, chain)
            del candidates[8:]
        chain.calls.append(call)
    return chains


def _in_order(calls: Sequence[Call]) -> list[Call]:
    """What a checkpoint ran again stands where it ran first; or nowhere, if that was in vain."""
    order = [call for call in calls if not call.again]
    places: list[tuple[Call, int]] = [(call, n) for n, call in enumerate(order)]
    for call in calls:
        if not (call.again and call.reached):
            continue
        place = next((n for other, n in places if _repeats(call, other)), None)
        if place is None:
            order.append(call)
        elif order[place].again:
            order[place].add(call)  # several backward passes, each of which ran it again
        else:
            call.connected |= order[place].connected
            call.stand_in_for(order[place])
            order[place] = call
    return order


def _repeats(call: Call, other: Call) -> bool:
    if other.differentiable or call.name != other.name or call.kind != other.kind:
        return False
    pairs = [(call.inputs, other.inputs), *zip(call.initial, other.initial, strict=True)]
    return all(torch.equal(a, b) for a, b in pairs)


def _continuing(call: Call, before: Call) -> Bool[Tensor, " B"] | None:
    """Which sequences of ``call`` start at the state at which ``before`` ended; None for none."""
    if call.reverse or call.lengths is not None or before.lengths is not None:
        return None
    if call.kind != before.kind or call.initial[0].shape != before.final[0].shape:
        return None
    rows = torch.ones(len(call.initial[0]), dtype=torch.bool, device=call.initial[0].device)
    zero = rows.clone()
    for start, end in zip(call.initial, before.final, strict=True):
        rows &= ((start == end) | (start.isnan() & end.isnan())).all(-1)
        zero &= (start == 0).all(-1)
    # A fresh start at zero is none that goes on, even where the other happened to end at zero.
    known = bool((rows & ~zero).any()) or (call.connected and bool(rows.all()))
    return rows if known else None
