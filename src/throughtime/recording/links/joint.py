"""The joint measure of layers that read one another, whatever lies between, one loss at a time.

Calls are taken from the last to the first. Within a call the recurrence is swept in closed form;
what it sends into its input and its initial state goes on through the user's own graph
(``Between``) to the calls that these were made from. So every route counts, once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recording.calls import Call
from throughtime.recording.chains import Chain
from throughtime.recording.links.between import Between, shape_of
from throughtime.recording.links.clock import Clock
from throughtime.recording.marks import Root
from throughtime.recurrences import Linearised
from throughtime.trace import Joint, relative_difference

# So many losses are followed, each through the graph on its own.
_ANCHORS = 16
# The rows of all calls are held so many times over.
_COPIES = 6
_LN10 = math.log(10)


@dataclass(eq=False)
class Pass:
    """The joint measure of one group of chains in one backward pass, before that pass runs.

    ``arrived``: by the id of a call, what all losses together send to its states from outside.
    """

    chains: tuple[Chain, ...]
    joint: Joint
    arrived: dict[int, Float[Tensor, "T B S"]] = field(default_factory=dict)


class _Swept(NamedTuple):
    """What came of some losses: norms, what arrived at each call, and at each initial state."""

    norms: Float[Tensor, "A T B"]
    arrived: dict[int, Float[Tensor, "A T B S"]]
    begun: dict[int, Float[Tensor, "A B S"]]


@torch.no_grad()
def joint_pass(
    group: Sequence[Chain], roots: Sequence[Root], between: Between, budget: int
) -> Pass | None:
    """The measure of chains that read one another; None where the loss reads none of them."""
    if any(call.again or call.changed_in_place for chain in group for call in chain.calls):
        return None
    return _Group(group, roots, between, budget).measure()


def connected(chains: Sequence[Chain]) -> list[tuple[Chain, ...]]:
    """Groups of chains of which one reads, or starts from, what another wrote."""
    owner = {id(call): n for n, chain in enumerate(chains) for call in chain.calls}
    group = list(range(len(chains)))
    for n, chain in enumerate(chains):
        for call in chain.calls:
            for other in (*call.reads, *call.follows):
                m = owner.get(id(other), n)
                if group[m] != group[n]:
                    old, new = group[m], group[n]
                    group = [new if one == old else one for one in group]
    return [
        tuple(chain for chain, one in zip(chains, group, strict=True) if one == number)
        for number in dict.fromkeys(group)
    ]


class _Group:
    """The calls of one group, their clock, and what the loss sends to each of them."""

    def __init__(
        self, chains: Sequence[Chain], roots: Sequence[Root], between: Between, budget: int
    ) -> None:
        self._chains, self._between = tuple(chains), between
        calls = [call for chain in chains for call in chain.calls]
        self._calls = sorted(calls, key=lambda call: call.at)
        pairs = [two for chain in chains for two in zip(chain.calls[1:], chain.calls, strict=False)]
        self._clock = Clock(self._calls, {id(a): b for a, b in pairs}, between)
        sources = between.from_roots(roots, self._calls)
        self._sources = {id(call): one for call, one in zip(self._calls, sources, strict=True)}
        self._linear = {id(call): _linearised(call) for call in self._calls}
        numbers = sum(math.prod(shape_of(call)) for call in self._calls)
        self._block = max(1, budget // (_COPIES * 8 * max(1, numbers)))

    def measure(self) -> Pass | None:
        """Losses one at a time, and all of them at once for the comparison with autograd."""
        times = self._loss_times()
        if not times:
            return None
        arrived = self._sweep([None]).arrived
        blocks = [times[n : n + self._block] for n in range(0, len(times), self._block)]
        swept = [self._sweep(block) for block in blocks]
        both_ways = any(call.reverse for call in self._calls)
        norms = self._defined(torch.cat([one.norms for one in swept]), times, both_ways)
        names = tuple(chain.name for chain in self._chains)
        joint = Joint(names, tuple(times), norms.numpy(), both_ways)
        far = self._far(times[-1], {n: row[-1] for n, row in swept[-1].begun.items()})
        joint = replace(joint, far=far, compared=times[-1] + 1)
        return Pass(self._chains, joint, {n: part[0] for n, part in arrived.items()})

    def _defined(self, norms: Tensor, times: Sequence[int], both_ways: bool) -> Tensor:
        """NaN where nobody has a state, where a sequence has no loss, and past the loss."""
        steps, batch = norms.shape[1:]
        exists, sends = (torch.zeros(steps, batch, dtype=torch.bool) for _ in range(2))
        for call in self._calls:
            at, alive = self._clock.times[id(call)], _alive(call)
            here = torch.ones_like(at, dtype=torch.bool) if alive is None else alive.cpu()
            exists |= torch.zeros_like(exists).scatter_(0, at, here)
            here = (self._sources[id(call)] != 0).any(-1).cpu()
            sends |= torch.zeros_like(sends).scatter_(0, at, here)
        norms = norms.masked_fill(~exists | ~sends[list(times)].unsqueeze(1), torch.nan)
        if both_ways:
            return norms
        later = torch.arange(steps) > torch.tensor(times).unsqueeze(1)
        return norms.masked_fill(later.unsqueeze(-1), torch.nan)

    def _far(self, anchor: int, begun: dict[int, Tensor]) -> float | None:
        """How far off what these steps send to all initial states is from what autograd sends."""
        calls = [call for call in self._calls if id(call) in begun]
        sources = [self._at(call, anchor) for call in self._calls]
        theirs = self._between.all_the_way(self._calls, sources, calls)
        ours = torch.cat([begun[id(call)].flatten() for call in calls])
        found = torch.cat([one.flatten() for one in theirs])
        smallest = 1e6 * torch.finfo(calls[0].outputs.dtype).tiny
        if max(float(ours.abs().max()), float(found.abs().max())) < smallest:
            return None
        return relative_difference(ours, found)

    def _loss_times(self) -> list[int]:
        found: set[int] = set()
        for call in self._calls:
            sends = (self._sources[id(call)] != 0).any(-1).cpu()
            found |= {*self._clock.times[id(call)][sends].tolist()}
        times = sorted(found)
        if len(times) <= _ANCHORS:
            return times
        chosen = torch.linspace(len(times) - 1, 0, _ANCHORS, dtype=torch.float64).round().long()
        return sorted({times[n] for n in chosen.tolist()})

    def _sweep(self, anchors: Sequence[int | None]) -> _Swept:
        """From these losses (None: from all of them) back to every state.

        ``later`` counts in the norm at the time of a state; ``beside`` came from a state of the
        same time, which is a coordinate of the joint state of its own, and goes on alone.
        """
        batch = len(self._calls[0].initial[0])
        logs = torch.full((len(anchors), self._clock.steps, batch), -torch.inf, dtype=torch.float64)
        later = {
            id(call): torch.stack([self._at(call, anchor) for anchor in anchors])
            for call in self._calls
        }
        beside = {n: torch.zeros_like(rows) for n, rows in later.items()}
        begun: dict[int, Tensor] = {}
        for call in reversed(self._calls):
            inputs, state, norms = self._within(call, later[id(call)], beside[id(call)])
            for at, norm in zip(self._clock.times[id(call)], norms, strict=True):
                place = (slice(None), at, torch.arange(batch))
                logs[place] = torch.logaddexp(logs[place], 2 * norm * _LN10)
            if not any(id(one) in later for one in call.follows):
                begun[id(call)] = state
            self._hand_down(call, inputs, state, later, beside)
        arrived = {n: later[n] + beside[n] for n in later}
        return _Swept(logs / (2 * _LN10), arrived, begun)

    def _at(self, call: Call, anchor: int | None) -> Tensor:
        """The direct gradients of a call at the time of one loss, and zeros elsewhere."""
        source = self._sources[id(call)]
        if anchor is None:
            return source
        here = (self._clock.times[id(call)] == anchor).to(source)
        return source * here.unsqueeze(-1)

    def _within(
        self, call: Call, later: Tensor, beside: Tensor
    ) -> tuple[Tensor, Tensor, list[Float[Tensor, "A B"]]]:
        """Sweep a call: what goes to its inputs and to its initial state, and log10 norms."""
        linear = self._linear[id(call)]
        row = torch.zeros_like(later[:, 0])
        inputs, norms = [], []
        alive = _alive(call)
        for t in range(call.steps - 1, -1, -1):
            own = row + later[:, t]
            norms.append(_log_norm(own))
            whole = (own + beside[:, t]).contiguous()
            inputs.append(linear.input_vjp(t, whole))
            back = linear.vjp(t, whole)
            row = back if alive is None else torch.where(alive[t].unsqueeze(-1), back, row)
        return torch.stack(inputs[::-1], 1), row, norms[::-1]

    def _hand_down(
        self,
        call: Call,
        inputs: Tensor,
        state: Tensor,
        later: dict[int, Tensor],
        beside: dict[int, Tensor],
    ) -> None:
        """What a call sends into its input and its initial state, on to the calls before."""
        onto = [one for one in dict.fromkeys((*call.reads, *call.follows)) if id(one) in later]
        if not onto:
            return
        own = self._clock.times[id(call)]
        for a in range(len(inputs)):
            found = self._between.from_entry(call, inputs[a], state[a], onto)
            for other, part in zip(onto, found, strict=True):
                times = self._clock.times[id(other)]
                if call.steps == 1:
                    same = (times == own[0]).to(part.device).unsqueeze(-1)
                    later[id(other)][a] += torch.where(same, 0.0, part)
                    beside[id(other)][a] += torch.where(same, part, 0.0)
                elif self._clock.in_step[id(call)] and other in call.reads:
                    beside[id(other)][a] += part
                else:
                    later[id(other)][a] += part


def _log_norm(rows: Float[Tensor, "A B S"]) -> Float[Tensor, "A B"]:
    """log10 of the norm of each row, also where its square underflows."""
    largest = rows.abs().amax(-1)
    scaled = rows / torch.where(largest > 0, largest, torch.ones_like(largest)).unsqueeze(-1)
    return (torch.linalg.vector_norm(scaled, dim=-1).log10() + largest.log10()).cpu()


def _alive(call: Call) -> Tensor | None:
    """Which steps of a packed call belong to its sequences (T B); None where all do."""
    if call.lengths is None:
        return None
    lengths = torch.tensor(call.lengths, device=call.outputs.device)
    lengths = lengths if call.order is None else lengths[call.order]
    return torch.arange(call.steps, device=lengths.device).unsqueeze(1) < lengths


def _linearised(call: Call) -> Linearised:
    """The recurrence of one call in float64, along what it computed."""
    cell = call.make(call.weights).to(torch.float64)
    parts = [call.inputs, call.outputs, torch.cat(call.initial, -1)]
    inputs, outputs, state = (part.double() for part in parts)
    if call.order is not None:
        inputs, outputs = (part.index_select(1, call.order) for part in (inputs, outputs))
        state = state.index_select(0, call.order)
    if call.steps == 1:
        return cell.linearise(state.unsqueeze(0), inputs)
    return cell.replay(inputs, outputs, state)[1]
