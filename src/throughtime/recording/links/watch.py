"""When the joint measure is taken: as a backward pass begins, while its graph is whole."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from throughtime.recording.assemble import in_batch_order
from throughtime.recording.calls import Call, Passes
from throughtime.recording.chains import Chain, find_chains
from throughtime.recording.feeds import Feeds
from throughtime.recording.links.between import Between
from throughtime.recording.links.joint import Pass, connected, joint_pass
from throughtime.recording.links.plain import plain_stack
from throughtime.recording.marks import Root
from throughtime.trace import Joint, relative_difference


@dataclass(eq=False)
class Joints:
    """The joint measures of a block, one for each backward pass and group of layers.

    ``retained``: tensors whose ``.grad`` the user asked for, which no pass of ours may fill.
    """

    passes: Passes
    feeds: Feeds
    budget: int
    retained: list[Tensor] = field(default_factory=list)
    taken: list[Pass] = field(default_factory=list)

    def look(self, calls: Sequence[Call], roots: Sequence[Root]) -> None:
        """Measure what has run since the pass before; at the start of a backward pass."""
        fresh = [call for call in calls if call.differentiable and call.after == self.passes.count]
        if len({call.name for call in fresh}) < 2:
            return
        reads = list({c: None for root, _ in roots for c in self.feeds.read(root)})
        between = Between(self.passes)
        groups = connected(find_chains(fresh))
        for group in groups:
            ours = {id(call) for chain in group for call in chain.calls}
            read = [call for call in reads if id(call) in ours]
            if len(group) < 2 or not read:
                continue
            if len(groups) == 1 and plain_stack(group, read):
                continue  # it is measured in closed form
            with self._undisturbed():
                try:
                    taken = joint_pass(group, roots, between, self.budget)
                except RuntimeError:  # a graph that is gone, or that a checkpoint guards
                    continue
            if taken is not None:
                self.taken.append(taken)

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        before = [tensor.grad for tensor in self.retained]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
        for tensor, gradient in zip(self.retained, before, strict=True):
            tensor.grad = gradient

    def traces(self, chains: Sequence[Chain], names: Sequence[str]) -> tuple[Joint, ...]:
        """The measures by the names of the rows, those of several passes joined."""
        owner = {
            id(call): name for chain, name in zip(chains, names, strict=True) for call in chain.calls
        }
        groups: dict[tuple[str, ...], list[Pass]] = {}
        for one in self.taken:
            rows = [owner.get(id(chain.calls[0])) for chain in one.chains]
            known = tuple(dict.fromkeys(row for row in rows if row is not None))
            if len(known) > 1 and None not in rows:
                groups.setdefault(known, []).append(one)
        return tuple(_joined(known, passes) for known, passes in groups.items())


def _joined(names: tuple[str, ...], passes: Sequence[Pass]) -> Joint:
    """Passes one after another, none of which sends anything to one before."""
    first = passes[0].joint
    difference = max(_difference(one) for one in passes)
    fars = [one.joint.far for one in passes if one.joint.far is not None]
    whole = replace(first, names=names, difference=difference, far=max(fars, default=None))
    if len(passes) == 1:
        return whole
    steps = sum(one.joint.steps for one in passes)
    anchors: list[int] = []
    norms, start = [], 0
    for one in passes:
        own = one.joint.norms
        wide = np.full((len(own), steps, own.shape[2]), np.nan)
        wide[:, :start] = np.where(np.isnan(own).all(1, keepdims=True), np.nan, -np.inf)
        wide[:, start : start + own.shape[1]] = own
        norms.append(wide)
        anchors += [start + t for t in one.joint.anchors]
        start += one.joint.steps
    return replace(whole, anchors=tuple(anchors), norms=np.concatenate(norms))


@torch.no_grad()
def _difference(one: Pass) -> float:
    """What arrived at all states, by the steps that were measured and by the user's own pass."""
    ours, theirs = [], []
    for chain in one.chains:
        for call in chain.calls:
            ours.append(one.arrived[id(call)].flatten())
            theirs.append(in_batch_order(call.direct(), call).double().flatten())
    return relative_difference(torch.cat(ours), torch.cat(theirs))
