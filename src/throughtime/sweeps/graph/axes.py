"""Which axis of a tensor is time: by the modules' conventions, by size, and by what mixes.

Sequences of a batch never mix, and steps do: a gradient sent into one step of the output comes back
to other steps of the input, and to no other sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from throughtime.sweeps.graph.watch import Seen, Watch


@dataclass(frozen=True)
class Time:
    """How long a sequence is, and on which axis of its tensors time usually lies.

    ``axes``: how many axes those tensors have.
    """

    steps: int
    axis: int
    axes: int

    def axis_of(self, seen: Seen) -> int | None:
        """The time axis of a tensor; None where it has none."""
        shape = seen.shape
        places = [n for n, size in enumerate(shape) if size == self.steps]
        if len(shape) < 2 and not (self.axes == 2 and self.axis == 0 and places):
            return None
        if len(shape) == 2 and self.axes > 2 and seen.leaf and seen.kind != "Embedding":
            return None  # (B F) out of a Linear: an F that happens to be T is no time
        if len(shape) == 2 and self.axes == 2 and self.axis == 0:
            return 0 if 0 in places else None  # a single sequence: (T F)
        if len(shape) > 3 and self.axis in places[:1]:
            return self.axis
        order = (self.axis, 1, 0, *range(2, len(shape)))
        return next((axis for axis in order if axis in places), None)


def told(watch: Watch) -> Time | None:
    """What the modules that ran say by their own conventions.

    A convolution may be given a sequence that was padded before: the tensor that the model was
    given has its true length.
    """
    sure = next((one for one in watch.hints if not one.channels), None)
    if sure is not None:
        return Time(sure.steps, sure.axis, sure.axes)
    for hint in watch.hints:
        given = next((one for one in watch.seen if not one.output or hint.axes > 2), None)
        shape = () if given is None else given.shape
        if hint.steps in shape:
            return Time(hint.steps, hint.axis, hint.axes)
        if len(shape) == 3 and hint.channels in shape[1:]:
            axis = 1 if shape[2] == hint.channels else 2
            return Time(shape[axis], axis, 3)
        return Time(hint.steps, hint.axis, hint.axes)
    return None


def mixed(source: Seen, outputs: Sequence[Seen]) -> Time | None:
    """The axis along which the steps of ``source`` mix on the way to a later output.

    The first axis without a batch where it mixes, else the second one; None where neither does, or
    no output has both axes.
    """
    for output in reversed(outputs):
        if output.edge == source.edge or len(output.shape) < 2:
            continue
        if output.shape[:2] == source.shape[:2]:
            # Of two axes the second may hold features, which always mix.
            able = [n for n in ((1, 0) if len(source.shape) > 2 else (0,)) if source.shape[n] > 1]
            mixing = [axis for axis in able if mixes(source, axis, output, axis)]
            if mixing:
                axis = mixing[0]
                return Time(source.shape[axis], axis, len(source.shape))
        elif len(source.shape) > 2 and output.shape[0] in source.shape[:2]:
            batch = source.shape.index(output.shape[0])
            other = 1 - batch
            if source.shape[0] == source.shape[1]:
                able = [axis for axis in (0, 1) if not mixes(source, axis, output, 0)]
                other = 1 - able[0] if able else 1
            if source.shape[other] > 1 and pulled(output.edge, [source.edge], _one(output, 0)):
                return Time(source.shape[other], other, len(source.shape))
    return None


def mixes(source: Seen, axis: int, output: Seen, along: int) -> bool:
    """Whether the last entry of the output along one axis depends on others than its like."""
    back = pulled(output.edge, [source.edge], _one(output, along))
    if not back or back[0] is None:
        return False
    others = back[0].narrow(axis, 0, source.shape[axis] - 1)
    return bool((others != 0).any())


def pulled(end: GradientEdge, onto: Sequence[GradientEdge], sent: Tensor) -> list[Tensor | None]:
    """What autograd makes of one gradient at the places ``onto``; empty where it fails."""
    try:
        return list(
            torch.autograd.grad([end], list(onto), [sent], retain_graph=True, allow_unused=True)
        )
    except RuntimeError:
        return []


def _one(output: Seen, axis: int) -> Tensor:
    """A random gradient into the last entry along an axis, and nothing else."""
    sent = torch.zeros(output.shape, dtype=output.dtype, device=output.device)
    last = sent.select(axis, output.shape[axis] - 1)
    generator = torch.Generator().manual_seed(0)
    last.copy_(torch.randn(last.shape, generator=generator))
    return sent
