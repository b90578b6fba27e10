"""Spectral radius 0, and yet the gradient doubles at every step.

    x ← W tanh(x) + b,   W = [[8, 8], [-8, -8]],   W² = 0

"All eigenvalues of W below 1, so the gradient vanishes" is true of a linear recurrence only. Here
both eigenvalues are 0. At the fixed point x* = (0, artanh ½) the slopes of tanh are (1, ¾), so

    J = W diag(1 - tanh²(x*)) = [[8, 6], [-8, -6]],   J² = 2 J,   Jⁿ = 2^(n-1) J

and ‖Jⁿ‖ = 2^(n-1) √200: ‖J¹⁰‖ = 7240.8, ‖J³⁰‖ = 7.59e9. The condition that does hold uses the
largest singular value: σ_max(W) = 16 > 1 is necessary for exploding (Pascanu, Mikolov and Bengio
2013).

Even a linear recurrence may gain on its way to 0. A chain of n units, each handing 1.02 times its
value to the next, has spectral radius 0 too: C^n = 0. Until then ‖C^k‖ = 1.02^k, which is 7.2 after
100 steps. Eigenvalues give the rate at infinity alone (Trefethen and Embree 2005).
"""

import numpy as np

from .notation import Array, float64, tanh_slope
from .powers import power_by_multiplication

W = float64([[8.0, 8.0], [-8.0, -8.0]])
FIXED_POINT = float64([0.0, np.arctanh(0.5)])
BIAS = FIXED_POINT - W @ np.tanh(FIXED_POINT)
CHAIN_GAIN = 1.02


def step(x: Array) -> Array:
    """One step of the recurrence, x (2,) -> W tanh(x) + b (2,)."""
    return W @ np.tanh(x) + BIAS


def jacobian(x: Array) -> Array:
    """J = ∂step/∂x = W diag(1 - tanh²(x)) (2, 2)."""
    return W @ np.diag(tanh_slope(np.tanh(x)))


def gain(n: int) -> float:
    """‖Jⁿ‖, the largest singular value of the product over n steps at the fixed point."""
    return float(np.linalg.norm(power_by_multiplication(jacobian(FIXED_POINT), n), 2))


def chain(units: int) -> Array:
    """The linear recurrence in which unit i hands 1.02 times its value to unit i + 1 (H, H)."""
    return CHAIN_GAIN * np.eye(units, k=-1)


def measured_gains(T: int) -> Array:
    """‖∂x_n/∂x_0‖ for n = 1..T along a run that starts at the fixed point. Returns (T,).

    The fixed point is unstable: what rounding adds doubles at every step as well, and after about
    45 steps the run has left it.
    """
    x, product = FIXED_POINT, np.eye(2)
    gains = []
    for _ in range(T):
        product = jacobian(x) @ product
        x = step(x)
        gains.append(np.linalg.norm(product, 2))
    return float64(gains)
