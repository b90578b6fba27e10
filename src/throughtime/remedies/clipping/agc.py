"""``AGC``: the gradient of every unit, measured by the weights of that unit."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from throughtime.errors import InputError, ThroughtimeWarning
from throughtime.remedies.clipping.clipper import GradientClipper, State
from throughtime.remedies.clipping.norm import HALVES
from throughtime.remedies.clipping.parts import Part, above_zero
from throughtime.remedies.clipping.whole import WholeGradient

Excluded = Tensor | nn.Module | str


class AGC(GradientClipper):
    """Clips the gradient of each unit to a share of the norm of its weights.

    Adaptive gradient clipping (Brock, De, Smith & Simonyan 2021, eq. 3): where
    ``‖G_i‖ / max(‖W_i‖, ε)`` is above λ, ``G_i`` is scaled down to it. A unit i is a row of a
    matrix, so that every gate of every hidden unit is one of its own; a vector (a bias) is taken
    whole, as in their code. The read-out is to be left out, they say: give it as ``exclude``.

    When it helps: layers whose gradients differ by orders of magnitude, where one norm over all
    is that of the largest; its λ does not depend on the scale of the loss. When it does not: with
    Adam, which rescales every entry anyway; and a bias that starts at 0 moves by λ · ε a step at
    most.

    One NaN does not poison it: it is set to 0, and its unit is clipped by the rest.

    Args:
        clipping: λ, the longest gradient as a share of the weights; theirs were 0.01 to 0.16.
        eps: ε, what the norm of a unit's weights is taken to be at least.
        exclude: what is left as it is: parameters, modules, or names of either in ``model``.
        model: where the names are looked up.

    Raises:
        InputError: ``clipping`` or ``eps`` is not above 0, or a name is not in the model.
    """

    def __init__(
        self,
        clipping: float = 0.01,
        eps: float = 1e-3,
        exclude: Excluded | Iterable[Excluded] = (),
        model: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.clipping, self.eps = above_zero("clipping", clipping), above_zero("eps", eps)
        items = [exclude] if isinstance(exclude, Tensor | nn.Module | str) else list(exclude)
        self._excluded = [one for item in items for one in _parameters(item, model)]
        self._warned = False

    def __repr__(self) -> str:
        without = f", {len(self._excluded)} parameters excluded" if self._excluded else ""
        return f"AGC(clipping={self.clipping:g}, eps={self.eps:g}{without})"

    def _clip_(self, gradient: WholeGradient) -> bool:
        if gradient.parts and not self._warned:
            self._look_for_copies()
        excluded = {id(one) for one in self._excluded}
        clipped = False
        for part in gradient.parts:
            if id(part.parameter) not in excluded:
                clipped |= self._clip_part_(part)
        return clipped

    def _memory(self) -> State:
        return {}

    def _recall(self, memory: State) -> None:
        """Nothing but its counters."""

    def _clip_part_(self, part: Part) -> bool:
        norms = unit_norms(part.values)
        weights = unit_norms(_weights(part)).nan_to_num(0.0, 0.0, 0.0)
        bounds = self.clipping * weights.clamp(min=self.eps)
        if not bool((norms > bounds).any()):
            return False
        part.values.mul_((bounds / norms).clamp(max=1.0))
        return True

    def _look_for_copies(self) -> None:
        if self._excluded and all(p.requires_grad and p.grad is None for p in self._excluded):
            self._warned = True
            warnings.warn(
                f"{self!r}: what is excluded has no gradient, while others have: was the model "
                "copied? Make a new AGC with the parameters of the copy",
                ThroughtimeWarning,
                stacklevel=4,
            )


def unit_norms(values: Tensor) -> Tensor:
    """The norm of each row of a tensor, of each slice along its first axis, or of a whole vector.

    Returns:
        A shape that spreads over ``values``; float64 where float32 cannot hold all squares, and
        then, too, no norm of finite entries overflows that float64 can hold.
    """
    axes = tuple(range(1, values.dim())) or None
    narrow = torch.float32 if values.dtype in HALVES else None
    norms: Tensor = torch.linalg.vector_norm(values, dim=axes, keepdim=True, dtype=narrow)
    if not bool(norms.isinf().any()):
        return norms
    wide = values.to(torch.complex128 if values.is_complex() else torch.float64)
    largest = wide.abs().amax(axes or (), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    found: Tensor = largest * torch.linalg.vector_norm(wide / largest, dim=axes, keepdim=True)
    return found


def _weights(part: Part) -> Tensor:
    """The weights that a gradient belongs to: of a sparse one the rows that it has."""
    grad, weights = part.parameter.grad, part.parameter.detach()
    if grad is None or not grad.is_sparse or weights.dim() < 2:
        return weights
    if grad.sparse_dim() != 1:
        raise InputError(
            f"parameter {part.place} of shape {tuple(weights.shape)} has a gradient that is "
            "sparse within its rows: AGC needs whole ones; make it dense, or exclude it"
        )
    return weights[grad._indices()[0]]


def _parameters(item: Excluded, model: nn.Module | None) -> list[Tensor]:
    if isinstance(item, Tensor):
        return [item]
    if isinstance(item, nn.Module):
        return list(item.parameters())
    if model is None:
        raise InputError(f"exclude={item!r} is a name: say in which model it is to be looked up")
    own = dict(model.named_parameters(remove_duplicate=False))
    if item in own:
        return [own[item]]
    found: list[Tensor] = [
        parameter for name, parameter in own.items() if name.startswith(f"{item}.")
    ]
    if not found:
        raise InputError(
            f"no parameter or module {item!r} in this {type(model).__name__}: it has "
            f"{', '.join(own)}"
        )
    return found
