"""Rows that are kept near 1 with their logarithm carried: nothing underflows, nothing is lost."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

# Rows whose norm has left this range are brought back to 1, and the logarithm is carried.
# Far inside float32, whose squares must stay representable: 1e-45 < x² < 1e38.
SMALL, LARGE = 1e-8, 1e8


def norm_of(values: Float[Tensor, "... S"]) -> Tensor:
    """The norm of each row, in float64 where one is so small that float32 would lose its square."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=-1)
    if bool((norm < SMALL).any()):
        norm = torch.linalg.vector_norm(values, dim=-1, dtype=torch.float64)
    return norm


def log_norm(values: Float[Tensor, "... S"]) -> Tensor:
    """log10 of the norm of each row, in float64 on the CPU; −inf where it is zero."""
    return log(norm_of(values))


def log(norm: Tensor) -> Tensor:
    """log10 in float64 on the CPU."""
    return norm.double().log10().cpu()


def rescale(values: Float[Tensor, "... S"], exponent: Tensor) -> None:
    """Bring all rows back to 1, in place, if one drifted away; remember each row's factor.

    All of them, so that rows of one age drift together, and seldom.
    """
    largest = values.abs().amax(-1)
    number = (largest > 0) & largest.isfinite()
    if (((largest < SMALL) | (largest > LARGE)) & number).any():
        factor = torch.where(number, largest, torch.ones_like(largest))
        values.div_(factor.unsqueeze(-1))
        exponent.add_(factor.double().log10().cpu())
