"""How a gain runs on its way back, in words: one pace, two paces with a bend, or ups and downs."""

from __future__ import annotations

import math

from throughtime.diagnosis.reach import Reach
from throughtime.diagnosis.words import Said

# Decades over a whole piece within which a gain counts as level.
_LEVEL = 0.3


def course(reach: Reach) -> Said:
    """A predicate whose subject is the gradient, such as "shrinks to a tenth every 5 steps"."""
    if reach.bend is not None:
        return _bent(reach)
    whole = min(reach.span, reach.longest)
    pace = piece(reach.rate, whole)
    if reach.rate is None or not reach.uneven:
        return pace
    return Said(
        f"goes up and down by up to {reach.uneven:.1f} decades, and on the whole {pace.english}",
        f"최대 {reach.uneven:.1f} 데케이드(decade)까지 오르내리며 전체적으로 {pace.korean}",
    )


def piece(rate: float | None, length: int) -> Said:
    """What a gain does along a straight piece of so many steps."""
    if rate is None:
        return Said("is gone at once", "단번에 사라지고")
    if abs(rate) * length < _LEVEL:
        return Said("stays where it is", "거의 그대로이고")
    if abs(rate) >= 1:
        much = f"{abs(rate):.1f}"
        if rate < 0:
            return Said(f"shrinks by {much} decades a step", f"스텝마다 {much} 데케이드씩 줄어들고")
        return Said(f"grows by {much} decades a step", f"스텝마다 {much} 데케이드씩 커지고")
    per = f"{1 / abs(rate):.1f}" if abs(rate) > 1e-3 else f"{1 / abs(rate):.0f}"
    if rate < 0:
        return Said(f"shrinks to a tenth every {per} steps", f"{per}스텝마다 10분의 1로 줄어들고")
    return Said(f"grows tenfold every {per} steps", f"{per}스텝마다 10배로 커지고")


def power(log10: float) -> str:
    """``0.4 %``, ``10^-5.2``, ``3-fold``: a gain as a reader says it."""
    if math.isinf(log10):
        return "0" if log10 < 0 else "∞"
    if -4 < log10 <= 0:
        return f"{100 * 10**log10:.2g} %"
    if 0 < log10 < 3:
        return f"{10**log10:.2g}-fold"
    return f"10^{log10:.1f}"


def _bent(reach: Reach) -> Said:
    bend = reach.bend
    assert bend is not None
    end = min(reach.span, reach.longest)
    before, after = piece(bend.before, bend.lag), piece(bend.after, end - bend.lag)
    return Said(
        f"first {before.english} until {power(bend.level)} is left after {bend.lag} steps, and "
        f"then {after.english}",
        f"처음 {bend.lag}스텝 동안 {before.korean}({power(bend.level)}), 그 뒤로는 {after.korean}",
    )
