"""Step sizes Δ of state-space layers and delta rules: how long what is written stays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
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

RATIO = 100.0  # between the longest and the shortest time scale, as in the papers
_BEYOND = 2  # spans: what decays no faster is a small share of all states
WHAT = (
    "step sizes: A_log beside dt_bias, dt_proj_bias or the bias of a dt_proj, as Mamba, Mamba-2 "
    "and gated delta rules have them, or log_dt beside log_A_real, as S4D"
)


@dataclass(frozen=True)
class StepSizes:
    """The parameter that sets Δ.

    Attributes:
        parameter: read through a softplus, or by ``exp`` where ``logarithm``.
        rates: of the same shape: a, the slowest of the rates that its Δ multiplies.
        logarithm: as above.
    """

    parameter: Tensor
    rates: Tensor
    logarithm: bool = False

    def set(self, sizes: Tensor) -> None:
        """Make Δ these sizes where the input adds nothing."""
        self.parameter.copy_(sizes.log() if self.logarithm else inverse_softplus(sizes))


@torch.no_grad()
def step_sizes_(
    module: Module,
    t_max: float = 1000.0,
    t_min: float | None = None,
    generator: torch.Generator | None = None,
) -> Module:
    """Draw Δ so that the slowest state behind each decays over ``t_min`` to ``t_max`` steps.

    Such a layer keeps ``exp(−Δ a)`` of a state in a step, so that ``1 / (Δ a)`` is its time scale.
    These are drawn log-uniformly, as Δ is in S4, Mamba and Mamba-2 (Gu & Dao 2023, section 3.6),
    whose ``dt_min = 0.001`` and ``dt_max = 0.1`` are time scales of 1,000 and 10 steps at a = 1. Δ
    also depends on the input; what is drawn is Δ where the projection of the input adds nothing.

    Helps where the states decay before the span, as with ``dt_bias = 1``, with which many
    configurations start. Does not help where recent input decides, since a small Δ writes little
    as well; and not below a limit of the layer's own (``time_step_limit``).

    Args:
        module: a layer, or a model that holds some: all of them are changed.
        t_max: the longest time scale, in steps: the task's.
        t_min: the shortest one, in steps; None for a hundredth of it.
        generator: what they are drawn from; None for torch's global one.

    Returns:
        The module.

    Raises:
        InputError: the times are out of order, or no module in it has step sizes.
    """
    t_min = t_max / RATIO if t_min is None else t_min
    checked_times("step_sizes", t_min, t_max)
    for found in checked_found(module, step_sizes(module), WHAT):
        drawn = torch.empty_like(found.rates)
        drawn.uniform_(math.log(t_min), math.log(t_max), generator=generator)
        found.set(1 / (drawn.exp() * found.rates))
    return module


def step_sizes(module: nn.Module) -> Iterator[StepSizes]:
    """Those of every module in ``module`` that has parameters of a known name."""
    for part in module.modules():
        held = parameters_of(part)
        if "log_dt" in held and "log_A_real" in held:
            yield _of(held["log_dt"], held["log_A_real"], logarithm=True)
            continue
        bias, decays = bias_of(part), held.get("A_log")
        bounded = getattr(part, "lower_bound", None) is not None  # a gate that is no softplus
        if bias is not None and decays is not None and not bounded and _fit(bias, decays):
            yield _of(bias, decays)


def bias_of(part: nn.Module) -> Tensor | None:
    """What this very module adds to its step sizes before the softplus."""
    held = parameters_of(part)
    own = held.get("dt_bias", held.get("dt_proj_bias"))
    found = getattr(getattr(part, "dt_proj", None), "bias", None) if own is None else own
    return found if isinstance(found, Tensor) else None


def _of(parameter: Tensor, decays: Tensor, *, logarithm: bool = False) -> StepSizes:
    rates, wanted = decays.detach().double().exp().flatten(), parameter.numel()
    if len(rates) < wanted:  # a rate for a head, a step size for each of its keys
        rates = rates.repeat_interleave(wanted // len(rates))
    rates = rates.view(*parameter.shape, -1).amin(-1)
    return StepSizes(parameter.detach(), rates, logarithm)


def _fit(bias: Tensor, decays: Tensor) -> bool:
    larger, smaller = sorted((bias.numel(), decays.numel()), reverse=True)
    return smaller > 0 and larger % smaller == 0


STEP_SIZES = Remedy(
    "step-sizes",
    "gates",
    "draws the step sizes Δ so that the states decay over time scales up to the span",
    "상태가 필요한 거리까지의 여러 시간 척도로 감쇠하도록 스텝 크기 Δ를 뽑습니다",
    "Gu & Dao 2023; Gu, Johnson, Timalsina, Rudra & Ré 2022",
    ("vanishing", "gates closed"),
    lambda model: any(True for _ in step_sizes(model)),
    lambda model, span, draw: step_sizes_(model, _BEYOND * span, generator=draw),
    f"step_sizes_({{model}}, t_max={_BEYOND} * {{span}})",
)
