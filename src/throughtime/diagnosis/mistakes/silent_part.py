"""A part of the state that nothing reads: no gradient comes back to it at any step."""

from __future__ import annotations

from collections.abc import Iterator

from throughtime.diagnosis.mistakes.view import View
from throughtime.diagnosis.words import Said, finding
from throughtime.findings import Finding


def find(view: View) -> Iterator[Finding]:
    """Parts of a marked state whose gradient is exactly zero while another part has one."""
    for layer in view.trace:
        # A known cell reads its own parts; c of an LSTM gets its gradient by the step that follows.
        if not layer.marked or layer.walls or layer.steps < 2 or not layer.gradients.any():
            continue
        silent = [
            name for name, part in layer.parts.items() if not layer.gradients[..., part].any()
        ]
        for name in silent:
            told = said(layer.name, name)
            yield finding("no gradient", layer.name, told, {"part": name})


def said(layer: str, part: str) -> Said:
    """Which part, and where to look."""
    return Said(
        f"No gradient comes back to the part {part!r} of the state of {layer!r} at any step: "
        "neither the loss nor a later state depends on it. Check that the step computes its output "
        f"from the new {part!r}, and hands it on.",
        f"{layer!r}의 상태 가운데 {part!r}에는 어느 스텝에서도 기울기가 돌아오지 않습니다. 손실도 "
        f"이후의 상태도 이 값에 의존하지 않습니다. 스텝이 새 {part!r}로 출력을 계산하고 다음 "
        "스텝으로 넘기는지 확인하십시오.",
    )
