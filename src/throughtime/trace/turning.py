"""Time turned round, sequences of a batch that end, and differences: plain functions of tensors."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor

# Times the smallest normal number of a dtype: a gradient below has lost digits that a check needs.
_UNDERFLOWED = 1e3


def turn(values: Shaped[Tensor, "T B ..."], lengths: tuple[int, ...] | None) -> Tensor:
    """Reverse time within each sequence of the batch; what lies past its end stays where it is."""
    if lengths is None:
        return values.flip(0)
    steps = torch.arange(len(values), device=values.device).unsqueeze(1)
    ends = torch.tensor(lengths, device=values.device).unsqueeze(0)
    index = torch.where(steps < ends, ends - 1 - steps, steps)
    return values[index, torch.arange(values.shape[1], device=values.device)]


def steps_alive(
    steps: int, batch: int, lengths: tuple[int, ...] | None, device: torch.device
) -> Tensor:
    """Boolean (T B): which steps belong to a sequence of these lengths."""
    if lengths is None:
        return torch.ones(steps, batch, dtype=torch.bool, device=device)
    ends = torch.tensor(lengths, device=device)
    return torch.arange(steps, device=device).unsqueeze(1) < ends


def underflowed(gradient: Tensor, dtype: torch.dtype) -> bool:
    """Not zero, and so near the smallest normal number of the dtype that few digits are left.

    A sum whose terms lie a thousandfold below its largest entry loses them in what is denormal, and
    with them the digits that a check compares.
    """
    if not gradient.numel() or not dtype.is_floating_point:
        return False
    largest = float(gradient.detach().abs().amax())
    return 0.0 < largest < _UNDERFLOWED * torch.finfo(dtype).smallest_normal


def relative_difference(value: Tensor, reference: Tensor) -> float:
    """‖value − reference‖ / ‖reference‖ in float64; 0 where both are zero."""
    value, reference = value.detach().double(), reference.detach().double()
    scale = float(reference.abs().amax()) if reference.numel() else 0.0
    if scale == 0.0:
        return 0.0 if not value.any() else float("inf")
    difference = torch.linalg.vector_norm((value - reference) / scale)
    return float(difference / torch.linalg.vector_norm(reference / scale))
