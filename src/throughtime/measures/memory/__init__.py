"""``memory``: the forward side. Does the state still hold the input of k steps ago?

What a gradient cannot bring back may still be there, and what is there may be out of a gradient's
reach: how far the input of k steps ago still moves the state (``sensitivity``), how well it can be
read off it (``capacity``), and how many directions the states fill at all (``rank``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.errors import InputError
from throughtime.findings import Measurement
from throughtime.measures.memory.capacity import memory_capacity
from throughtime.measures.memory.rank import effective_rank
from throughtime.measures.memory.sensitivity import input_memory
from throughtime.trace import LayerTrace, Trace, one_layer, with_tangent


def memory(
    trace: Trace | LayerTrace,
    layer: str | int | None = None,
    *,
    longest: int | None = None,
    starts: int | None = None,
    probes: int | None = None,
) -> list[Measurement]:
    """What the state of one layer still holds of the inputs that came before.

    Args:
        trace: a ``Trace``, or one of its layers.
        layer: which layer; None for the only one.
        longest: the longest lag that is looked at; None for all that the capture holds, and for
            the memory capacity no more than half of it.
        starts: from how many steps the input is followed, evenly spread; None for 4 to 32.
        probes: in how many directions of the input; None for all of up to 16, and else for 8
            random ones, whose mean square is that of all.

    Returns:
        Three measurements:

        * ``"input memory"``, log10 ‖∂s_t/∂x_{t−k}‖ (Frobenius), axes (quantile, lag): the lowest
          tenth, the median and the highest tenth over start times and sequences; NaN where no start
          sees so far, −inf for an exact zero.
        * ``"memory capacity"`` (Jaeger 2001), R² of a linear read-out of x_{t−k} from s_t, axes
          (figure, lag): ``"held out"``, on data that it was not fitted to; ``"baseline"``, from x_t
          alone: what the input's own autocorrelation gives. Its sum over the lags is the capacity:
          for independent inputs no more than S. No lags, and ``how`` says why, where there is
          too little data or nothing to remember.
        * ``"effective rank"``, axes (figure,): ``"effective rank"``, exp of the entropy of the
          states' normalised covariance eigenvalues (Roy & Vetterli 2007); ``"participation
          ratio"``, (Σλ)²/Σλ²; ``"state size"``, S.

    Raises:
        InputError: for an unknown layer, several of which none was chosen, a layer whose inputs
            are not known, or a number out of range.
        UnsupportedError: for a marked recurrence, which has no tangent.
    """
    one = with_tangent(one_layer(trace, layer, "memory is that"))
    for name, value in (("longest", longest), ("starts", starts), ("probes", probes)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, not {value}")
    inputs = _inputs(one)
    return [
        input_memory(one, inputs.shape[-1], longest, starts, probes),
        memory_capacity(one, inputs, longest),
        effective_rank(one),
    ]


def _inputs(layer: LayerTrace) -> Tensor:
    """What every step read (T B I), in the order of computation."""
    read = [layer.linear.read(t).get("input") for t in range(layer.steps)]
    known = [one for one in read if one is not None]
    if not known or len(known) < len(read):
        raise InputError(f"the inputs of layer {layer.name!r} were not recorded: capture its run")
    return torch.stack(known)
