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
    tails = _tail(inputs)
    before = torch.arange(steps - 1, device=inputs.device).unsqueeze(1) < (steps - tails - 1)
    alike = _alike(inputs[1:], inputs[:-1]) & before
    share = (alike.sum() + 1) / (before.sum() + 2)
    chance = batch * share.double() ** (tails - 1)
    found = torch.where((tails >= _FEWEST) & (tails < steps) & (chance < _CHANCE), tails, 0)
    if not found.any() or bool((found == found[0]).all()):
        return ()
    return tuple((steps - found).tolist())


def _tail(inputs: Float[Tensor, "T B I"]) -> Tensor:
    """How many of the last steps hold, entry by entry, one value or 0 (B)."""
    backwards = inputs.flip(0)
    silent = backwards == 0
    largest = backwards.masked_fill(silent, float("-inf")).cummax(0).values
    smallest = backwards.masked_fill(silent, float("inf")).cummin(0).values
    still = ((largest == smallest) | (largest < smallest)).all(-1)
    return still.long().cumprod(0).sum(0)


def _alike(now: Tensor, before: Tensor) -> Bool[Tensor, "T B"]:
    return ((now == before) | (now == 0) | (before == 0)).all(-1)
