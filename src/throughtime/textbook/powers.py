"""Powers of W by eigendecomposition, and when it must be refused.

    W = V D V⁻¹,  D = diag(λ_1..λ_H)      Wⁿ = V Dⁿ V⁻¹ = V diag(λ_1ⁿ..λ_Hⁿ) V⁻¹

The columns of V are RIGHT eigenvectors, W v_i = λ_i v_i. With D = diag(2, 0.3) the product over
t-1 linear steps is V diag(2^(t-1), 0.3^(t-1)) V⁻¹: along v_1 it explodes while along v_2 it
vanishes.

Not every W has a full set of eigenvectors: [[1, 1], [0, 1]] has one. In float64 such a matrix
shows up not as an exact failure but as a V that is almost singular. Its condition number κ(V) is
at least about ε^(-1/2) = 7e7 (a defective pair is split by √ε), and κ(V) is also the factor by
which V⁻¹ magnifies rounding. So a basis with κ(V) above 1e6 is refused: ten of the sixteen digits
are left at that limit.

Sources: Goodfellow, Bengio and Courville 2016, section 10.7; Golub and Van Loan, section 7.1.
"""

import numpy as np
from numpy.typing import NDArray

from .notation import Array, float64

LARGEST_CONDITION = 1e6


class NoEigenbasisError(ValueError):
    """W has no full set of eigenvectors, or none that float64 can use."""

    def __init__(self, condition: float) -> None:
        self.condition = condition
        super().__init__(
            f"W has no usable full set of eigenvectors (condition number of V {condition:.2g}, "
            f"limit {LARGEST_CONDITION:.0e}): use power_by_multiplication, or schur.power"
        )


def eigenbasis(W: Array) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Eigenvalues (H,) and V (H, H), its columns the right eigenvectors of W.

    Raises NoEigenbasisError when the condition number of V is above LARGEST_CONDITION.
    """
    eigenvalues, V = np.linalg.eig(square(W))
    condition = float(np.linalg.cond(V))
    if not condition <= LARGEST_CONDITION:
        raise NoEigenbasisError(condition)
    return eigenvalues.astype(np.complex128), V.astype(np.complex128)


def power_by_eigenbasis(W: Array, n: int) -> Array:
    """Wⁿ = V diag(λ_iⁿ) V⁻¹ for a real W (H, H) and n ≥ 0; raises what `eigenbasis` raises."""
    eigenvalues, V = eigenbasis(W)
    power = V @ np.diag(eigenvalues ** exponent(n)) @ np.linalg.inv(V)
    # The complex eigenvalues of a real W come in conjugate pairs, so the imaginary parts cancel.
    return float64(power.real)


def power_by_multiplication(W: Array, n: int) -> Array:
    """Wⁿ for n ≥ 0, one factor after the other. Needs no eigenvectors."""
    power = np.eye(len(square(W)))
    for _ in range(exponent(n)):
        power = W @ power
    return power


def square(W: Array) -> Array:
    """W itself. Raises ValueError unless it is a finite square matrix."""
    if W.ndim != 2 or W.shape[0] != W.shape[1]:
        raise ValueError(f"W must be a square matrix, got shape {W.shape}")
    if not np.all(np.isfinite(W)):
        raise ValueError("W must be finite, got a NaN or an infinity among its entries")
    return W


def exponent(n: int) -> int:
    """n itself. Raises ValueError unless it is 0 or more."""
    if n < 0:
        raise ValueError(f"the power must be 0 or more, got {n}")
    return n
