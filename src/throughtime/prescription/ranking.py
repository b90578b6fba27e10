"""The order of a prescription: what reaches the span first, the better guess before the worse."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set

from throughtime.diagnosis.reach import EXPLODED, VANISHED
from throughtime.prescription.answer import Option

_WORSE = 10.0  # times the loss of the untreated copy: the first updates did harm
_LEARNS = 0.75  # times the trivial loss: in our own trainings whoever came so far early got there
_LEARNING, _REACHES, _BOUNDED, _FAILS, _DIVERGED = range(5)
_FAR = 1e3  # decades: what is further off is as far off as can be


def ranked(
    options: Sequence[Option],
    untreated: Option,
    clipped: Set[str],
    trivial_loss: float | None = None,
) -> tuple[Option, ...]:
    """The same options, the best first.

    First those whose gain at the span is useful, between 1 % and 100, and whose first updates did
    no harm; of these before all others who has begun to learn. Then those whose gradient explodes,
    but is clipped; then the others, by how many decades their gain is off, and by horizon; last
    what diverged. Among equals in the order given. How long a step takes has no say: that depends
    on what else the machine does.

    Args:
        options: the best guess first.
        untreated: the untreated copy.
        clipped: names of the options whose gradient is clipped.
        trivial_loss: of the best answer that never looks at its input, where known.
    """

    def key(place: int) -> tuple[float, ...]:
        option = options[place]
        group = _group(option, untreated, option.name in clipped)
        if group == _REACHES and option.loss is not None and trivial_loss is not None:
            group = _LEARNING if option.loss < _LEARNS * trivial_loss else _REACHES
        horizon = 0 if group <= _REACHES else option.horizon or 0
        return group, round(off(option)), -horizon, place

    return tuple(options[place] for place in sorted(range(len(options)), key=key))


def off(option: Option) -> float:
    """Decades between the gain at the span and what is useful: 0 between 1 % and 100."""
    gain = option.gain_at_span
    if gain is None or math.isnan(gain):
        return _FAR
    return min(_FAR, max(0.0, VANISHED - gain, gain - EXPLODED))


def _group(option: Option, untreated: Option, clipped: bool) -> int:
    if option.loss is None:
        return _DIVERGED
    harmed = untreated.loss is not None and option.loss > _WORSE * abs(untreated.loss)
    if option.verdict == "healthy" and not harmed:
        return _REACHES
    return _BOUNDED if option.verdict == "exploding" and clipped and not harmed else _FAILS
