"""The joint measure of layers that read one another, whatever lies between, one loss at a time.

Calls are taken from the last to the first. Within a call the recurrence is swept in closed form;
what it sends into its input and its initial state goes on to the calls that these were made from:
by ``InStep`` where the link is known, else through the user's own graph (``Between``), while that
is whole. So every route counts, once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recording.assemble import in_batch_order
from throughtime.recording.calls import Call
from throughtime.recording.chains import Chain
from throughtime.recording.links.between import Between, shape_of
from throughtime.recording.links.clock import Clock
from throughtime.recording.links.routes import InStep
from throughtime.recurrences import Linearised
from throughtime.trace import Joint, relative_difference

# The rows of all calls are held so many times over.
_COPIES = 6
_LN10 = math.log(10)

Sources = Mapping[int, Float[Tensor, "A T B S"]]
"""By the id of a call: gradients of its states."""


class Sent(NamedTuple):
    """One gradient that autograd sent the whole way, and what arrived at initial states."""

    rows: dict[int, Float[Tensor, "T B S"]]
    arrived: dict[int, Float[Tensor, "B S"]]


class _Swept(NamedTuple):
    """What came of some losses: norms, what arrived at each call, and at each initial state."""

    norms: Float[Tensor, "A T B"]
    arrived: dict[int, Float[Tensor, "A T B S"]]
    begun: dict[int, Float[Tensor, "A B S"]]


@dataclass(eq=False)
class Group:
    """Chains that read one another, in one backward pass, with their clock and their links.

    Attributes:
        chains: the chains; ``calls`` are theirs, in the order of the run.
        links: by the id of a call, its links in closed form; ``between`` for all others.
        anchors: how many losses are followed at most.
        sent: for the comparison of long lags, where autograd was asked.
    """

    chains: tuple[Chain, ...]
    calls: list[Call]
    clock: Clock
    links: dict[int, list[InStep]]
    between: Between
    budget: int
    anchors: int
    sent: Sent | None = None
    _linear: dict[int, Linearised] = field(default_factory=dict)

    def measure(self, sources: dict[int, Float[Tensor, "T B S"]]) -> Joint | None:
        """The joint measure, compared with what the user's own backward pass has sent."""
        joint, arrived = self.swept(sources)
        return None if joint is None else replace(joint, difference=self.difference(arrived))

    def swept(
        self, sources: dict[int, Float[Tensor, "T B S"]]
    ) -> tuple[Joint | None, dict[int, Tensor]]:
        """From the direct gradients of all calls: losses one at a time, and all of them at once."""
        times = self._loss_times(sources)
        if not times:
            return None, {}
        self._linear = {id(call): _linearised(call) for call in self.calls}
        whole = {n: one.unsqueeze(0) for n, one in sources.items()}
        arrived = self._sweep(whole).arrived
        numbers = sum(math.prod(shape_of(call)) for call in self.calls)
        block = max(1, self.budget // (_COPIES * 8 * max(1, numbers)))
        blocks = [times[n : n + block] for n in range(0, len(times), block)]
        swept = [self._sweep(self._at(sources, some)).norms for some in blocks]
        both_ways = self.clock.ahead or any(call.reverse for call in self.calls)
        norms = self._defined(torch.cat(swept), sources, times, both_ways)
        mixed = any(getattr(one.gate, "mixes", False) for c in self.chains for one in c.passages)
        if mixed:
            norms = _as_one_sequence(norms)
        far, lag = self._far()
        self._linear = {}
        names = tuple(chain.name for chain in self.chains)
        joint = Joint(names, tuple(times), norms.numpy(), both_ways, None, far, lag, mixed)
        return joint, arrived

    def difference(self, arrived: dict[int, Tensor]) -> float:
        """What arrived at all states, by these steps and by the user's own pass: how far apart."""
        ours = [arrived[id(call)].flatten() for call in self.calls]
        theirs = [in_batch_order(call.direct(), call).double().flatten() for call in self.calls]
        return relative_difference(torch.cat(ours), torch.cat(theirs))

    def _defined(
        self, norms: Tensor, sources: dict[int, Tensor], times: Sequence[int], both_ways: bool
    ) -> Tensor:
        """NaN where nobody has a state, where a sequence has no loss, and past the loss."""
        steps, batch = norms.shape[1:]
        exists, sends = (torch.zeros(steps, batch, dtype=torch.bool) for _ in range(2))
        for call in self.calls:
            at, alive = self.clock.times[id(call)], _alive(call)
            here = torch.ones_like(at, dtype=torch.bool) if alive is None else alive.cpu()
            exists |= _at_times(at, here, steps)
            here = (sources[id(call)] != 0).any(-1).cpu()
            sends |= _at_times(at, here, steps)
        norms = norms.masked_fill(~exists | ~sends[list(times)].unsqueeze(1), torch.nan)
        if both_ways:
            return norms
        later = torch.arange(steps) > torch.tensor(times).unsqueeze(1)
        return norms.masked_fill(later.unsqueeze(-1), torch.nan)

    def _far(self) -> tuple[float | None, int]:
        """How far off these steps are from what autograd sent the whole way, and over what lag."""
        if self.sent is None:
            return None, 0
        begun = self._sweep({n: row.unsqueeze(0) for n, row in self.sent.rows.items()}).begun
        ours = torch.cat([begun[n].flatten() for n in self.sent.arrived])
        theirs = torch.cat([one.flatten() for one in self.sent.arrived.values()])
        smallest = 1e6 * torch.finfo(self.calls[0].outputs.dtype).tiny
        if max(float(ours.abs().max()), float(theirs.abs().max())) < smallest:
            return None, 0
        return relative_difference(ours, theirs), self.clock.steps

    def _loss_times(self, sources: dict[int, Tensor]) -> list[int]:
        found: set[int] = set()
        for call in self.calls:
            sends = (sources[id(call)] != 0).any(-1).cpu()
            found |= {*self.clock.times[id(call)][sends].tolist()}
        times = sorted(found)
        if len(times) <= self.anchors:
            return times
        chosen = torch.linspace(len(times) - 1, 0, self.anchors, dtype=torch.float64).round().long()
        return sorted({times[n] for n in chosen.tolist()})

    def _sweep(self, sources: Sources) -> _Swept:
        """From these gradients back to every state.

        ``later`` counts in the norm at the time of a state; ``beside`` came from a state of the
        same time, which is a coordinate of the joint state of its own, and goes on alone.
        """
        batch = len(self.calls[0].initial[0])
        size = len(next(iter(sources.values())))
        logs = torch.full((size, self.clock.steps, batch), -torch.inf, dtype=torch.float64)
        later = {n: rows.clone() for n, rows in sources.items()}
        beside = {n: torch.zeros_like(rows) for n, rows in later.items()}
        begun: dict[int, Tensor] = {}
        for call in reversed(self.calls):
            inputs, state, norms = self._within(call, later[id(call)], beside[id(call)])
            for at, norm in zip(self.clock.times[id(call)], norms, strict=True):
                place = (slice(None), at, torch.arange(batch))
                logs[place] = torch.logaddexp(logs[place], 2 * norm * _LN10)
            if not any(id(one) in later for one in call.follows):
                begun[id(call)] = state
            if inputs is not None:
                self._hand_down(call, inputs, state, later, beside)
        arrived = {n: later[n] + beside[n] for n in later}
        return _Swept(logs / (2 * _LN10), arrived, begun)

    def _at(self, sources: dict[int, Tensor], anchors: Sequence[int]) -> dict[int, Tensor]:
        """The direct gradients at the time of each of these losses, and zeros elsewhere."""
        found = {}
        for call in self.calls:
            source, times = sources[id(call)], self.clock.times[id(call)].to(self.device)
            found[id(call)] = torch.stack(
                [source * (times == anchor).to(source).unsqueeze(-1) for anchor in anchors]
            )
        return found

    @property
    def device(self) -> torch.device:
        """Of the states."""
        return self.calls[0].outputs.device

    def _onto(self, call: Call) -> list[Call]:
        """The calls of the group that a call reads, or goes on from."""
        known = self.clock.times
        return [one for one in dict.fromkeys((*call.reads, *call.follows)) if id(one) in known]

    def _within(
        self, call: Call, later: Tensor, beside: Tensor
    ) -> tuple[Tensor | None, Tensor, list[Float[Tensor, "A B"]]]:
        """Sweep a call: what goes to its inputs and to its initial state, and log10 norms."""
        linear = self._linear[id(call)]
        row = torch.zeros_like(later[:, 0])
        inputs, norms = [], []
        alive, read = _alive(call), bool(self._onto(call))
        for t in range(call.steps - 1, -1, -1):
            own = row + later[:, t]
            norms.append(_log_norm(own))
            whole = (own + beside[:, t]).contiguous()
            if read:
                inputs.append(linear.input_vjp(t, whole))
            back = linear.vjp(t, whole)
            row = back if alive is None else torch.where(alive[t].unsqueeze(-1), back, row)
        return (torch.stack(inputs[::-1], 1) if read else None), row, norms[::-1]

    def _hand_down(
        self,
        call: Call,
        inputs: Tensor,
        state: Tensor,
        later: dict[int, Tensor],
        beside: dict[int, Tensor],
    ) -> None:
        """What a call sends into its input and its initial state, on to the calls before."""
        if id(call) in self.links:
            for link in self.links[id(call)]:
                beside[id(link.below)] += link.pull(inputs)
            return
        onto = self._onto(call)
        straight = _handed_straight_on(call)
        if straight is not None and id(straight) in later:
            later[id(straight)][:, -1] += state
            onto, state = [one for one in onto if one in call.reads], torch.zeros_like(state)
        own = self.clock.times[id(call)]
        for a in range(len(inputs) if onto else 0):
            found = self.between.from_entry(call, inputs[a], state[a], onto)
            for other, part in zip(onto, found, strict=True):
                times = self.clock.times[id(other)]
                if call.steps == 1:
                    same = (times == own[0]).to(part.device).unsqueeze(-1)
                    later[id(other)][a] += torch.where(same, 0.0, part)
                    beside[id(other)][a] += torch.where(same, part, 0.0)
                elif self.clock.in_step[id(call)] and other in call.reads:
                    beside[id(other)][a] += part
                else:
                    later[id(other)][a] += part


def _handed_straight_on(call: Call) -> Call | None:
    """The call whose final state this one starts from as it is, and from nothing else."""
    origin = call.origin
    if origin is None or origin.call is None or origin.factor is not None or origin.opaque:
        return None
    alone = call.follows == (origin.call,) and origin.call.lengths is None
    return origin.call if alone and call.order is None and not call.passes.hooked else None


def _at_times(times: Tensor, here: Tensor, steps: int) -> Tensor:
    """Where, among all times (T B), something is of which ``here`` says so at its steps."""
    counts = torch.zeros(steps, times.shape[1], dtype=torch.long)
    found: Tensor = counts.scatter_add_(0, times, here.long()) > 0
    return found


def _as_one_sequence(norms: Float[Tensor, "A T B"]) -> Float[Tensor, "A T 1"]:
    """The norm over the whole batch, whose sequences go on from one another."""
    known = ~norms.isnan().all(-1, keepdim=True)
    logs = norms.nan_to_num(nan=-torch.inf, neginf=-torch.inf) * (2 * _LN10)
    joined = torch.logsumexp(logs, -1, keepdim=True) / (2 * _LN10)
    found: Tensor = joined.masked_fill(~known, torch.nan)
    return found


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


def _log_norm(rows: Float[Tensor, "A B S"]) -> Float[Tensor, "A B"]:
    """log10 of the norm of each row, also where its square underflows."""
    largest = rows.abs().amax(-1)
    scaled = rows / torch.where(largest > 0, largest, torch.ones_like(largest)).unsqueeze(-1)
    norm: Tensor = torch.linalg.vector_norm(scaled, dim=-1)
    return (norm.log10() + largest.log10()).cpu()


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
