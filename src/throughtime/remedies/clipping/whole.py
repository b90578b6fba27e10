"""The gradient of all parameters as one vector: what is finite of it, its norm, its shortening."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from throughtime.remedies.clipping.nonfinite import (
    Lost,
    LostGradientError,
    nonfinite,
    zero_,
)
from throughtime.remedies.clipping.norm import Norm, groups, measured
from throughtime.remedies.clipping.parts import Parameters, Part, parts

# torch adds it to the norm before dividing by it; here to norms below 1 in proportion, so that
# small gradients are not shortened to nothing.
_MARGIN = 1e-6


@dataclass(frozen=True, eq=False)
class WholeGradient:
    """The gradient of all parameters together, all of it finite.

    Attributes:
        parts: the gradient of each parameter that has one.
        norm: of all of them as one vector.
        lost: what was not finite, and is zero now.
        foreach: whether to work on many tensors at once; None for where that is possible.
    """

    parts: list[Part]
    norm: Norm
    lost: tuple[Lost, ...]
    foreach: bool | None = None

    @classmethod
    def finite_(
        cls,
        parameters: Parameters,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
        foreach: bool | None = None,
    ) -> WholeGradient:
        """Set what is not finite to zero, in place, and measure the rest.

        Raises:
            LostGradientError: something is not finite, and an error was asked for; the gradients
                are as they were.
            InputError: no parameters were given, or no norm.
        """
        found = parts(parameters)
        values = [part.values for part in found]
        norm = measured(values, norm_type, foreach)
        if norm.scale or 0 < norm.size < float("inf"):
            return cls(found, norm, (), foreach)
        lost = nonfinite(found)
        if lost and error_if_nonfinite:
            raise LostGradientError(lost)
        if lost:
            zero_(found, lost)
            norm = measured(values, norm_type, foreach)
        return cls(found, norm, lost, foreach)

    def shorten_(self, max_norm: float) -> bool:
        """Scale all gradients by one factor, in place, so that the norm is at most ``max_norm``.

        Returns:
            Whether the norm was above it.
        """
        exceeds = self.norm.exceeds(max_norm)
        size = self.norm.size
        if self.norm.scale is not None:
            if exceeds:  # the factor itself may be too small for the type: two factors are not
                largest, root = self.norm.scale
                for part in self.parts:
                    part.values.div_(largest).mul_(max_norm / root)
        elif size:
            margin = _MARGIN * min(size, 1.0)
            if max_norm / (size + margin) < 1:
                self._multiply_((max_norm / (self.norm.tensor + margin)).clamp(max=1.0))
        return exceeds

    def _multiply_(self, factor: Tensor) -> None:
        for at_once, run in groups([part.values for part in self.parts], self.foreach):
            local = factor.to(run[0].device)
            if at_once:
                torch._foreach_mul_(run, local)
            else:
                for one in run:
                    one.mul_(local)
