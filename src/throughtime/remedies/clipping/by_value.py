"""``clip_grad_value_``: every entry by itself."""

from __future__ import annotations

import math

import torch

from throughtime.errors import InputError
from throughtime.remedies.clipping.nonfinite import Lost, nonfinite, tell
from throughtime.remedies.clipping.norm import groups, measured
from throughtime.remedies.clipping.parts import Parameters, above_zero, parts


def clip_grad_value_(
    parameters: Parameters, clip_value: float, foreach: bool | None = None
) -> None:
    """Bring every entry of the gradients to between −clip_value and clip_value.

    Arguments and numbers of ``torch.nn.utils.clip_grad_value_`` (Mikolov 2012 clipped so), except
    that a NaN becomes 0 and is told in a ``LostGradientWarning``. An infinite entry has a sign:
    it becomes ±clip_value, as torch has it.

    When it helps: a few entries that are far too large. When it does not: it turns the direction
    of the gradient; where all of it explodes, clip its norm.

    Args:
        parameters: one tensor or any iterable of them; those without a gradient are passed over.
        clip_value: the largest entry to let through, above 0.
        foreach: as torch's: work on many tensors at once; None for where that is possible.

    Raises:
        InputError: ``clip_value`` is not above 0, or a gradient is complex and has no order.
    """
    bound = above_zero("clip_value", clip_value)
    with torch.no_grad():
        lost = _clip(parameters, bound, foreach)
    tell(lost, stacklevel=2)


def _clip(parameters: Parameters, bound: float, foreach: bool | None) -> list[Lost]:
    found = parts(parameters)
    for place, parameter, values in found:
        if values.is_complex():
            raise InputError(
                f"parameter {place} of shape {tuple(parameter.shape)} is complex, and complex "
                "numbers have no order: use clip_grad_norm_"
            )
    every = [part.values for part in found]
    for at_once, run in groups(every, foreach):
        if at_once:
            torch._foreach_clamp_min_(run, -bound)
            torch._foreach_clamp_max_(run, bound)
        else:
            for one in run:
                one.clamp_(-bound, bound)
    if not math.isnan(measured(every, 2.0, foreach).size):
        return []
    lost = [one for one in nonfinite(found) if one.nan]
    for one in every:
        one.masked_fill_(one.isnan(), 0)
    return lost
