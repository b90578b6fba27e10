"""Every threshold of every rule, for the reader of a diagnosis."""

from __future__ import annotations

from throughtime.diagnosis import reach
from throughtime.diagnosis.rules import bottleneck, saturated, transient_growth
from throughtime.measures.lyapunov import CHAOTIC

ALL: dict[str, object] = {
    "vanishing_log10_gain": reach.VANISHED,
    "exploding_log10_gain": reach.EXPLODED,
    "chaotic_nats_per_step": CHAOTIC,
    "saturated_share": saturated.STUCK,
    "transient_growth_rise_decades": transient_growth.RISE,
    "transient_growth_fall_decades": reach.FALL,
    "bottleneck_directions_asked": bottleneck.ASKED,
    "bottleneck_directions_left": bottleneck.LEFT,
}
