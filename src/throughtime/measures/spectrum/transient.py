"""How far the powers of a matrix rise before its eigenvalues have the last word.

The Kreiss constant ``K(W) = sup_{|z|>1} (|z| − 1) ‖(zI − W)⁻¹‖`` is at least 1, and
``K ≤ sup_k ‖W^k‖ ≤ e n K`` (Kreiss 1962; Spijker 1991; Trefethen & Embree 2005, chapter 18). Both
are infinite where an eigenvalue lies outside of the unit circle. Both numbers here are lower
bounds: the largest that was found.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from throughtime.measures.spectrum.lanczos import largest_eigenvalues

# Float32 weights are not known better than this: an orthogonal matrix has such eigenvalues.
_ON_THE_CIRCLE = 1e-6
# ‖V‖ ‖V⁻¹‖ (Frobenius): beyond it the eigenvectors magnify rounding by more than six digits leave.
_WORST_BASIS = 1e8
_LARGEST = 1e100
# A numerical radius is found to two thousandths.
_SURELY_INSIDE = 0.99
# log10 (|z| − 1): nearer to the circle than this, rounding of the weights decides.
_LOWEST = -4.0
# Of Lanczos: the norm to 0.1 % in a Gaussian matrix of 1024, exact up to this size.
_STEPS = 10


class FunctionNorms(ABC):
    """The norms of functions of one matrix."""

    points: int
    """How many resolvents can be afforded in one call."""

    @abstractmethod
    def largest_power(self) -> float:
        """max ‖W^k‖ over k ≥ 0, as far as it was looked for."""

    @abstractmethod
    def resolvent_norms(self, z: Tensor) -> Tensor:
        """‖(zI − W)⁻¹‖ for each of the complex points z (Z)."""


def transient(matrix: Tensor, radius_of_range: float) -> tuple[Tensor, float, float]:
    """Eigenvalues (n) of a finite square W (n n, float64), Kreiss bound, largest ‖W^k‖, k ≥ 0.

    ``radius_of_range``: its numerical radius. Up to 1, K = 1: ``‖(zI − W)⁻¹‖ ≤ 1 / (|z| − w)``.
    """
    eigenvalues, vectors = torch.linalg.eig(matrix)
    inverse, failed = torch.linalg.inv_ex(vectors)
    radius = float(eigenvalues.abs().max())
    condition = float(torch.linalg.norm(vectors) * torch.linalg.norm(inverse))
    has_basis = not int(failed) and condition <= _WORST_BASIS
    if has_basis and radius > 1 + _ON_THE_CIRCLE:
        return eigenvalues, math.inf, math.inf
    functions: FunctionNorms = (
        ByEigenbasis(eigenvalues, vectors, inverse) if has_basis else ByProducts(matrix, radius)
    )
    power = functions.largest_power()
    if math.isinf(power):
        return eigenvalues, math.inf, math.inf
    if radius_of_range <= _SURELY_INSIDE:
        return eigenvalues, 1.0, power
    return eigenvalues, kreiss_bound(functions, eigenvalues), power


def kreiss_bound(functions: FunctionNorms, eigenvalues: Tensor) -> float:
    """The largest ``(|z| − 1) ‖(zI − W)⁻¹‖`` on a grid outside of the unit circle, refined twice.

    W is real: the upper half plane suffices. As |z| → ∞ the expression tends to 1.
    """
    upper = eigenvalues[eigenvalues.imag >= 0]
    outermost = upper[upper.abs().argsort(descending=True)[:5]].angle()
    even = torch.linspace(0, math.pi, 5, dtype=torch.float64)
    heights = torch.linspace(_LOWEST, 1, 6, dtype=torch.float64)
    angles = torch.cat([outermost, even])[: functions.points // len(heights)]
    side = torch.linspace(-1, 1, 5 if functions.points >= 25 else 3, dtype=torch.float64)
    best, width, rise = 1.0, math.pi / 8, 0.5
    for _ in range(3):
        grid = torch.cartesian_prod(angles, heights)
        above = 10.0 ** grid[:, 1]
        found = above * functions.resolvent_norms(torch.polar(1 + above, grid[:, 0]))
        at = int(found.argmax())
        best = max(best, float(found[at]))
        angles = grid[at, 0] + width * side
        heights = (grid[at, 1] + rise * side).clamp_min(_LOWEST)
        width, rise = width / 4, rise / 4
    return best


class ByEigenbasis(FunctionNorms):
    """``f(W) = V f(Λ) V⁻¹``: many functions at once, each one column of a product."""

    def __init__(self, eigenvalues: Tensor, vectors: Tensor, inverse: Tensor) -> None:
        self._eigenvalues, self._vectors, self._inverse = eigenvalues, vectors, inverse
        self.points = 64 if len(eigenvalues) <= 512 else 24

    def resolvent_norms(self, z: Tensor) -> Tensor:
        return self._norms(1 / (z - self._eigenvalues.unsqueeze(1)))

    def largest_power(self) -> float:
        """Every power up to a dozen, then a few; where ‖W^m‖ ≤ 1, none beyond m is larger."""
        found = 1.0
        for k in (torch.arange(1, 13), torch.logspace(1, 6, 32).round()):
            norms = self._power_norms(k)
            small = (norms <= 1 + _ON_THE_CIRCLE).nonzero()
            end = int(small[0]) if len(small) else len(k) - 1
            best = int(norms[: end + 1].argmax())
            found = max(found, float(norms[best]))
            if len(small):
                break
        # Between its neighbours: every power, or where they are many, one in a few.
        low, high = float(k[max(0, best - 1)]), float(k[min(end, best + 1)])
        if high - low > 2:
            nearby = torch.linspace(low, high, 32).round()
            found = max(found, float(self._power_norms(nearby).max()))
        return found

    def _power_norms(self, k: Tensor) -> Tensor:
        sizes, angles = self._eigenvalues.abs().unsqueeze(1), self._eigenvalues.angle().unsqueeze(1)
        return self._norms(torch.polar(sizes**k, angles * k))

    def _norms(self, factors: Tensor) -> Tensor:
        """‖V diag(factors_j) V⁻¹‖ for each column j of ``factors`` (n Z)."""

        def apply(columns: Tensor) -> Tensor:
            pushed = self._vectors @ (factors * (self._inverse @ columns))
            return self._inverse.mH @ (factors.conj() * (self._vectors.mH @ pushed))

        size, count = factors.shape
        return largest_eigenvalues(apply, size, count, steps=_STEPS).clamp_min(0).sqrt()


class ByProducts(FunctionNorms):
    """Powers by multiplication, resolvents by their singular values: for want of an eigenbasis."""

    def __init__(self, matrix: Tensor, radius: float) -> None:
        self._matrix, self._radius = matrix, radius
        cost = len(matrix) ** 3
        self.points = min(max(6, int(3e8 / cost)), 64)
        self._every_power = min(max(6, int(1e9 / cost)), 1000)

    def resolvent_norms(self, z: Tensor) -> Tensor:
        unit = torch.eye(len(self._matrix), dtype=torch.complex128)
        return torch.stack([1 / torch.linalg.svdvals(at * unit - self._matrix)[-1] for at in z])

    def largest_power(self) -> float:
        """Every power up to a limit, then doubled ones, until one is no larger than 1."""
        best, power = 1.0, self._matrix
        for k in range(1, self._every_power + 12):
            size = float(torch.linalg.norm(power))  # Frobenius: never below the norm itself
            if size > best:
                size = float(torch.linalg.matrix_norm(power, 2))
                best = max(best, size)
            if size <= 1 + _ON_THE_CIRCLE:
                return best
            if not size < _LARGEST:
                return math.inf
            power = power @ (self._matrix if k < self._every_power else power)
        return best if self._radius <= 1 + _ON_THE_CIRCLE else math.inf
