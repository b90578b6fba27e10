"""Initialisations that let a gradient travel far, drawn or tuned on the user's own batch."""

from throughtime.remedies.initialisation.critical import Critical, critical_
from throughtime.remedies.initialisation.drawn import (
    chrono_,
    forget_bias_,
    identity_,
    orthogonal_,
    uniform_gates_,
)

__all__ = [
    "Critical",
    "chrono_",
    "critical_",
    "forget_bias_",
    "identity_",
    "orthogonal_",
    "uniform_gates_",
]
