"""Which layer, stack or row of layers in series decides the verdict of a run."""

from __future__ import annotations

from typing import NamedTuple

from throughtime.diagnosis import joint, layers, nonfinite, whole
from throughtime.diagnosis.layers import Depth
from throughtime.findings import LayerDiagnosis
from throughtime.trace import Trace


class Decided(NamedTuple):
    """What decides, and everything that it was chosen from.

    Attributes:
        worst: the row on which the verdict of the whole stands.
        layers: the diagnosis of every single layer.
        rows: those of a stack, or of layers in series.
        broken: some state or gradient of the recurrence is not finite.
    """

    worst: LayerDiagnosis
    layers: list[LayerDiagnosis]
    rows: list[LayerDiagnosis]
    broken: bool


def decide(trace: Trace, span: int | None, depth: Depth) -> Decided:
    """Judge every layer, and what they are taken together."""
    broken = {finding.subject: finding for finding in nonfinite.find(trace)}
    single = [layers.of_layer(layer, span, depth, broken.get(layer.name)) for layer in trace]
    stack = joint.of_stack(trace, span, depth)
    if stack is not None:
        candidates = [stack, *(one for one in single if one.verdict == "non-finite")]
        rows = [stack]
    else:
        jointly = [joint.of_joint(trace, one, span, depth) for one in trace.joints]
        measured = [one for one in jointly if one is not None]
        candidates = whole.deciding(trace, single, measured)
        rows = [one for one in candidates if one not in single]
    return Decided(min(candidates, key=whole.severity), single, rows, bool(broken))
