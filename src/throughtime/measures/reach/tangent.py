"""A second check of ``reach``, where finite differences have too few digits: forward mode.

The derivative of the loss step along a move of the source is carried forwards through the run, by
formulas that backpropagation has no part in, and without a difference that rounding could eat.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from throughtime.measures.reach.nudge import Nudged, Silent
from throughtime.randomness import undisturbed
from throughtime.sweeps.graph import Watch


def carried(model: nn.Module, closure: Callable[[], Any], probe: Nudged) -> float | None:
    """|carried − expected| / expected; None where a part of the run has no forward mode."""
    found: list[float] = []

    def change(module: int, output: bool, call: int, value: Tensor) -> Tensor:
        key = (module, output, call)
        direction = probe.moves.get(key)
        if direction is not None and direction.shape == value.shape:
            value = forward_ad.make_dual(value, direction.to(value))
        read = probe.reads.get(key)
        if read is not None and read.shape == value.shape:
            tangent = forward_ad.unpack_dual(value).tangent
            found.append(0.0 if tangent is None else float((read * tangent).double().sum()))
        return value

    try:
        with ExitStack() as stack:
            stack.enter_context(undisturbed(model))
            stack.enter_context(forward_ad.dual_level())
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))  # the fused ones have no forward mode
            stack.enter_context(Silent())
            stack.enter_context(Watch(model, change=change))
            closure()
    except Exception:  # noqa: BLE001  — the user's closure, under another mode
        return None
    if len(found) != len(probe.reads):
        return None
    return abs(sum(found) - probe.expected) / probe.expected
