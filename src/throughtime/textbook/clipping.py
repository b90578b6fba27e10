"""Clipping by the global norm: one norm over ALL parameters, one factor for all of them.

    ‖g‖ = √(Σ_p Σ_i g_{p,i}²)          g ← g · min(1, c / ‖g‖)

One factor keeps the direction of the update; a norm per parameter would turn it. Clipping cures
explosion only: it never enlarges a gradient that has vanished.

The sum of squares leaves the range of floating point long before the norm does (an entry of 1e200
squares to inf, one of 1e-200 to 0). So all entries are first divided by the largest one, m = max
|g|:

    ‖g‖ = m · √(Σ (g/m)²),   where the root lies between 1 and √n

Source: Pascanu, Mikolov and Bengio 2013, algorithm 1.
"""

import math
from collections.abc import Mapping

import numpy as np

from .notation import Array, float64


def scaled_norm(gradients: Mapping[str, Array]) -> tuple[float, float]:
    """(m, r) with ‖g‖ = m · r: m the largest |entry|, 1 ≤ r ≤ √n; (0, 0) when all are zero.

    Raises ValueError naming the parameter whose gradient holds a NaN or an infinity.
    """
    largest = 0.0
    for name, gradient in gradients.items():
        if not np.all(np.isfinite(gradient)):
            raise ValueError(
                f"the gradient of {name!r} holds a NaN or an infinity: clipping cannot repair it, "
                "skip this update and look for the step that made it"
            )
        largest = max(largest, float(np.max(np.abs(gradient), initial=0.0)))
    if largest == 0.0:
        return 0.0, 0.0
    total = sum(float(np.sum((float64(g) / largest) ** 2)) for g in gradients.values())
    return largest, math.sqrt(total)


def global_norm(gradients: Mapping[str, Array]) -> float:
    """‖g‖ over all parameters; inf only where the norm itself, not its square, exceeds 1.8e308."""
    largest, root = scaled_norm(gradients)
    return largest * root


def log10_global_norm(gradients: Mapping[str, Array]) -> float:
    """log10 ‖g‖: finite for every finite gradient, -inf when all entries are zero."""
    largest, root = scaled_norm(gradients)
    return math.log10(largest) + math.log10(root) if largest else -math.inf


def clip(gradients: Mapping[str, Array], threshold: float) -> tuple[dict[str, Array], float]:
    """The clipped gradients, ‖g‖ ≤ threshold, and the norm before clipping.

    Raises ValueError unless 0 < threshold < inf, and as `scaled_norm` does.
    """
    if not 0.0 < threshold < math.inf:
        raise ValueError(f"the threshold must be a positive finite number, got {threshold}")
    largest, root = scaled_norm(gradients)
    norm = largest * root
    if norm <= threshold:
        return {name: float64(g) for name, g in gradients.items()}, norm
    clipped = {name: float64(g) / largest * (threshold / root) for name, g in gradients.items()}
    return clipped, norm
