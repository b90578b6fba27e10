"""State not handed on: every step starts from the same state, and the new one is thrown away."""

from __future__ import annotations

from throughtime.diagnosis.words import Said, finding
from throughtime.findings import Finding
from throughtime.trace import LayerTrace


def of_layer(layer: LayerTrace) -> Finding | None:
    """Whether all steps of this layer start from one state."""
    if not layer.thrown_away:
        return None
    calls = layer.fragments
    return finding("state not handed on", layer.name, said(layer.name, calls), {"calls": calls})


def said(name: str, calls: int) -> Said:
    """What happens, and the line that is missing."""
    return Said(
        f"All {calls} calls of {name!r} start from the same state, and the new state is thrown "
        "away: no step knows of an earlier one. Hand the state on: h = cell(x, h), for LSTM "
        "h, c = cell(x, (h, c)).",
        f"{name!r}에 대한 {calls}번의 호출이 모두 같은 상태에서 시작하고 새 상태는 버려집니다. "
        "어떤 스텝도 이전 스텝을 알지 못합니다. h = cell(x, h)처럼 상태를 넘겨주십시오. "
        "LSTM이라면 h, c = cell(x, (h, c))입니다.",
    )
