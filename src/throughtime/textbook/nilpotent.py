"""Spectral radius 0, and yet the gradient doubles at every step.

    x ← W tanh(x) + b,   W = [[8, 8], [-8, -8]],   W² = 0

"All eigenvalues of W below 1, so the gradient vanishes" is true of a linear recurrence only. Here
both eigenvalues are 0. At the fixed point x* = (0, artanh ½) the slopes of tanh are (1, ¾), so

    J = W diag(1 - tanh²(x*)) = [[8, 6], [-8, -6]],   J² = 2 J,   Jⁿ = 2^(n-1) J

and ‖Jⁿ‖ = 2^(n-1) √200: ‖J¹⁰‖ = 7240.8, ‖J³⁰‖ = 7.59e9. The condition that does hold uses the
largest singular value: σ_max(W) = 16 > 1 is necessary for exploding (Pascanu, Mikolov and Bengio
2013).
"""

import numpy as np

from .notation import Array, float64, tanh_slope
from .powers import power_by_multiplication

W = float64([[8.0, 8.0], [-8.0, -8.0]])
FIXED_POINT = float64([0.0, np.arctanh(0.5)])
BIAS = FIXED_POINT - W @ np.tanh(FIXED_POINT)


def step(x: Array) -> Array:
    """One step of the recurrence, x (2,) -> W tanh(x) + b (2,)."""
    return W @ np.tanh(x) + BIAS


def jacobian(x: Array) -> Array:
    """J = ∂step/∂x = W diag(1 - tanh²(x)) (2, 2)."""
    return W @ np.diag(tanh_slope(np.tanh(x)))


def gain(n: int) -> float:
    """‖Jⁿ‖, the largest singular value of the product over n steps at the fixed point."""
    return float(np.linalg.norm(power_by_multiplication(jacobian(FIXED_POINT), n), 2))
