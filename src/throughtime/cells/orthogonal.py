"""``OrthogonalRNN``: W_hh is orthogonal throughout training (Lezcano & Martínez-Rubio 2019)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from throughtime.cells.layer import RecurrentLayer, Shapes
from throughtime.cells.parametrised import make_portable
from throughtime.errors import InputError
from throughtime.recurrences import modrelu

_NONLINEARITIES = {"modrelu": modrelu.ModReLU, "tanh": modrelu.Tanh, "relu": modrelu.ReLU}
_MAPS = ("matrix_exp", "cayley")


class OrthogonalRNN(RecurrentLayer):
    """``h_t = φ(W_hh h_{t−1} + W_ih x_t)``, ``W_hh = exp(A)`` with a skew-symmetric A.

    φ is modReLU, ``sign(a) ReLU(|a| + b)``, or tanh or ReLU of ``a + b``. W_hh is parametrised by
    ``torch.nn.utils.parametrizations.orthogonal``: the optimizer sees A, whose lower triangle is
    ``parametrizations.weight_hh_l0.original``.

    Rotations start as Henaff et al. (2016): A in blocks of 2 by 2, phases in U(−π, π); under the
    Cayley map in U(0, π/2), as Helfrich et al. (2018). W_ih starts as He's normal, b in
    U(−0.01, 0.01), or at 0 without modReLU.

    Args:
        args, kwargs: as ``RecurrentLayer``.
        nonlinearity: φ: ``"modrelu"``, ``"tanh"`` or ``"relu"``.
        orthogonal_map: how A becomes W_hh: ``"matrix_exp"``, or ``"cayley"``,
            ``(I − A/2)⁻¹ (I + A/2)``.

    Raises:
        InputError: a nonlinearity or map that is neither of these; else as ``RecurrentLayer``.
    """

    recurrence: ClassVar[type[modrelu.ModReLU]] = modrelu.ModReLU

    def __init__(
        self,
        *args: Any,
        nonlinearity: str = "modrelu",
        orthogonal_map: str = "matrix_exp",
        **kwargs: Any,
    ) -> None:
        if nonlinearity not in _NONLINEARITIES:
            known = ", ".join(_NONLINEARITIES)
            raise InputError(f"OrthogonalRNN: nonlinearity is one of {known}, not {nonlinearity!r}")
        if orthogonal_map not in _MAPS:
            known = ", ".join(_MAPS)
            raise InputError(
                f"OrthogonalRNN: orthogonal_map is one of {known}, not {orthogonal_map!r}"
            )
        self.nonlinearity, self.orthogonal_map = nonlinearity, orthogonal_map
        super().__init__(*args, **kwargs)
        self.recurrence = _NONLINEARITIES[nonlinearity]  # type: ignore[misc]  # of this layer alone
        for name in self._recurrent():
            parametrizations.orthogonal(
                self, name, orthogonal_map=orthogonal_map, use_trivialization=False
            )
        make_portable(self)

    def shapes(self, reads: int) -> Shapes:
        size = self.hidden_size
        return {"weight_ih": (size, reads), "weight_hh": (size, size), "bias": (size,)}

    def initialise_(self, weights: dict[str, Tensor], layer: int) -> None:
        nn.init.kaiming_normal_(weights["weight_ih"], nonlinearity="relu")
        if "bias" in weights:
            bound = 0.01 if self.nonlinearity == "modrelu" else 0.0
            weights["bias"].uniform_(-bound, bound)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        super().reset_parameters()
        for skew in self.orthogonal_parameters():
            self._rotations_(skew)

    def orthogonal_parameters(self) -> list[nn.Parameter]:
        """The matrices (H H), of every layer and direction, whose lower triangle is that of A."""
        named = dict(self.named_parameters())
        parametrised = hasattr(self, "parametrizations")
        place = "parametrizations.{}.original" if parametrised else "{}"
        return [named[place.format(name)] for name in self._recurrent()]

    def parameter_groups(self, lr: float, orthogonal_lr: float) -> list[dict[str, Any]]:
        """Two groups for an optimizer: A learns at ``orthogonal_lr``, all else at ``lr``.

        The paper has ``orthogonal_lr`` at a tenth of ``lr`` or less.
        """
        rotating = self.orthogonal_parameters()
        apart = {id(one) for one in rotating}
        others = [one for one in self.parameters() if id(one) not in apart]
        return [{"params": others, "lr": lr}, {"params": rotating, "lr": orthogonal_lr}]

    def _recurrent(self) -> list[str]:
        layers = range(self.num_layers)
        return [f"weight_hh{suffix}" for layer in layers for suffix in self._suffixes(layer)]

    def _rotations_(self, skew: Tensor) -> None:
        skew.zero_()
        below = skew.diagonal(-1)[::2]
        if self.orthogonal_map == "matrix_exp":
            below.uniform_(-math.pi, math.pi)
        else:
            below.uniform_(0, math.pi / 2).div_(2).tan_().mul_(2)
