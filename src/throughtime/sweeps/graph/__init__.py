"""Through the user's own graph: from the steps of a loss to any tensor with a time axis."""

from throughtime.sweeps.graph.axes import Time
from throughtime.sweeps.graph.ends import (
    LOOP,
    End,
    bypassed,
    named,
    onto,
    sources,
    targets,
    time_of,
)
from throughtime.sweeps.graph.pull import (
    Floats,
    Pulled,
    cotangent,
    direct,
    log_norms,
    loss_steps,
    pull,
)
from throughtime.sweeps.graph.series import Series
from throughtime.sweeps.graph.watch import THE_INPUT, THE_OUTPUT, Seen, Watch

__all__ = [
    "LOOP",
    "THE_INPUT",
    "THE_OUTPUT",
    "End",
    "Floats",
    "Pulled",
    "Seen",
    "Series",
    "Time",
    "Watch",
    "bypassed",
    "cotangent",
    "direct",
    "log_norms",
    "loss_steps",
    "named",
    "onto",
    "pull",
    "sources",
    "targets",
    "time_of",
]
