"""What can be read off a ``Trace``; every measure returns a ``Measurement``, none knows another."""

from throughtime.measures.budget import budget, counterfactuals, paths
from throughtime.measures.contributions import contributions
from throughtime.measures.directions import directions
from throughtime.measures.lags import LagSweep, gains, lags
from throughtime.measures.lyapunov import lyapunov
from throughtime.measures.memory import memory
from throughtime.measures.norms import norms
from throughtime.measures.reach import reach
from throughtime.measures.routes import routes
from throughtime.measures.saturation import saturation
from throughtime.measures.spectrum import spectrum

__all__ = [
    "LagSweep",
    "budget",
    "contributions",
    "counterfactuals",
    "directions",
    "gains",
    "lags",
    "lyapunov",
    "memory",
    "norms",
    "paths",
    "reach",
    "routes",
    "saturation",
    "spectrum",
]
