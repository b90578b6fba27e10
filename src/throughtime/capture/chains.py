"""Calls that continue one another become one sequence: a chain.

A cell in a Python loop, a layer called one step at a time, and windows of truncated BPTT all carry
their state from call to call. A call continues another if it starts at the very state, value for
value, at which the other ended. If the state was detached on the way, there is a wall in between.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from throughtime.capture.calls import Call, joined


@dataclass(eq=False)
class Chain:
    """Calls of one layer in one direction that follow each other in time."""

    calls: list[Call] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.calls[0].name

    @property
    def reached(self) -> bool:
        """Whether a gradient came back to any of its states."""
        return any(call.reached for call in self.calls)

    def walls(self) -> tuple[int, ...]:
        """The steps whose state was detached from the one before."""
        walls, start = [], 0
        for call in self.calls:
            if start and not call.connected:
                walls.append(start)
            start += call.steps
        return tuple(walls)

    def carried(self) -> int:
        """How many fused calls in a row are joined by a state that was not detached (0: none)."""
        longest = current = 0
        for call in self.calls[1:]:
            current = current + 1 if call.connected and call.fused and call.steps > 1 else 0
            longest = max(longest, current)
        return longest + 1 if longest else 0

    def direct(self) -> Tensor:
        """The direct gradient of every state (T B S): what arrived, less the next call's share."""
        parts = [call.direct() for call in self.calls]
        for part, following in zip(parts, self.calls[1:], strict=False):
            widths = [initial.shape[-1] for initial in following.initial]
            for slot, piece in zip(("h0", "c0"), part[-1].split(widths, -1), strict=False):
                if slot in following.received:
                    piece.sub_(following.received[slot].to(piece.dtype))
        return joined(parts)


def find_chains(calls: list[Call]) -> list[Chain]:
    """All chains of the calls that autograd recorded, in the order in which they began."""
    chains: list[Chain] = []
    open_by_name: dict[str, list[Chain]] = {}
    for call in calls:
        if not call.differentiable:
            continue
        candidates = open_by_name.setdefault(call.name, [])
        chain = next((c for c in candidates if _continues(call, c.calls[-1])), None)
        if chain is None:
            chain = Chain()
            chains.append(chain)
            # A layer rarely serves many sequences at once: the latest few are enough to look at.
            candidates.insert(0, chain)
            del candidates[8:]
        chain.calls.append(call)
    return chains


def _continues(call: Call, before: Call) -> bool:
    if call.reverse or call.lengths is not None or before.lengths is not None:
        return False
    if call.kind != before.kind or call.initial[0].shape != before.final[0].shape:
        return False
    if not call.connected and not any(bool(part.any()) for part in call.initial):
        return False  # a fresh start at zero, even where the other happened to end at zero
    return all(torch.equal(a, b) for a, b in zip(call.initial, before.final, strict=True))
