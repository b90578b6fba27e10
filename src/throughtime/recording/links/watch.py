"""When the joint measure is taken: as a backward pass begins, while its graph is whole.

Where all links are known in closed form nothing is measured until somebody asks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.recording.assemble import in_batch_order
from throughtime.recording.calls import Call, Passes
from throughtime.recording.chains import Chain, find_chains
from throughtime.recording.feeds import Feeds
from throughtime.recording.links.between import Between, shape_of
from throughtime.recording.links.clock import Clock
from throughtime.recording.links.joint import Group, Sent, connected
from throughtime.recording.links.plain import plain_stack
from throughtime.recording.links.routes import InStep, measured, within_a_run
from throughtime.recording.marks import Root
from throughtime.trace import Joint

# So many losses are followed; fewer in a capture that pulls each of them through the graph.
_ANCHORS, _FEW = 16, 8

Sources = dict[int, Float[Tensor, "T B S"]]


@dataclass(eq=False)
class _Taken:
    """A group whose graph was looked at, and how its joint measure is had.

    ``below``: what the losses send into calls that others of the group read, by the id of the call,
    where that is not known otherwise; it adds up over passes.
    """

    group: Group
    measure: Callable[[], Joint | None]
    below: Sources | None = None


@dataclass(eq=False)
class Joints:
    """The joint measures of a block, one for each backward pass and group of layers.

    ``thorough``: autograd is also asked for a gradient that it sends the whole way.
    """

    passes: Passes
    feeds: Feeds
    budget: int
    thorough: bool = False
    taken: list[_Taken] = field(default_factory=list)

    def look(self, calls: Sequence[Call], roots: Sequence[Root]) -> None:
        """At the start of a backward pass: what has run since the one before."""
        fresh = [call for call in calls if call.differentiable and call.after == self.passes.count]
        if not any(map(_reads_another, fresh)) and not self.taken:
            return
        reached = self._reached(roots)
        for taken in self.taken:
            ours = {id(call) for call in taken.group.calls}
            if ours & reached:
                reached -= ours
                self._once_more(taken, roots)
        fresh = [call for call in calls if id(call) in reached]
        with self._undisturbed(), torch.no_grad():
            groups = connected(find_chains(fresh)) if len(fresh) > 1 else []
            for group in groups:
                if len(group) < 2 or not all(map(_measurable, group)):
                    continue
                try:
                    self._look(group, roots, alone=len(groups) == 1)
                except RuntimeError:  # a graph that is gone, or that a checkpoint guards
                    continue

    def _look(self, chains: tuple[Chain, ...], roots: Sequence[Root], alone: bool) -> None:
        ours = {id(call) for chain in chains for call in chain.calls}
        reads = {c: None for root, _ in roots for c in self.feeds.read(root) if id(c) in ours}
        if not reads or (alone and plain_stack(chains, list(reads))):
            return  # a plain stack is measured in closed form
        between = Between(self.passes)
        calls = sorted((call for chain in chains for call in chain.calls), key=lambda call: call.at)
        if _one_run(calls):
            group = Group(
                chains,
                calls,
                Clock.in_one_run(calls),
                _of_run(calls),
                between,
                self.budget,
                _ANCHORS,
            )
            self.taken.append(_Taken(group, lambda: group.measure(_of_stack(calls))))
            self._send(group)
            return
        pairs = [two for one in chains for two in zip(one.calls[1:], one.calls, strict=False)]
        clock = Clock(calls, {id(a): b for a, b in pairs}, between)
        links = _in_closed_form(calls, ours, clock, between)
        most = _FEW if links is None and not self.thorough else _ANCHORS
        group = Group(chains, calls, clock, links or {}, between, self.budget, most)
        self._send(group)
        tops = {id(call) for call in calls} - {id(one) for call in calls for one in call.reads}
        if links is not None and {id(call) for call in reads} <= tops:
            self._later(group, tops, {})
            return
        found = between.from_roots(roots, calls)
        sources = {id(call): one for call, one in zip(calls, found, strict=True)}
        if links is not None:
            self._later(group, tops, sources)
        else:
            self._measure_now(group, sources)

    def _later(self, group: Group, tops: set[int], below: Sources) -> None:
        """Measure when somebody asks, and all backward passes have run."""
        measure = lambda: group.measure(_with_tops(group.calls, tops, below))  # noqa: E731
        self.taken.append(_Taken(group, measure, below))

    def _once_more(self, taken: _Taken, roots: Sequence[Root]) -> None:
        """Another loss reads layers that one has read already: what they send adds up."""
        if taken.below is None:
            return
        with self._undisturbed(), torch.no_grad():
            try:
                found = taken.group.between.from_roots(roots, taken.group.calls)
            except RuntimeError:  # torch says it once more, to the user
                return
        for call, rows in zip(taken.group.calls, found, strict=True):
            held = taken.below.get(id(call))
            taken.below[id(call)] = rows if held is None else held + rows

    def _measure_now(self, group: Group, sources: Sources) -> None:
        joint, arrived = group.swept(sources)
        if joint is not None:
            compared = lambda: replace(joint, difference=group.difference(arrived))  # noqa: E731
            self.taken.append(_Taken(group, compared))

    def _reached(self, roots: Sequence[Root]) -> set[int]:
        """The calls that a backward pass from these roots goes through."""
        waiting = [call for root, _ in roots for call in self.feeds.read(root)]
        reached: set[int] = set()
        while waiting:
            call = waiting.pop()
            if id(call) not in reached:
                reached.add(id(call))
                waiting += [*call.reads, *call.follows]
        return reached

    def _send(self, group: Group) -> None:
        """Let autograd send one gradient from the last states to the first, the whole way."""
        if not self.thorough:
            return
        draw = torch.Generator().manual_seed(4)
        rows = {id(call): _nothing(call) for call in group.calls}
        read = {id(one) for call in group.calls for one in (*call.reads, *call.follows)}
        for call in group.calls:
            if id(call) not in read:
                width = call.outputs.shape[-1]
                last = torch.tensor(call.lengths or (call.steps,) * shape_of(call)[1]) - 1
                last = last if call.order is None else last[call.order.cpu()]
                sent = torch.randn(len(last), width, generator=draw, dtype=torch.float64)
                rows[id(call)][last, torch.arange(len(last)), :width] = sent.to(group.device)
        heads = [c for c in group.calls if not any(id(one) in rows for one in c.follows)]
        sources = [rows[id(call)] for call in group.calls]
        found = group.between.all_the_way(group.calls, sources, heads)
        group.sent = Sent(rows, {id(call): one for call, one in zip(heads, found, strict=True)})

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        before = [tensor.grad for tensor in self.passes.retained]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
        for tensor, gradient in zip(self.passes.retained, before, strict=True):
            tensor.grad = gradient

    def traces(self, chains: Sequence[Chain], names: Sequence[str]) -> tuple[Joint, ...]:
        """The measures by the names of the rows, those of several passes joined."""
        owner = {
            id(call): name
            for chain, name in zip(chains, names, strict=True)
            for call in chain.calls
        }
        groups: dict[tuple[str, ...], list[Joint]] = {}
        for taken in self.taken:
            rows = [owner.get(id(chain.calls[0])) for chain in taken.group.chains]
            known = tuple(dict.fromkeys(row for row in rows if row is not None))
            joint = taken.measure() if len(known) > 1 and None not in rows else None
            if joint is not None:
                groups.setdefault(known, []).append(replace(joint, names=known))
        return tuple(_joined(passes) for passes in groups.values())


def _measurable(chain: Chain) -> bool:
    """Not so where a checkpoint ran it again, nor where its own state is not what goes on."""
    return not chain.spoilt() and not any(call.again for call in chain.calls)


def _reads_another(call: Call) -> bool:
    """Whether a call reads any, or starts from the state of one that no chain joins it to."""
    others = (one.name != call.name or one.lengths is not None for one in call.follows)
    return bool(call.reads) or any(others)


def _nothing(call: Call) -> Tensor:
    return torch.zeros(shape_of(call), dtype=torch.float64, device=call.outputs.device)


def _one_run(calls: Sequence[Call]) -> bool:
    """Whether these are the layers of one call of one stacked module, and no more."""
    return calls[0].run != (0, 0) and all(call.run[0] == calls[0].run[0] for call in calls)


def _of_run(calls: Sequence[Call]) -> dict[int, list[InStep]]:
    layers: dict[int, list[Call]] = {}
    for call in calls:
        layers.setdefault(call.run[1], []).append(call)
    return {id(c): within_a_run(c, layers[c.run[1] - 1]) for c in calls if c.run[1] - 1 in layers}


def _of_stack(calls: Sequence[Call]) -> Sources:
    """What the loss sends into the layers of one run: below the top, to final states alone."""
    top = max(call.run[1] for call in calls)
    found = {}
    for call in calls:
        direct = call.direct() if call.run[1] == top else call.direct(outputs=False)
        found[id(call)] = in_batch_order(direct, call).double()
    return found


def _with_tops(calls: Sequence[Call], tops: set[int], below: Sources) -> Sources:
    """What the loss sends into all calls: into those that no other reads, all that arrives."""
    return {
        id(call): in_batch_order(call.direct(), call).double()
        if id(call) in tops
        else below.get(id(call), _nothing(call))
        for call in calls
    }


def _in_closed_form(
    calls: Sequence[Call], ours: set[int], clock: Clock, between: Between
) -> dict[int, list[InStep]] | None:
    """The links of all calls; None where one of them has to be pulled through the graph."""
    links: dict[int, list[InStep]] = {}
    for call in calls:
        below = [one for one in call.reads if id(one) in ours]
        if any(id(one) in ours for one in call.follows):
            return None
        if not below:
            continue
        alike = call.steps > 1 and all(one.steps == call.steps for one in below)
        found = measured(call, below, between) if alike and clock.in_step[id(call)] else None
        if found is None:
            return None
        links[id(call)] = found
    return links


def _joined(passes: Sequence[Joint]) -> Joint:
    """Passes one after another, none of which sends anything to one before."""
    if len(passes) == 1:
        return passes[0]
    steps = sum(one.steps for one in passes)
    anchors: list[int] = []
    norms, start = [], 0
    for one in passes:
        wide = np.full((len(one.norms), steps, one.norms.shape[2]), np.nan)
        wide[:, :start] = np.where(np.isnan(one.norms).all(1, keepdims=True), np.nan, -np.inf)
        wide[:, start : start + one.steps] = one.norms
        norms.append(wide)
        anchors += [start + t for t in one.anchors]
        start += one.steps
    fars = [one.far for one in passes if one.far is not None]
    differences = [one.difference for one in passes if one.difference is not None]
    return replace(
        passes[0], anchors=tuple(anchors), norms=np.concatenate(norms),
        difference=max(differences, default=None), far=max(fars, default=None),
    )  # fmt: skip  # a list, not a column
