"""Forget gates of an mLSTM or an sLSTM, from one head, or unit, to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from throughtime.remedies.initialisation.scales import (
    checked_found,
    checked_times,
    parameters_of,
)
from throughtime.remedies.remedy import Remedy

Module = TypeVar("Module", bound=nn.Module)
Write = Callable[[Tensor], None]

WHAT = "forget gates of heads: a linear fgate, fgate_preact or ifgate_preact, or an sLSTM's biases"
_FORGET = 1  # of i f z o


@torch.no_grad()
def forget_ramp_(module: Module, t_max: float = 404.0, t_min: float = 21.0) -> Module:
    """Forget-gate biases on a straight line, head by head (Beck et al. 2024, xLSTM).

    The paper's run from 3 to 6: ``f = σ(b)`` keeps over 21 to 404 steps, the defaults. Heads of an
    mLSTM get one bias each, units of each head of an sLSTM theirs. The gate's weights stay. A
    cap on the gate (``gate_soft_cap``) is taken into account.

    Helps where every head forgets before the span. The exponential input gate is left alone: what
    is written long ago must also outweigh what was written since.

    Args:
        module: a layer, or a model that holds some: all of them are changed.
        t_max: the longest time scale, in steps: the task's.
        t_min: the shortest one, in steps.

    Returns:
        The module.

    Raises:
        InputError: the times are out of order, or no module in it has such gates.
    """
    checked_times("forget_ramp", t_min, t_max)
    ends = torch.tensor([t_min, t_max], dtype=torch.float64)
    first, last = (-torch.log(torch.expm1(1 / ends))).tolist()
    for width, write in checked_found(module, forget_biases(module), WHAT):
        write(torch.linspace(first, last, width, dtype=torch.float64))
    return module


def forget_biases(module: nn.Module) -> Iterator[tuple[int, Write]]:
    """The forget gates of every module in ``module``: how many in a row, and what sets them."""
    for part in module.modules():
        cap = getattr(getattr(part, "config", None), "gate_soft_cap", None)
        for name in ("fgate", "fgate_preact", "ifgate_preact"):
            bias = getattr(getattr(part, name, None), "bias", None)
            if isinstance(bias, Tensor):
                own = bias.detach().chunk(2)[1] if name.startswith("if") else bias.detach()
                yield len(own), partial(_set, own, cap)
        if {"_bias_", "_recurrent_kernel_"} <= parameters_of(part).keys():
            proxy: Any = part.bias  # (heads gates units), whatever the order in which it is kept
            yield proxy.shape[-1], partial(_set_units, proxy)


def _set(bias: Tensor, cap: float | None, ramp: Tensor) -> None:
    if cap is not None:
        ramp = cap * torch.atanh((ramp / cap).clamp(max=1 - 1e-6))
    bias.copy_(ramp)


def _set_units(proxy: Any, ramp: Tensor) -> None:
    proxy[:, _FORGET] = ramp.to(proxy[0, _FORGET])


FORGET_RAMP = Remedy(
    "forget-ramp",
    "gates",
    "sets the forget gates of the heads on a line that ends at the span",
    "헤드들의 망각 게이트 편향을 필요한 거리에서 끝나는 직선 위에 둡니다",
    "Beck et al. 2024",
    ("vanishing", "gates closed"),
    lambda model: any(True for _ in forget_biases(model)),
    lambda model, span, _draw: forget_ramp_(model, span, min(21.0, span)),
    "forget_ramp_({model}, t_max={span}, t_min=min(21, {span}))",
)
