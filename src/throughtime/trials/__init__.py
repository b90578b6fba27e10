"""Trials: trainings that are compared, each carried out once, from the same first weights.

    grid = read_grid("grid.toml")
    done = sweep(grid, "sweeps/adding", jobs=2)

``done.rows`` has one row for each setting. And pairs of one model, with remedies and without:

    done = treat(make, steps=2000, folder="treatments/recall")

``done.verdict`` says which of them helped.
"""

from throughtime.trials.grid import Grid, make_grid, read_grid
from throughtime.trials.remedy import REMEDIES
from throughtime.trials.setting import Setting
from throughtime.trials.summary import Summary, counts, summarise
from throughtime.trials.sweep import Sweep, sweep
from throughtime.trials.treatment import Treated, treat
from throughtime.trials.workers import ClusterError

__all__ = [
    "REMEDIES",
    "ClusterError",
    "Grid",
    "Setting",
    "Summary",
    "Sweep",
    "Treated",
    "counts",
    "make_grid",
    "read_grid",
    "summarise",
    "sweep",
    "treat",
]
