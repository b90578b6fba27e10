"""Time scales, and the parameters that keep them: a state that decays by ``exp(−1/τ)`` a step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from throughtime.errors import InputError
from throughtime.problem import shown

Found = TypeVar("Found")


def checked_times(what: str, t_min: float, t_max: float) -> None:
    """Raise ``InputError`` for time scales that are out of order."""
    if not 0 < t_min <= t_max < math.inf:
        raise InputError(
            f"{what} takes time scales from t_min = {t_min:g} to t_max = {t_max:g}: they must be "
            "in order, and above 0 steps"
        )


def checked_found(module: nn.Module, found: Iterable[Found], what: str) -> list[Found]:
    """What was found, as a list; ``InputError`` where that is nothing.

    Args:
        module: where it was looked for.
        found: what.
        what: the parameters that were looked for, as the error says it.
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"a remedy takes a torch.nn.Module, not {shown(module)}")
    held = list(found)
    if not held:
        raise InputError(f"no module of this {type(module).__name__} has {what}")
    return held


def geometric(count: int, t_min: float, t_max: float, like: Tensor) -> Tensor:
    """Time scales (count) from ``t_min`` to ``t_max``, each the same multiple of the one before."""
    exponents = torch.linspace(math.log(t_min), math.log(t_max), count, dtype=torch.float64)
    return exponents.exp().to(like.device)


def inverse_softplus(values: Tensor) -> Tensor:
    """``log(exp(x) − 1)``, in a form that loses nothing of a small x."""
    return values + torch.log(-torch.expm1(-values))


def parameters_of(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of this module alone, by name."""
    own = dict(module.named_parameters(recurse=False))
    return {**own, **dict(module.named_buffers(recurse=False))}
