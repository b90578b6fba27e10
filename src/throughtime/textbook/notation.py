"""What every file of the textbook shares: float64 arrays, two squashing functions, their slopes.

The slopes are written in the value of the function, because that is what the forward pass keeps:

    h = tanh(a)   dh/da = 1 - h²        largest slope 1,   at a = 0
    s = σ(a)      ds/da = s (1 - s)     largest slope 1/4, at a = 0

Notes that print 1/2 for the largest slope of tanh are wrong: `1 - tanh(0)² = 1`.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

LARGEST_TANH_SLOPE = 1.0
LARGEST_SIGMOID_SLOPE = 0.25


def float64(values: ArrayLike) -> Array:
    """`values` as a float64 array; a copy only where one is needed."""
    return np.asarray(values, dtype=np.float64)


def tanh_slope(h: Any) -> Any:
    """dh/da = 1 - h², from the value h = tanh(a), elementwise."""
    return 1.0 - h * h


def sigmoid(a: Array) -> Array:
    """σ(a) = 1 / (1 + e^-a) = (1 + tanh(a/2)) / 2; the tanh overflows for no a."""
    return 0.5 * (1.0 + np.tanh(0.5 * a))


def sigmoid_slope(s: Array) -> Array:
    """ds/da = s (1 - s), from the value s = σ(a), elementwise."""
    return s * (1.0 - s)
