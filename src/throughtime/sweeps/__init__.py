"""Sweeps over a linearised recurrence: adjoints backwards through time, tangents forwards."""

from throughtime.sweeps.backward import adjoint, adjoint_log_norms, lag_norms

__all__ = ["adjoint", "adjoint_log_norms", "lag_norms"]
