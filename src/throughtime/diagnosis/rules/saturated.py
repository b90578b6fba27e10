"""Saturated: the squashing function is flat where most units stand, and passes no gradient."""

from __future__ import annotations

import numpy as np

from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.words import Said, finding, percent
from throughtime.findings import Finding

# The share of (unit, step, sequence) at which the slope is below a tenth of its largest. A ReLU
# that is off half of the time is as it should be.
STUCK = {"tanh": 0.5, "relu": 0.95}


def find(evidence: Evidence) -> Finding | None:
    """The gradient vanishes, and at least half of the candidate's slopes are nearly zero."""
    name = evidence.candidate
    if evidence.reach.verdict != "vanishing" or evidence.known is None or name is None:
        return None
    function = evidence.known.linear.squashing[name]
    whole, by_time = evidence.saturation["saturation"], evidence.saturation["stuck by time"]
    row = whole.coords["squashing"].index(name)
    shares = dict(zip(whole.coords["figure"], np.asarray(whole.values)[row].tolist(), strict=True))
    if not shares["stuck"] >= STUCK[function]:
        return None
    through_time = np.asarray(by_time.values)[row]
    figures = {
        "squashing": name,
        "function": function,
        "stuck_share": shares["stuck"],
        "dead_units_share": shares["dead units"],
    }
    agreeing = evidence.share(through_time[np.isfinite(through_time)] >= STUCK[function])
    return finding(
        "saturated", evidence.name, said(name, function, shares["stuck"]), figures, agreeing
    )


def said(name: str, function: str, stuck: float) -> Said:
    """How much of it is stuck."""
    if function == "relu":
        return Said(
            f"{percent(stuck)} of the ReLU outputs are off: where a unit is off, no gradient "
            "passes.",
            f"ReLU 출력의 {percent(stuck)}가 꺼져 있습니다. 꺼진 유닛으로는 기울기가 지나가지 "
            "못합니다.",
        )
    where = "the state" if name == "h" else f"the candidate {name}"
    korean = "상태" if name == "h" else f"후보 {name}"
    if name == "g":  # an LSTM's candidate is not on the way along the cell state
        return Said(
            f"{percent(stuck)} of the candidate g is saturated, with a slope of tanh below 0.1: "
            "what the gradient would take through the candidate and W_hh is stopped there, and "
            "only the cell state is left to carry it.",
            f"후보 g의 {percent(stuck)}가 포화되어 tanh의 기울기가 0.1보다 작습니다. 후보와 W_hh를 "
            "지나는 기울기는 그곳에서 막히고 셀 상태 경로만 남습니다.",
        )
    return Said(
        f"{percent(stuck)} of {where} is saturated at the flat ends of tanh: its slope there is "
        "below 0.1, and every step multiplies the gradient by it.",
        f"{korean}의 {percent(stuck)}가 tanh의 평평한 끝에 붙어 있습니다. 그곳의 기울기는 "
        "0.1보다 작고, "
        "스텝마다 이 값이 곱해집니다.",
    )
