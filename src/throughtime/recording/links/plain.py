"""Links in closed form: a layer that reads, as it is or through dropout, what another wrote."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from throughtime.recording.assemble import in_batch_order
from throughtime.recording.calls import Call
from throughtime.recording.chains import Chain
from throughtime.recording.kernels import joined
from throughtime.trace import Link


def find_links(chains: Sequence[Chain], names: Sequence[str]) -> tuple[Link, ...]:
    """Which layer reads, step by step, what which other layer wrote."""
    links = []
    for above, name in zip(chains, names, strict=True):
        scales = [
            in_batch_order(call.scale, call) for call in above.calls if call.scale is not None
        ]
        for below, lower in zip(chains, names, strict=True):
            if below is above or above.calls[0].reverse or below.calls[0].reverse:
                continue
            if _reads(above.calls, below.calls):
                scale = joined(scales) if scales else None
                links.append(Link((lower,), name, scale))
                break
    return tuple(links)


def stacks(links: Sequence[Link]) -> list[set[str]]:
    """The names of the layers that stand on one another, each stack for itself."""
    found: list[set[str]] = []
    for link in links:
        names = {*link.below, link.above}
        touched = [one for one in found if one & names]
        found = [one for one in found if one not in touched] + [names.union(*touched)]
    return found


def _reads(above: Sequence[Call], below: Sequence[Call]) -> bool:
    if len(above) != len(below):
        return False
    for upper, lower in zip(above, below, strict=True):
        if [id(call) for call in upper.reads] != [id(lower)]:
            return False
        if not upper.plain and upper.scale is None:
            return False
        written = lower.outputs[..., : lower.read]
        if upper.inputs.shape != written.shape:
            return False
        written = written if upper.scale is None else written * upper.scale
        if not torch.equal(upper.inputs, written):
            return False
    return True


def plain_stack(chains: Sequence[Chain], loss_reads: Sequence[Call]) -> bool:
    """Whether these chains, lowest first, are a stack whose top alone the loss reads."""
    if any(chain.calls[0].reverse for chain in chains):
        return False
    top = {id(call) for call in chains[-1].calls}
    if not {id(call) for call in loss_reads} <= top:
        return False
    for chain in chains:
        own = {id(call) for call in chain.calls}
        if any(id(one) not in own for call in chain.calls for one in call.follows):
            return False
    return all(_reads(above.calls, below.calls) for below, above in pairwise(chains))
