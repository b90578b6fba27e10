"""Sweeps over a linearised recurrence: adjoints backwards through time, tangents forwards."""

from throughtime.sweeps.backward import adjoint, adjoint_log_norms, lag_norms
from throughtime.sweeps.stages import Ledger, ledger

__all__ = ["Ledger", "adjoint", "adjoint_log_norms", "lag_norms", "ledger"]
