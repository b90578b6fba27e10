"""What of a gradient is not finite: found, set to zero, and told."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from throughtime.errors import DivergedError, ThroughtimeWarning
from throughtime.remedies.clipping.parts import Parameters, Part, parts

_SHOWN = 3  # parameters that a sentence names


@dataclass(frozen=True)
class Lost:
    """Entries of one parameter's gradient that were not finite.

    Attributes:
        index: of the parameter among those that the clipper was given.
        shape: of the parameter.
        nan: how many entries were NaN.
        inf: how many were infinite.
    """

    index: int
    shape: tuple[int, ...]
    nan: int
    inf: int

    def __str__(self) -> str:
        counts = ((self.nan, "nan"), (self.inf, "inf"))
        told = " and ".join(f"{count:,} {name}" for count, name in counts if count)
        return f"{told} in parameter {self.index} of shape {self.shape}"


class LostGradientWarning(ThroughtimeWarning):
    """Entries of a gradient were not finite, and are zero now.

    Attributes:
        lost: how many, by parameter.
    """

    def __init__(self, lost: Sequence[Lost]) -> None:
        self.lost = tuple(lost)
        super().__init__(
            f"the gradient held {_told(lost)}: set to 0, and the rest clipped as if that were "
            "all; if it goes on, diagnose() names the step where they begin"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.lost,)


class LostGradientError(DivergedError, RuntimeError):
    """Entries of a gradient are not finite, and the caller had asked for an error.

    Attributes:
        lost: how many, by parameter.
    """

    def __init__(self, lost: Sequence[Lost]) -> None:
        self.lost = tuple(lost)
        super().__init__(
            f"the gradient holds {_told(lost)}, so its norm is not finite and it cannot be "
            "clipped: skip this update, or leave error_if_nonfinite out to set them to 0"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.lost,)


@torch.no_grad()
def zero_nonfinite_(parameters: Parameters) -> tuple[Lost, ...]:
    """Set what is NaN or infinite in the gradients to zero, in place.

    When it helps: one bad sequence in a batch, or one overflow, should not cost the whole update.
    When it does not: the state itself has diverged; then the next gradient is lost as well.

    Returns:
        What was lost, for each parameter that lost something; empty if all was finite.
    """
    found = parts(parameters)
    lost = nonfinite(found)
    zero_(found, lost)
    return lost


def nonfinite(found: Sequence[Part]) -> tuple[Lost, ...]:
    """How many entries of each gradient are not finite, where any is."""
    lost = []
    for place, parameter, values in found:
        nan, bad = int(values.isnan().sum()), values.numel() - int(values.isfinite().sum())
        if bad:
            lost.append(Lost(place, tuple(parameter.shape), nan, bad - nan))
    return tuple(lost)


def zero_(found: Sequence[Part], lost: Sequence[Lost]) -> None:
    """Set the entries that are ``lost`` to zero; a complex one as a whole."""
    where = {one.index for one in lost}
    for place, _, values in found:
        if place in where:
            values.masked_fill_(~values.isfinite(), 0)


def tell(lost: Sequence[Lost], stacklevel: int) -> None:
    """Warn about what was lost, if anything was; ``stacklevel`` 1 is who called this."""
    if lost:
        warnings.warn(LostGradientWarning(lost), stacklevel=stacklevel + 1)


def _told(lost: Sequence[Lost]) -> str:
    named = ", ".join(map(str, lost[:_SHOWN]))
    more = len(lost) - _SHOWN
    return named if more <= 0 else f"{named} and some in {more} more"
