"""Calls that continue one another become one sequence: a chain.

A cell in a Python loop, a layer called one step at a time, and windows of truncated BPTT all carry
their state from call to call. A call continues another if autograd's graph leads from its start to
the other's end, number by number; or if it starts at the very state, value for value, at which the
other ended. If the state was detached on the way, there is a wall in between.

A loop may hold, or reset, the state of some sequences of the batch (those that have ended, or that
begin a new episode), or of all of them: then a new episode begins within the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from throughtime.recording.calls import Call
from throughtime.recording.passages import HOOKED, IN_PLACE, SKIPPED, Passage, passage
from throughtime.recurrences import back

# So many sequences of one layer may wait for a state of which nothing but the value is known.
_MOST = 64


@dataclass(eq=False)
class Chain:
    """Calls of one layer in one direction that follow each other in time.

    ``passages[n]`` says how call n goes on from call n − 1; that of the first says nothing.
    """

    calls: list[Call] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)

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

    @property
    def stepwise(self) -> bool:
        """Whether every call of it is a single step."""
        return all(call.steps == 1 for call in self.calls)

    def at_steps(self) -> list[tuple[int, Passage]]:
        """Every passage, the first call's apart, with the step that it leads to."""
        found, start = [], 0
        for call, one in zip(self.calls, self.passages, strict=True):
            if start:
                found.append((start, one))
            start += call.steps
        return found

    def walls(self) -> tuple[int, ...]:
        """The steps whose state was detached from the one before."""
        return tuple(t for t, one in self.at_steps() if one.wall)

    def starts(self) -> Bool[Tensor, "T B"] | None:
        """Where a sequence begins anew, in the order of computation; None: nowhere."""
        found = [(t, one.starts) for t, one in self.at_steps() if one.starts is not None]
        if not found:
            return None
        first = self.calls[0].initial[0]
        steps = sum(call.steps for call in self.calls)
        starts = torch.zeros(steps, len(first), dtype=torch.bool, device=first.device)
        for t, rows in found:
            starts[t] = rows
        return starts

    def detached(self) -> tuple[int, ...]:
        """The parts of the state, by number, that were detached somewhere and others were not."""
        return tuple(sorted({part for one in self.passages for part in one.detached}))

    def spoilt(self) -> str:
        """Why it must not be measured, or an empty string."""
        if any(call.changed_in_place for call in self.calls):
            return IN_PLACE
        following = zip(self.calls, self.passages[1:], strict=False)
        if any(call.hooked and not (one.wall or one.hooks) for call, one in following):
            return HOOKED
        return next((one.spoilt for one in self.passages if one.spoilt), self._skipped())

    def _skipped(self) -> str:
        """A sequence that was held must stay so: what goes on has skipped steps."""
        held: Tensor | None = None
        for one in self.passages:
            if held is not None:
                stays = torch.zeros_like(held) if one.held is None else one.held
                stays = stays if one.starts is None else stays | one.starts
                if bool((held & ~stays).any()):
                    return SKIPPED
            held = one.held
        return ""

    def carried(self) -> tuple[int, int]:
        """The longest run of calls joined by a state that was not detached: calls, steps.

        Where each call is a single step it is a loop, not a run of windows: (1, 1).
        """
        longest, current = (1, 1), (1, 1)
        following = zip(self.calls[1:], self.passages[1:], strict=True)
        for before, (call, one) in zip(self.calls, following, strict=False):
            calls, steps = current if current[0] > 1 else (1, before.steps)
            broken = one.wall or (one.starts is not None and bool(one.starts.all()))
            current = (1, 1) if broken else (calls + 1, steps + call.steps)
            if current[1] > current[0]:
                longest = max(longest, current)
        return longest

    def direct(self) -> Tensor:
        """The direct gradient of every state (T B S): what arrived, less the next call's share."""
        parts = [call.direct() for call in self.calls]
        following = zip(self.calls[1:], self.passages[1:], strict=True)
        for part, (call, one) in zip(parts, following, strict=False):
            if not one.wall:
                part[-1] = _less(part[-1], call, one)
        return torch.cat(parts)


def _less(total: Tensor, call: Call, one: Passage) -> Tensor:
    """What arrived at the end of a call, less what the next one sent there."""
    sent = torch.zeros_like(total)
    widths = [initial.shape[-1] for initial in call.initial]
    for slot, piece in zip(("h0", "c0"), sent.split(widths, -1), strict=False):
        if slot in call.received:
            piece.copy_(call.received[slot])
    if one.gate is None:
        return total - sent
    passed = back(one.gate, sent)
    left = total - passed
    # A factor that is applied in another order leaves a rounding where there is nothing.
    noise = passed.abs().amax(-1, keepdim=True) * (32 * torch.finfo(total.dtype).eps)
    scaled = torch.ones_like(left, dtype=torch.bool)
    if isinstance(one.gate, Tensor):
        scaled = ((one.gate != 0) & (one.gate != 1)).expand_as(left)
    else:
        noise = noise * len(sent[0])
    return torch.where(scaled & (left.abs() <= noise), torch.zeros_like(left), left)


