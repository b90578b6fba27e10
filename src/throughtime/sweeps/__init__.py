"""Sweeps over a linearised recurrence: adjoints backwards through time, tangents forwards."""

from throughtime.sweeps.backward import adjoint, adjoint_log_norms, lag_norms
from throughtime.sweeps.forward import Growth, frame_growth, random_frame
from throughtime.sweeps.stages import Ledger, ledger

__all__ = [
    "Growth",
    "Ledger",
    "adjoint",
    "adjoint_log_norms",
    "frame_growth",
    "lag_norms",
    "ledger",
    "random_frame",
]
