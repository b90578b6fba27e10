"""Gates closed: the forget gates let too little through; fully open, the gradient would arrive."""

from __future__ import annotations

import numpy as np

from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.reach import EXPLODED, VANISHED
from throughtime.diagnosis.words import Said, finding, percent, ten_to
from throughtime.findings import Finding

# The gate of the carousel ``f ⊙ c``, or ``z ⊙ h``.
_GATES = {
    "LSTM": ("f", "forget", "망각"),
    "JANET": ("f", "forget", "망각"),
    "GRU": ("z", "update", "업데이트"),
    "scan": ("decay", "decay", "감쇠"),
}


def find(evidence: Evidence) -> Finding | None:
    """The gradient vanishes, and would not on the same states with the carousel's gate at 1."""
    if evidence.reach.verdict != "vanishing" or evidence.known is None or evidence.opened is None:
        return None
    opened = evidence.opened.reach.gain_at_span
    if opened is None or opened < VANISHED:
        return None
    letter, gate, korean = _GATES[evidence.known.kind]
    values = evidence.known.linear.activations()[letter].double()
    mean = float(values[evidence.known.turned(evidence.known.alive())].mean())
    figures = {
        "gate": letter,
        "mean_gate": mean,
        "log10_gain_at_span": evidence.reach.gain_at_span,
        "log10_gain_at_span_with_gate_at_1": opened,
    }
    agreeing = evidence.share(evidence.opened.gains[:, -1] >= VANISHED)
    told = said(gate, korean, mean, opened)
    return finding("gates closed", evidence.name, told, figures, agreeing)


def said(gate: str, korean: str, mean: float, opened: float) -> Said:
    """How far the gates are open, what that costs along the carousel, and what 1 would do."""
    lost = -np.log10(mean) if mean > 0 else np.inf
    there = Said("the gradient would reach the span", "기울기는 필요한 거리까지 도달합니다")
    if opened > EXPLODED:
        there = Said(
            f"the gradient would not vanish but explode ({ten_to(opened)} at the span): open them "
            "in part",
            f"기울기는 소실되는 대신 폭발합니다(그 거리에서 {ten_to(opened)}배). 일부만 여십시오",
        )
    path = Said("along the cell state", "셀 상태 경로에서")
    if gate in ("update", "decay"):
        path = Said("along the state that is kept", "유지되는 상태의 경로에서")
    return Said(
        f"The {gate} gates are too closed: on average they pass {percent(mean)}, which costs "
        f"{lost:.2f} decades per step {path.english}. At 1, on the same states, "
        f"{there.english}.",
        f"{korean} 게이트가 너무 닫혀 있습니다. 평균 {percent(mean)}만 통과시켜 {path.korean} "
        f"스텝마다 {lost:.2f} 데케이드(decade)를 잃습니다. 같은 상태에서 게이트가 1이라면 "
        f"{there.korean}.",
    )