def find_chains(calls: Sequence[Call]) -> list[Chain]:
    """All chains of the calls that autograd recorded, in the order in which they began."""
    chains: list[Chain] = []
    waiting = _Waiting()
    order = _in_order(calls)
    for call in order:
        if not call.differentiable:
            continue
        for chain in waiting.candidates(call):
            one = passage(call, chain.calls[-1], chain.calls[0])
            if one is not None:
                chain.passages.append(one)
                break
        else:
            chain = Chain(passages=[Passage()])
            chains.append(chain)
        chain.calls.append(call)
        waiting.went_on(chain)
    return _with_episodes(chains, {id(call): n for n, call in enumerate(order)})


class _Waiting:
    """The chains that may go on: by autograd's graph, by memory, and only then by value.

    A state that was detached has no graph, and is the same memory still. A copy of it has neither:
    where several sequences hold one value, the one that has waited longest goes on.
    """

    def __init__(self) -> None:
        self._by_end: dict[int, Chain] = {}
        self._by_memory: dict[tuple[str, tuple[int, ...]], Chain] = {}
        self._by_name: dict[str, dict[int, Chain]] = {}

    def candidates(self, call: Call) -> Sequence[Chain]:
        """The chains that a call may go on from, the likeliest first."""
        if call.origin is not None and call.origin.call is not None:
            likely = self._by_end.get(id(call.origin.call))
            return [] if likely is None else [likely]
        same = self._by_memory.get((call.name, call.memory)) if call.memory else None
        if same is not None:
            return [same]
        return list(self._by_name.get(call.name, {}).values())[:_MOST]

    def went_on(self, chain: Chain) -> None:
        """The chain has one more call."""
        call = chain.calls[-1]
        self._by_end[id(call)] = chain
        self._by_memory[call.name, call.left] = chain
        by_name = self._by_name.setdefault(call.name, {})
        by_name.pop(id(chain), None)
        by_name[id(chain)] = chain


def _with_episodes(chains: list[Chain], place: dict[int, int]) -> list[Chain]:
    """Chains of a loop that begins anew, joined: each of them is an episode of one run."""
    joined: list[Chain] = []
    for name in dict.fromkeys(chain.name for chain in chains):
        group = [chain for chain in chains if chain.name == name]
        # Those that take turns, or hand no state on at all, are sequences of their own.
        ends = [place[id(chain.calls[-1])] for chain in group]
        apart = all(
            end < place[id(chain.calls[0])] for end, chain in zip(ends, group[1:], strict=False)
        )
        if not apart or all(len(chain.calls) == 1 for chain in group):
            joined += group
            continue
        runs = [group[0]]
        for chain in group[1:]:
            if _begins_anew(chain, runs[-1]):
                everyone = torch.ones_like(chain.calls[0].initial[0][:, 0], dtype=torch.bool)
                zero = chain.calls[0].initial[0].new_zeros(1, 1)
                anew = Passage(zero, None, everyone)
                runs[-1].calls += chain.calls
                runs[-1].passages += [anew, *chain.passages[1:]]
            else:
                runs.append(replace(chain))
        joined += runs
    return sorted(joined, key=lambda chain: place[id(chain.calls[0])])


def _begins_anew(chain: Chain, before: Chain) -> bool:
    """Whether a chain is the next episode of the loop that ``before`` was run by."""
    call, last = chain.calls[0], before.calls[-1]
    if call.reverse or call.lengths is not None or last.lengths is not None:
        return False
    if call.kind != last.kind or call.initial[0].shape != last.initial[0].shape:
        return False
    if call.origin is None or call.origin.call is not None or call.origin.opaque:
        return False
    if any(one.single and one.calls[0].origin is None for one in (chain, before)):
        return False
    # Whole sequences, each a call of its own, are a batch after the other, or two inputs.
    if not (chain.stepwise and before.stepwise) and len(before.calls) == 1:
        return False
    loops = [
        shared(one.calls[0].inside, one.calls[1].inside)
        for one in (before, chain)
        if len(one.calls) > 1
    ]
    return all(shared(last.inside, call.inside) == loop for loop in loops)


def shared(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """The module calls that both are a part of: where the loop runs that joins them."""
    pairs = list(zip(one, other, strict=False))
    same = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
    return one[:same]


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
            pairs = zip(call.connected, order[place].connected, strict=True)
            call.connected = tuple(a or b for a, b in pairs)
            call.stand_in_for(order[place])
            order[place] = call
    return order


def _repeats(call: Call, other: Call) -> bool:
    if other.differentiable or call.name != other.name or call.kind != other.kind:
        return False
    pairs = [(call.inputs, other.inputs), *zip(call.initial, other.initial, strict=True)]
    return all(torch.equal(a, b) for a, b in pairs)
