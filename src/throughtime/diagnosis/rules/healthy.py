"""Healthy: the gradient still counts at the span. Also what is said of a run that is not finite."""

from __future__ import annotations

from throughtime.diagnosis.reach import Reach
from throughtime.diagnosis.words import Said, steps


def said(reach: Reach) -> Said:
    """How far it reaches; or that no gain can be read."""
    if reach.verdict == "non-finite":
        return Said(
            "A state or a gradient is NaN or infinite: no gain can be read from it.",
            "상태나 기울기가 NaN 또는 무한대라서 이득을 읽을 수 없습니다.",
        )
    if reach.extrapolated:
        return Said(
            f"The gradient still counts after all {steps(reach.longest)} of the capture, and at "
            f"its rate it would after {reach.span} too: capture a sequence that long to be sure.",
            f"기울기는 캡처한 {reach.longest}스텝을 다 거슬러 가도 살아 있고, 이 속도라면 "
            f"{reach.span}스텝 뒤에도 그럴 것입니다. 확실히 하려면 그만큼 긴 시퀀스를 캡처하세요.",
        )
    reached = min(reach.reached, reach.span)
    return Said(
        f"The gradient still counts after {steps(reached)}, as far back as was asked for.",
        f"기울기는 요청한 {reached}스텝 전까지 살아서 도달합니다.",
    )
