"""How a gain runs on its way back, in words: one pace, two paces with a bend, or ups and downs."""

from __future__ import annotations

import math

from throughtime.diagnosis.reach import VANISHED, Reach
from throughtime.diagnosis.words import Said, steps, ten_to

# By so large a share of the horizon a pace may miss it.
_APART = 0.25
# Decades over a whole piece within which a gain counts as level.
_LEVEL = 0.3


def course(reach: Reach) -> Said:
    """A predicate whose subject is the gradient, such as "shrinks to a tenth every 5 steps"."""
    if reach.verdict == "vanishing" and tells_the_horizon(reach):
        return _at_the_horizon(reach)
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


def _multiplies(reach: Reach) -> bool:
    """Whether the pace leads to the horizon: a reader multiplies the steps of a decade by two."""
    if reach.rate is None or reach.rate >= 0 or reach.bend is not None or reach.uneven:
        return reach.rate is None
    far = -VANISHED / -reach.rate
    return abs(far - reach.reached) <= max(1.0, _APART * reach.reached)


def tells_the_horizon(reach: Reach) -> bool:
    """Whether the course of a vanishing gain is told by its horizon, in two pieces."""
    has = reach.after is not None and not reach.cut and reach.horizon not in (None, 0)
    return has and not _multiplies(reach)


def _at_the_horizon(reach: Reach) -> Said:
    """The way to the horizon, and the pace from there on."""
    end = min(reach.span, reach.longest)
    far, after = reach.reached, piece(reach.after, end - reach.reached)
    swell = Said("", "")
    if reach.largest is not None and reach.peak is not None and reach.largest > _LEVEL:
        swell = Said(
            f"first grows {power(reach.largest)} within {steps(reach.peak)}, ",
            f"처음 {reach.peak}스텝 동안 {power(reach.largest)}로 커졌다가 ",
        )
    return Said(
        f"{swell.english}falls to 1 % within {steps(far)}, and then {after.english}",
        f"{swell.korean}{far}스텝 만에 1 %로 떨어지고, 그 뒤로는 {after.korean}",
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
    return ten_to(log10)


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
