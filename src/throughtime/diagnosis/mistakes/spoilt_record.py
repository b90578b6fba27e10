"""Spoilt record: what the capture saw is not what the program computed, so nothing is measured."""

from __future__ import annotations

from throughtime.diagnosis.words import Said, finding
from throughtime.findings import Finding
from throughtime.recording.passages import HOOKED, IN_PLACE, MIXED, SKIPPED
from throughtime.trace import LayerTrace

KOREAN = {
    HOOKED: "스텝 사이에서 훅(hook)이 상태의 기울기를 바꿉니다",
    IN_PLACE: "순전파가 끝난 뒤 계층의 입력이 제자리(in-place)에서 바뀌었습니다",
    MIXED: "스텝 사이에서 더 오래된 상태가 현재 상태에 섞입니다",
    SKIPPED: "반복문이 일부 시퀀스의 스텝을 건너뛴 뒤 이전 상태에서 이어 갑니다",
}
"""The reasons of ``LayerTrace.spoilt``, in Korean."""


def of_layer(layer: LayerTrace) -> Finding | None:
    """The reason why the record of this layer cannot be used; None where it can."""
    if not layer.spoilt:
        return None
    evidence = {"reason": layer.spoilt}
    return finding("spoilt record", layer.name, said(layer.name, layer.spoilt), evidence)


def said(name: str, reason: str) -> Said:
    """Which layer, why, and what to do."""
    korean = KOREAN.get(reason, reason)
    return Said(
        f"The record of {name!r} cannot be used: {reason}. Remove that for the measurement, or "
        "show the state that is carried on with throughtime.mark(state, 'name').",
        f"{name!r}의 기록은 사용할 수 없습니다. {korean}. 측정하는 동안 이를 제거하거나, 실제로 "
        "이어지는 상태를 throughtime.mark(state, 'name')으로 표시하십시오.",
    )
