"""Initialisations that let a gradient travel far, drawn or tuned on the user's own batch."""

from throughtime.remedies.initialisation.critical import Critical, critical_
from throughtime.remedies.initialisation.decay_ring import decay_ring_
from throughtime.remedies.initialisation.decay_scales import decay_scales_
from throughtime.remedies.initialisation.drawn import (
    chrono_,
    forget_bias_,
    identity_,
    orthogonal_,
    uniform_gates_,
)
from throughtime.remedies.initialisation.forget_ramp import forget_ramp_
from throughtime.remedies.initialisation.state_matrix import state_matrix_
from throughtime.remedies.initialisation.step_sizes import step_sizes_

__all__ = [
    "Critical",
    "chrono_",
    "critical_",
    "decay_ring_",
    "decay_scales_",
    "forget_bias_",
    "forget_ramp_",
    "identity_",
    "orthogonal_",
    "state_matrix_",
    "step_sizes_",
    "uniform_gates_",
]
