"""What can be read off a ``Trace``; every measure returns a ``Measurement``, none knows another."""

from throughtime.measures.lags import LagSweep, gains, lags
from throughtime.measures.norms import norms

__all__ = ["LagSweep", "gains", "lags", "norms"]
