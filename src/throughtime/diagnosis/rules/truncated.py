"""Truncated: the state is detached, so that most losses do not see a span back."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.words import Said, finding, percent, steps
from throughtime.findings import Finding

# So large a share of the losses with a wall within the span is no exception any more.
MOST = 0.5


def find(evidence: Evidence) -> Finding | None:
    """Truncated BPTT is biased: no gradient crosses a wall, however well the network is built."""
    walls, span = evidence.walls, evidence.reach.span
    if not walls:
        return None
    window = max(b - a for a, b in pairwise([0, *walls, evidence.steps]))
    cut = _share_cut(evidence, walls, span)
    if window >= span and cut <= MOST:
        return None
    figures = {
        "walls": walls[:100],
        "window_steps": window,
        "span_steps": span,
        "cut_share": cut,
    }
    sentence = said(evidence.name, walls, window, span, cut)
    return finding("truncated", evidence.name, sentence, figures)


def _share_cut(evidence: Evidence, walls: tuple[int, ...], span: int) -> float:
    """The share of the loss steps, of those a span into the run, with a wall within the span."""
    layer = evidence.layer
    losses = evidence.sweep.anchors if layer is None else layer.loss_steps()
    far = [t for t in losses if t >= span]
    behind = [t for t in far if (n := bisect_right(walls, t)) and walls[n - 1] > t - span]
    return len(behind) / len(far) if far else 1.0


def said(name: str, walls: tuple[int, ...], window: int, span: int, cut: float) -> Said:
    """Where the walls are, how long the longest window is, and how many losses that concerns."""
    more = len(walls) - 1
    english = f"The state of {name!r} is detached before step {walls[0]}" + (
        f" and {more} more times" if more > 1 else " and once more" if more else ""
    )
    korean = (
        f"{name!r}의 상태가 {walls[0]}번째 스텝 앞에서 "
        + (f"(그 밖에 {more}번 더) " if more else "")
        + "detach됩니다. "
    )
    if window < span:
        return Said(
            f"{english}: the longest window is {steps(window)}, and no gradient crosses it.",
            f"{korean}가장 긴 구간이 {window}스텝이고, 그 경계를 넘는 기울기는 없습니다.",
        )
    return Said(
        f"{english}: no gradient crosses that, and {percent(cut)} of the losses have such a cut "
        f"within the {steps(span)} that the task needs.",
        f"{korean}그 경계를 넘는 기울기는 없으며, 손실의 {percent(cut)}는 과제에 필요한 {span}스텝 "
        "안에 그런 경계가 있습니다.",
    )
