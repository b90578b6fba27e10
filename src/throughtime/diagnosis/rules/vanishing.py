"""Vanishing: at the span less than 1 % of the gradient is left."""

from __future__ import annotations

from collections.abc import Sequence

from throughtime.diagnosis.course import course, tells_the_horizon
from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.reach import VANISHED, Reach
from throughtime.diagnosis.words import Said, finding, steps, ten_to
from throughtime.findings import Finding

# How the sentence begins, and how it ends: what is not so where another route carries the gradient.
OPENING = Said("On its way back the gradient", "기울기는")
ENDINGS = (
    Said(
        "What was read before that hardly moves the weights.",
        "그보다 앞서 읽은 입력은 가중치를 거의 움직이지 못합니다.",
    ),
    Said(
        "nothing before the wall moves the weights.",
        "벽 너머에서 읽은 것은 가중치를 전혀 움직이지 못합니다.",
    ),
)


def find(evidence: Evidence) -> Finding | None:
    """The median gain at the span is below 1 %."""
    reach = evidence.reach
    if reach.verdict != "vanishing":
        return None
    figures = {
        "log10_gain_at_span": reach.gain_at_span,
        "span_steps": reach.span,
        "horizon_steps": reach.horizon,
        "rate_decades_per_step": reach.rate,
    }
    agreeing = evidence.share(evidence.gains[:, -1] < VANISHED)
    return finding("vanishing", evidence.name, said(reach, evidence.walls), figures, agreeing)


def said(reach: Reach, walls: Sequence[int] = ()) -> Said:
    """How fast it shrinks, what is left where, and what that means."""
    if walls and reach.cut:
        return Said(
            f"The gradient stops at the wall where the state was detached, {steps(reach.reached)} "
            f"back, and the task needs {reach.span}: {ENDINGS[1].english}",
            f"기울기는 상태가 detach된 벽에서 멈춥니다. 벽은 {reach.reached}스텝 전에 있는데 "
            "과제에는 "
            f"{reach.span}스텝이 필요합니다. {ENDINGS[1].korean}",
        )
    pace, beyond = course(reach), _beyond(reach)
    left = Said(";", "") if tells_the_horizon(reach) else _left(reach)
    return Said(
        f"{OPENING.english} {pace.english}{left.english} the task needs "
        f"{reach.span}{beyond.english}. {ENDINGS[0].english}",
        f"{OPENING.korean} 과거로 거슬러 가면서 {pace.korean},{left.korean} 과제에는 "
        f"{reach.span}스텝{beyond.korean}이 필요합니다. {ENDINGS[0].korean}",
    )


def _beyond(reach: Reach) -> Said:
    """What is said of a span that is longer than the capture."""
    if reach.interval is None:
        return Said("", "")
    low, high = reach.interval
    left = ten_to(low) if high - low < 0.1 else f"{ten_to(low)} to {ten_to(high)}"
    korean = ten_to(low) if high - low < 0.1 else f"{ten_to(low)}에서 {ten_to(high)}"
    return Said(
        f" (more than was captured: at the pace of its last half {left} would be left there)",
        f"(캡처한 것보다 김: 뒤쪽 절반의 속도라면 그곳에 {korean}만큼 남음)",
    )


def _left(reach: Reach) -> Said:
    """What is left of the gradient beyond the horizon."""
    far = reach.reached
    if far == reach.longest:
        return Said(
            f": all {steps(far)} of the capture are too few to see it die, and",
            f" 캡처한 {far}스텝 안에서는 아직 사라지지 않지만",
        )
    if reach.cut:
        return Said(
            f": more than {steps(far)} back nothing of it comes through the recurrence, and",
            f" {far}스텝보다 더 앞으로는 순환을 통해 아무것도 전달되지 않는데",
        )
    return Said(
        f": more than {steps(far)} back less than 1 % of it is left, and",
        f" {far}스텝보다 더 앞에는 1 %도 남지 않는데",
    )
