"""The rules: one disease each, with its threshold, evidence, confidence and both sentences.

A rule looks at the ``Evidence`` of one layer or stack and returns a ``Finding``, or None. The
confidence is the share of the single samples (loss steps and sequences) that say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.reach import Reach
from throughtime.diagnosis.rules import (
    bottleneck,
    chaotic,
    decades,
    episodes,
    exploding,
    gates_closed,
    healthy,
    saturated,
    transient_growth,
    truncated,
    vanishing,
)
from throughtime.diagnosis.words import Said
from throughtime.findings import Finding

RULES: tuple[Callable[[Evidence], Finding | None], ...] = (
    episodes.find,
    exploding.find,
    chaotic.find,
    vanishing.find,
    truncated.find,
    gates_closed.find,
    saturated.find,
    transient_growth.find,
    bottleneck.find,
    decades.find,
)


def verdict_sentence(reach: Reach, walls: Sequence[int] = ()) -> Said:
    """The verdict on the reach: how far the gradient comes, and what that means for learning."""
    if reach.longest > 0 and reach.horizon is not None:
        if reach.verdict == "vanishing":
            return vanishing.said(reach, walls)
        if reach.verdict == "exploding":
            return exploding.said(reach)
    return healthy.said(reach)
