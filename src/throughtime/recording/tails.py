"""Where the sequences of a batch seem to end: from there on their input stands still."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# So many steps, at least, that stand still are taken for padding.
_FEWEST = 3
# The chance, over the whole batch, that steps of real data stand still as long.
_CHANCE = 1e-3


@torch.no_grad()
def ends(inputs: Float[Tensor, "T B I"]) -> tuple[int, ...]:
    """The length of each sequence without its padded tail; empty if this batch is not padded.

    A tail is padding where it is long beyond chance, given how often neighbouring steps before it
    look alike, and where the sequences end at different steps: a task whose input falls silent at
    the same step for all has no padding. Dropout may have set entries of the tail to 0.
    """
    steps, batch = inputs.shape[:2]
    if batch < 2 or steps <= _FEWEST or not inputs.is_floating_point():
        return ()
    equal, tails = _tails(inputs)
    before = torch.arange(steps - 1, device=inputs.device).unsqueeze(1) < (steps - tails - 1)
    alike = _alike(inputs[1:], inputs[:-1]) & before
    share = (alike.sum() + 1) / (before.sum() + 2)
    chance = batch * share.double() ** (tails - 1)
    padded = (tails >= _FEWEST) & (tails < steps) & (chance < _CHANCE)
    # What pads one sequence pads the others too, however few its steps.
    last = inputs[-1]
    same = (last.unsqueeze(1) == last[padded & (equal == tails)].unsqueeze(0)).all(-1).any(1)
    found = torch.where(padded, tails, torch.where(same & (equal < steps), equal, 0))
    if not found.any() or bool((found == found[0]).all()):
        return ()
    return tuple((steps - found).tolist())


def _tails(inputs: Float[Tensor, "T B I"]) -> tuple[Tensor, Tensor]:
    """How many of the last steps are equal; and, entry by entry, are equal where they are not 0.

    The second is the first where that is long enough: the last real step before zeros would pass
    for a part of a tail with dropout. What ends in an infinite number has no tail: that is a fault.
    """
    backwards = inputs.flip(0)
    equal = _length((backwards == backwards[0]).all(-1))
    silent = backwards == 0
    largest = backwards.masked_fill(silent, float("-inf")).cummax(0).values
    smallest = backwards.masked_fill(silent, float("inf")).cummin(0).values
    dropped = _length((largest <= smallest).all(-1))
    tails = torch.where(equal >= _FEWEST, equal, dropped)
    finite = backwards[0].isfinite().all(-1)
    return equal * finite, tails * finite


def _length(still: Bool[Tensor, "T B"]) -> Tensor:
    return still.long().cumprod(0).sum(0)


def _alike(now: Tensor, before: Tensor) -> Bool[Tensor, "T B"]:
    return ((now == before) | (now == 0) | (before == 0)).all(-1)
