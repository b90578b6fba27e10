"""The Schur form W = Q T Qᴴ, which every square matrix has, defective or not.

Q is unitary and T upper triangular with the eigenvalues on its diagonal, so Wⁿ = Q Tⁿ Qᴴ. The
diagonal of Tⁿ is λ_iⁿ: the rate at infinity. What stands above it, which eigenvalues do not know,
is the transient: it is zero exactly when W is normal.

Built here as in the proof that it exists: take one unit eigenvector, complete it to a unitary
basis, and the rest of the problem is one size smaller. Sources: Golub and Van Loan, theorem
7.1.3; Henrici 1962.
"""

import numpy as np
from numpy.typing import NDArray

from .notation import Array, float64
from .powers import exponent, square

Complex = NDArray[np.complex128]


def schur(W: Array) -> tuple[Complex, Complex]:
    """T (H, H) upper triangular and Q (H, H) unitary with W = Q T Qᴴ, for any square W (H, H)."""
    T = square(W).astype(np.complex128)
    H = len(T)
    Q = np.eye(H, dtype=np.complex128)
    for k in range(H - 1):
        basis = np.eye(H, dtype=np.complex128)
        basis[k:, k:] = unitary_basis_from_eigenvector(T[k:, k:])
        T = basis.conj().T @ T @ basis
        T[k + 1 :, k] = 0.0  # zero in theory; rounding left about 1e-16
        Q = Q @ basis
    return T, Q


def unitary_basis_from_eigenvector(block: Complex) -> Complex:
    """A unitary matrix whose first column is an eigenvector of `block`."""
    _, vectors = np.linalg.eig(block)
    unitary, _ = np.linalg.qr(np.column_stack([vectors[:, :1], np.eye(len(block))]))
    return unitary


def power(W: Array, n: int) -> Array:
    """Wⁿ = Q Tⁿ Qᴴ for a real W (H, H) and n ≥ 0, with a full set of eigenvectors or without."""
    T, Q = schur(W)
    T_to_the_n = np.linalg.matrix_power(T, exponent(n))
    return float64((Q @ T_to_the_n @ Q.conj().T).real)


def departure_from_normality(W: Array) -> float:
    """‖T - diag(T)‖ (Frobenius): 0 when eigenvalues tell the whole story of ‖Wⁿ‖ (Henrici 1962)."""
    T, _ = schur(W)
    return float(np.linalg.norm(np.triu(T, k=1)))
