"""The largest eigenvalues of many Hermitian operators at once, none of them ever built."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Operators = Callable[[Tensor], Tensor]
"""Columns (n Z) -> (n Z): column j goes through operator j alone."""

# Relative to the operator: what remains of a column below this is rounding.
_NOTHING_LEFT = 1e-13


def largest_eigenvalues(apply: Operators, size: int, count: int, steps: int) -> Tensor:
    """λ_max of ``count`` Hermitian operators on n = ``size``, by Lanczos from random columns (Z).

    A Ritz value: never above λ_max beyond rounding, and exact where ``steps`` reach ``size``.
    Where an invariant subspace ends earlier, 0 joins the Ritz values. Source: Golub & Van Loan,
    section 10.1.
    """
    column = torch.randn(
        size, count, dtype=torch.complex128, generator=torch.Generator().manual_seed(0)
    )
    column /= torch.linalg.vector_norm(column, dim=0)
    before, beside = torch.zeros_like(column), torch.zeros(count, dtype=torch.float64)
    diagonal: list[Tensor] = []
    besides: list[Tensor] = []
    largest = torch.zeros(count, dtype=torch.float64)
    for _ in range(min(steps, size)):
        image = apply(column) - beside * before
        along = (column.conj() * image).sum(0).real
        image -= along * column
        beside = torch.linalg.vector_norm(image, dim=0)
        largest = torch.maximum(largest, torch.maximum(along.abs(), beside))
        beside = torch.where(beside > _NOTHING_LEFT * largest, beside, 0)
        diagonal.append(along)
        besides.append(beside)
        before, column = column, torch.where(beside > 0, image / beside, 0)
    tridiagonal = torch.diag_embed(torch.stack(diagonal, -1))
    off = torch.stack(besides, -1)[:, :-1]
    tridiagonal += torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    tops: Tensor = torch.linalg.eigvalsh(tridiagonal)[:, -1]
    return tops


def numerical_radius(matrix: Tensor, angles: int = 17) -> float:
    """max |x* W x| over unit x of a real W (n n): the outermost point of its numerical range.

    ``max_θ λ_max((e^{iθ} W + e^{−iθ} Wᵀ) / 2)``, over angles θ from 0 to π, and once more around
    the best of them. A lower bound: to 0.01 % by its angles, to 0.2 % by Lanczos. Source: Horn &
    Johnson, Topics in Matrix Analysis, section 1.5.
    """
    found, theta = 0.0, torch.linspace(0, math.pi, angles, dtype=torch.float64)
    for _ in range(2):
        turn = torch.polar(torch.ones_like(theta), theta)

        def apply(columns: Tensor, turn: Tensor = turn) -> Tensor:
            parts = torch.cat([columns.real, columns.imag], 1)
            pushed, pulled = (torch.complex(*(m @ parts).chunk(2, 1)) for m in (matrix, matrix.T))
            return (turn * pushed + turn.conj() * pulled) / 2

        tops = largest_eigenvalues(apply, len(matrix), len(theta), steps=24)
        best = int(tops.argmax())
        found = max(found, float(tops[best]))
        width = float(theta[1] - theta[0])
        theta = theta[best] + width * torch.linspace(-1, 1, angles, dtype=torch.float64)
    return found
