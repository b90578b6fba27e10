"""The norm of dh when MatMul alone is repeated: dh ← dh Whᵀ, T times.

Of the three nodes of `node.py` only MatMul can enlarge a gradient, and it multiplies by the same
matrix at every step. The norm then settles to one rate, log10 of the spectral radius of Wh in
decades per step.

Source: Saito, "Deep Learning from Scratch 2", chapter 6, `rnn_gradient_graph.py`: N = 2, H = 3, T
= 20, dh all ones, NumPy seed 3. Its script prints the growing norms of Wh = randn(H, H), from
2.468 to 249.5; the decay under 0.5 randn(H, H) is a line to swap in. Its norm is divided by N.
"""

import numpy as np

from .notation import Array, float64


def book_matrix(scale: float = 1.0, H: int = 3, seed: int = 3) -> Array:
    """scale · randn(H, H) with the book's seed, NumPy's global random state left alone."""
    return float64(scale * np.random.RandomState(seed).randn(H, H))


def norms_under_repeated_matmul(Wh: Array, N: int = 2, T: int = 20) -> Array:
    """‖dh‖ / N after 1..T multiplications by Whᵀ, dh (N, H) all ones at first. Returns (T,)."""
    dh = np.ones((N, Wh.shape[0]))
    norms = []
    for _ in range(T):
        dh = dh @ Wh.T
        norms.append(np.sqrt(np.sum(dh**2)) / N)
    return float64(norms)


def spectral_radius(W: Array) -> float:
    """max |λ_i(W)|: the factor per step, once many steps have passed."""
    return float(np.max(np.abs(np.linalg.eigvals(W))))
