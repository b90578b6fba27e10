"""Truncated: the state is detached, and the longest window is shorter than the span."""

from __future__ import annotations

from itertools import pairwise

from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.words import Said, finding, steps
from throughtime.findings import Finding


def find(evidence: Evidence) -> Finding | None:
    """Truncated BPTT is biased: no gradient crosses a wall, however well the network is built."""
    walls, span = evidence.walls, evidence.reach.span
    if not walls:
        return None
    window = max(b - a for a, b in pairwise([0, *walls, evidence.steps]))
    if window >= span:
        return None
    figures = {"walls": walls[:100], "window_steps": window, "span_steps": span}
    return finding("truncated", evidence.name, said(evidence.name, walls, window), figures)


def said(name: str, walls: tuple[int, ...], window: int) -> Said:
    """Where the walls are, and how long the longest window between them is."""
    more = len(walls) - 1
    return Said(
        f"The state of {name!r} is detached before step {walls[0]}"
        + (f" and {more} more times" if more else "")
        + f": the longest window is {steps(window)}, and no gradient crosses it.",
        f"{name!r}의 상태가 {walls[0]}번째 스텝 앞에서 "
        + (f"(그 밖에 {more}번 더) " if more else "")
        + f"detach됩니다. 가장 긴 구간이 {window}스텝이고, 그 경계를 넘는 기울기는 없습니다.",
    )
