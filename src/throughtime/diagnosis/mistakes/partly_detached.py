"""Partly detached: one part of the state is cut between the steps while another is handed on."""

from __future__ import annotations

from collections.abc import Iterator

from throughtime.diagnosis.mistakes.view import View
from throughtime.diagnosis.words import Said, finding
from throughtime.findings import Finding


def find(view: View) -> Iterator[Finding]:
    """Every layer of whose state a part was detached, whatever else was not."""
    for layer in view.trace:
        if layer.detached:
            evidence = {"parts": layer.detached, "of": tuple(layer.parts)}
            yield finding("partly detached", layer.name, said(layer.name, layer.detached), evidence)


def said(name: str, detached: tuple[str, ...]) -> Said:
    """Which part, and what that costs."""
    parts, several = " and ".join(detached), len(detached) > 1
    return Said(
        f"A part of the state of {name!r} is detached between the steps ({parts}), and the rest is "
        f"not: no gradient goes back through what was detached in {parts}. Detach all of the "
        "state where a window ends, and none of it elsewhere.",
        f"{name!r}의 상태 일부({'와 '.join(detached) if several else parts})가 스텝 사이에서 "
        "detach되고 나머지는 그대로 이어집니다. detach된 쪽으로는 기울기가 거슬러 가지 못합니다. "
        "구간이 끝나는 곳에서는 상태 전체를 detach하고, 그 밖의 곳에서는 detach하지 마십시오.",
    )
