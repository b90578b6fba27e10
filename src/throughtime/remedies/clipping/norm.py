"""The norm of all gradients as one vector, where float32 holds the norm but not its square.

The sum of squares leaves the range of float32 at norms of 1.8e19 and 1e-23: torch then gives inf,
and its clipping a gradient of zeros; or 0. The norm is first taken as torch takes it, and only if
that can have gone wrong once more with all entries divided by the largest, m = max |g|, in
float64: ``‖g‖ = m · ‖g/m‖``, where the second factor is at least 1 and at most √n.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.errors import InputError

HALVES = {torch.float16, torch.bfloat16}
_DOUBLES = {torch.float64, torch.complex128}
_FOREACH = {"cpu", "cuda", "xpu"}  # devices that work on many tensors at once

# Entries that are summed in one go: of ten million equal ones torch's sum in float32 is 0.8 % off.
_PIECE = 2**18

# A sum of powers above it has lost nothing that matters: far above the smallest number of its type.
_LOW, _LOW_DOUBLE = 1e-24, 1e-280


class Norm(NamedTuple):
    """The norm of some tensors together, which may be too large or too small for their type.

    Attributes:
        tensor: a scalar on the device of the first of them: float32, or float64 if one of them is
            or if float32 cannot hold it.
        size: the same as a number.
        scale: the largest entry m and ‖g/m‖, where the sum of powers left the range of floating
            point; None where it did not.
    """

    tensor: Tensor
    size: float
    scale: tuple[float, float] | None = None

    def exceeds(self, bound: float) -> bool:
        """Whether it is above ``bound``, even where no float64 holds it."""
        if self.scale is None:
            return self.size > bound
        largest, root = self.scale
        return root > bound / largest


@torch.no_grad()
def total_norm(
    tensors: Tensor | Sequence[Tensor], norm_type: float = 2.0, foreach: bool | None = None
) -> Tensor:
    """The norm of gradients as one vector: ``torch.nn.utils.get_total_norm``, without overflow.

    Args:
        tensors: of any shapes, devices and types, real or complex.
        norm_type: the order p of the norm, above 0; ``inf`` for the largest entry.
        foreach: as torch's: work on many tensors at once; None for where that is possible.

    Returns:
        A scalar on the device of the first tensor: float32, or float64 if one of them is or if
        float32 cannot hold it. NaN or inf where an entry is.

    Raises:
        InputError: ``norm_type`` is not above 0.
    """
    found = [tensors] if isinstance(tensors, Tensor) else [one for one in tensors if one.numel()]
    return measured(found, norm_type, foreach).tensor


def measured(values: Sequence[Tensor], norm_type: float, foreach: bool | None) -> Norm:
    """The norm of tensors that are not empty; see ``total_norm``."""
    order = float(norm_type)
    if math.isnan(order) or order <= 0:
        raise InputError(f"norm_type is {order:g}, and must be above 0: 2, or inf for the largest")
    if not values:
        return Norm(torch.tensor(0.0), 0.0)
    direct = _direct(values, order, foreach)
    size = direct.item()
    if _smallest(values, order) < size < math.inf:
        return Norm(direct, size)
    return _scaled(values, order, direct)


def groups(values: Sequence[Tensor], foreach: bool | None) -> Iterator[tuple[bool, list[Tensor]]]:
    """Runs of tensors of one type and device, and whether torch can work on all of them at once."""
    for (device, _), group in groupby(values, lambda one: (one.device, one.dtype)):
        run = list(group)
        possible = device.type in _FOREACH and all(type(one) is Tensor for one in run)
        if foreach and not possible:
            raise InputError(
                f"foreach=True cannot be had for gradients of this kind on {device.type}: leave "
                "it out"
            )
        yield possible and foreach is not False, run


def _smallest(values: Sequence[Tensor], order: float) -> float:
    """No norm above it can have lost anything to underflow that matters."""
    doubles = all(one.dtype in _DOUBLES for one in values)
    if math.isinf(order):
        return torch.finfo(torch.float64 if doubles else torch.float32).tiny
    power = _LOW_DOUBLE if doubles else _LOW
    return float(power ** (1 / order))


def _direct(values: Sequence[Tensor], order: float, foreach: bool | None) -> Tensor:
    """As torch computes it, except that halves are summed, and their norm held, in float32."""
    norms: list[Tensor] = []
    for at_once, run in groups(values, foreach):
        dtype = torch.float32 if run[0].dtype in HALVES else None
        pieces = list(chain.from_iterable(map(_pieces, run)))
        if at_once:
            norms.extend(torch._foreach_norm(pieces, order, dtype))
        else:
            norms.extend(torch.linalg.vector_norm(one, order, dtype=dtype) for one in pieces)
    first = values[0].device
    together = torch.stack([one.to(first) for one in norms])
    found: Tensor = torch.linalg.vector_norm(together, order)
    return found


def _pieces(values: Tensor) -> Sequence[Tensor]:
    if values.numel() <= _PIECE:
        return (values,)
    pieces: Sequence[Tensor] = values.flatten().split(_PIECE)
    return pieces


def _scaled(values: Sequence[Tensor], order: float, direct: Tensor) -> Norm:
    """The norm by its largest entry; ``direct`` where one is not finite."""
    # Of a complex entry the larger part: its modulus may not fit the type that it is divided in.
    each = [(torch.view_as_real(v) if v.is_complex() else v).abs().max().item() for v in values]
    if not all(map(math.isfinite, each)):
        return Norm(direct, direct.item())
    largest = max(each)
    if not largest:
        return Norm(direct, 0.0)
    wide = [v.to(torch.complex128 if v.is_complex() else torch.float64) for v in values]
    roots = [torch.linalg.vector_norm(one / largest, order).cpu() for one in wide]
    root = torch.linalg.vector_norm(torch.stack(roots), order).item()
    size = largest * root
    kind = torch.finfo(direct.dtype)
    held = direct.dtype if kind.tiny <= size <= kind.max else torch.float64
    return Norm(torch.tensor(size, dtype=held, device=direct.device), size, (largest, root))
