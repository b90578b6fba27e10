"""Decays of the linear recurrences that keep them as a parameter: RG-LRU and LRU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from throughtime.remedies.initialisation.scales import (
    checked_found,
    checked_times,
    inverse_softplus,
    parameters_of,
)
from throughtime.remedies.remedy import Remedy

Module = TypeVar("Module", bound=nn.Module)
Write = Callable[[Tensor], None]

WHAT = (
    "a ring of decays: recurrent_param or a_param, as the RG-LRU has it, or nu_log, as the LRU does"
)
_C = 8.0  # of the RG-LRU: log a_t = −c r_t softplus(Λ)


@torch.no_grad()
def decay_ring_(
    module: Module,
    t_max: float = 1000.0,
    t_min: float = 10.0,
    generator: torch.Generator | None = None,
) -> Module:
    """Draw every decay from a ring, as LRU and Griffin do (Orvieto et al. 2023, De et al. 2024).

    ``|λ|`` is uniform in area between ``exp(−1/t_min)`` and ``exp(−1/t_max)``, with the defaults
    about 0.9 and 0.999. An RG-LRU multiplies the logarithm of its decay with a gate r between 0
    and 1: here it has this decay where the input adds nothing to the gate. (Griffin means the gate
    at 1: at r = ½ its time scales are twice as long.) An LRU keeps what it writes at unit size:
    γ is set with λ.

    Helps where no unit remembers up to the span. With most units slow little of the recent input
    is told apart: keep ``t_min`` short.

    Args:
        module: a layer, or a model that holds some: all of them are changed.
        t_max: the longest time scale, in steps: the task's.
        t_min: the shortest one, in steps.
        generator: what they are drawn from; None for torch's global one.

    Returns:
        The module.

    Raises:
        InputError: the times are out of order, or no module in it has such decays.
    """
    checked_times("decay_ring", t_min, t_max)
    inner, outer = (math.exp(-2 / t) for t in (t_min, t_max))
    for parameter, write in checked_found(module, decay_rings(module), WHAT):
        squared = torch.empty_like(parameter, dtype=torch.float64)
        squared.uniform_(inner, outer, generator=generator)
        write(-squared.log() / 2)
    return module


def decay_rings(module: nn.Module) -> Iterator[tuple[Tensor, Write]]:
    """The decays of every module in ``module``; each is written by its rate, ``−log |λ|``."""
    for part in module.modules():
        held = parameters_of(part)
        for name in ("recurrent_param", "a_param"):
            if name in held:
                yield held[name].detach(), _gated(held[name].detach(), _gate(part, held))
        for name, parameter in held.items():
            if name.startswith("nu_log"):
                suffix = name.removeprefix("nu_log")
                yield (
                    parameter.detach(),
                    _ungated(parameter.detach(), held.get(f"gamma_log{suffix}")),
                )


def _gate(part: nn.Module, held: dict[str, Tensor]) -> Tensor | None:
    """The bias of the gate r: of the module itself, or of its ``a_gate``."""
    bias = held.get("recurrent_gate_bias", getattr(getattr(part, "a_gate", None), "b", None))
    return bias.detach() if isinstance(bias, Tensor) else None


def _gated(parameter: Tensor, bias: Tensor | None) -> Write:
    def write(rates: Tensor) -> None:
        opened = 0.5 if bias is None else bias.double().sigmoid().flatten()
        parameter.copy_(inverse_softplus(rates / (_C * opened)))

    return write


def _ungated(parameter: Tensor, gamma: Tensor | None) -> Write:
    def write(rates: Tensor) -> None:
        parameter.copy_(rates.log())
        if gamma is not None:
            gamma.detach().copy_(torch.log(-torch.expm1(-2 * rates)) / 2)

    return write


DECAY_RING = Remedy(
    "decay-ring",
    "decays",
    "draws the decays of the units between those of 10 steps and of the span",
    "단위들의 감쇠를 10스텝과 필요한 거리 사이의 시간 척도에서 뽑습니다",
    "Orvieto et al. 2023; De et al. 2024",
    ("vanishing", "gates closed"),
    lambda model: any(True for _ in decay_rings(model)),
    lambda model, span, draw: decay_ring_(model, span, min(10.0, span), generator=draw),
    "decay_ring_({model}, t_max={span}, t_min=min(10, {span}))",
)
