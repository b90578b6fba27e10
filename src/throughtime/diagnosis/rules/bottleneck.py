"""Bottleneck: the gradient arrives, but of the many directions that the loss asks for only one."""

from __future__ import annotations

from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.words import Said, finding, steps
from throughtime.findings import Finding

# Participation ratios: a loss that asks for less has nothing to lose; one that is left is one.
ASKED, LEFT = 3.0, 1.5


def find(evidence: Evidence) -> Finding | None:
    """Neither vanishing nor exploding, yet one direction of the state is all that comes back."""
    if evidence.reach.verdict != "healthy" or evidence.lag < 1:
        return None
    asked, left = evidence.directions
    if not (asked >= ASKED and left < LEFT):
        return None
    figures = {"directions_asked": asked, "directions_left": left, "lag_steps": evidence.lag}
    return finding("bottleneck", evidence.name, said(asked, left, evidence.lag), figures)


def said(asked: float, left: float, lag: int) -> Said:
    """How many directions are asked for, and how many come back."""
    return Said(
        f"The loss asks for about {asked:.0f} directions of the state, and {steps(lag)} back about "
        f"{left:.1f} of them is left: over that distance the network can learn one number, "
        "whatever the size of its state.",
        f"손실은 상태의 방향 약 {asked:.0f}개를 필요로 하지만 {lag}스텝 전에는 약 "
        f"{left:.1f}개만 남습니다. "
        "상태가 아무리 커도 그 거리에서는 숫자 하나밖에 배울 수 없습니다.",
    )
