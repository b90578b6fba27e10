"""Assumed span: nobody said how far back the task needs to see, so the whole sequence counts."""

from __future__ import annotations

from collections.abc import Iterator

from throughtime.diagnosis.mistakes.view import View
from throughtime.diagnosis.words import Said, finding
from throughtime.findings import Finding


def find(view: View) -> Iterator[Finding]:
    """No span was given: the longest lag of the capture, T − 1, stands in for it."""
    longest = max(view.trace, key=lambda layer: layer.steps)
    if view.span is not None or longest.steps < 2:
        return
    span = view.span_of(longest)
    jointly = max((one.steps - 1 for one in view.trace.joints), default=0)
    if longest.starts is None or jointly > span:  # an encoder and a decoder, one after the other
        span = max(span, jointly)
        told = said(span)
    else:
        told = said_of_episodes(span)
    yield finding("assumed span", longest.name, told, {"span_steps": span})


def said_of_episodes(span: int) -> Said:
    """The same of a run whose state is reset on its way."""
    return Said(
        f"No span was given: took {span}, the longest lag within an episode. If the task needs "
        "another one, say so with --span (span= in Python).",
        f"span이 주어지지 않아 에피소드 안에서 가장 긴 시차인 {span}을 사용했습니다. 과제에 필요한 "
        "거리가 다르다면 --span(파이썬에서는 span=)으로 지정하십시오.",
    )


def said(span: int, steps: int | None = None) -> Said:
    """Which span was taken of ``steps`` (default: span + 1), and how to give another one."""
    taken = f"T − 1 = {span}" if steps in (None, span + 1) else str(span)
    return Said(
        f"No span was given: took {taken}, the longest lag of the capture. If the task "
        "needs less, say so with --span (span= in Python).",
        f"span이 주어지지 않아 캡처에서 가장 긴 시차인 {taken}을 사용했습니다. 과제에 더 "
        "짧은 거리만 필요하다면 --span(파이썬에서는 span=)으로 지정하십시오.",
    )
