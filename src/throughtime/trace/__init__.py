"""``Trace``: one run through time, with the total gradient of every state. Tensors, no model.

Axes, always in this order: T time, B batch, S state (H units, or h and c side by side: P + H).
Time is the time of the sequence: row t of a layer that reads backwards belongs to input t.
"""

from throughtime.trace.course import Course, Gap, Source
from throughtime.trace.facts import Facts, ModuleFact, ParameterFact
from throughtime.trace.joint import Joint
from throughtime.trace.layer import Far, LayerTrace, Route, with_tangent
from throughtime.trace.run import Link, Trace, checked_trace, one_layer
from throughtime.trace.turning import relative_difference, steps_alive, turn, underflowed

__all__ = [
    "Course",
    "Facts",
    "Far",
    "Gap",
    "Joint",
    "LayerTrace",
    "Link",
    "ModuleFact",
    "ParameterFact",
    "Route",
    "Source",
    "Trace",
    "checked_trace",
    "one_layer",
    "relative_difference",
    "steps_alive",
    "turn",
    "underflowed",
    "with_tangent",
]
