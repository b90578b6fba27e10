"""What a clipper is called with, and where the entries of each gradient are."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from types import GeneratorType
from typing import NamedTuple

from torch import Tensor, nn

from throughtime.errors import InputError, ThroughtimeWarning

Parameters = Tensor | Iterable[Tensor]


class Part(NamedTuple):
    """The gradient of one parameter.

    Attributes:
        place: of the parameter among those that were given.
        parameter: whose gradient it is.
        values: its entries, in the memory of ``parameter.grad``; of a sparse one those it stores.
    """

    place: int
    parameter: Tensor
    values: Tensor


def parts(parameters: Parameters) -> list[Part]:
    """The gradient of every parameter that has one, each once: a tied parameter is one parameter.

    A sparse gradient is coalesced, so that each of its entries is stored once.

    Raises:
        InputError: it was given something else than parameters.
    """
    found: list[Part] = []
    seen: set[int] = set()
    for index, parameter in enumerate(_listed(parameters)):
        if not isinstance(parameter, Tensor):
            raise InputError(
                f"parameter {index} is of type {type(parameter).__name__}, and must be a tensor: "
                "give model.parameters()"
            )
        if parameter.grad is None or id(parameter) in seen:
            continue
        seen.add(id(parameter))
        values = _values(parameter)
        if values.numel():
            found.append(Part(index, parameter, values))
    return found


def above_zero(name: str, value: float) -> float:
    """``value`` as a float. Raises ``InputError`` unless it is above 0; infinity is."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {value!r}, and must be a number above 0") from None
    if not number > 0:
        raise InputError(f"{name} is {number:g}, and must be above 0")
    return number


def _listed(parameters: Parameters) -> list[Tensor]:
    if isinstance(parameters, Tensor):
        return [parameters]
    if not isinstance(parameters, Iterable) or isinstance(parameters, nn.Module):
        kind = type(parameters).__name__
        raise InputError(f"a clipper takes parameters, not {kind}: give model.parameters()")
    listed = list(parameters)
    if not listed and isinstance(parameters, GeneratorType):
        warnings.warn(
            "nothing to clip: the generator of parameters is empty; was it used before?",
            ThroughtimeWarning,
            stacklevel=5,
        )
    return listed


def _values(parameter: Tensor) -> Tensor:
    grad = parameter.grad
    assert grad is not None
    if not grad.is_sparse:
        return grad.detach()
    if not grad.is_coalesced():
        parameter.grad = grad = grad.detach().coalesce()
    return grad._values()
