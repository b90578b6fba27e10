"""Axes swapped: the loss takes one sequence of the batch where it means one step of all."""

from __future__ import annotations

from collections.abc import Iterator

from throughtime.diagnosis import reads
from throughtime.diagnosis.mistakes.view import View
from throughtime.diagnosis.reads import Reads
from throughtime.diagnosis.words import Said, finding
from throughtime.findings import Finding


def find(view: View) -> Iterator[Finding]:
    """The first or last sequence alone has a direct gradient, and has one at every step."""
    top = reads.of_the_loss(view.trace)
    if top is None or not swapped(top):
        return
    evidence = {
        "sequences_read": 1,
        "sequences": top.batch,
        "sequence": top.sequences[0],
        "steps_read": len(top.at),
        "steps": top.steps,
        "batch_first": None if top.fact is None else top.fact.batch_first,
    }
    yield finding("axes swapped", top.module, said(top), evidence)


def swapped(top: Reads) -> bool:
    """Whether the loss reads all steps of one sequence at an edge of the batch, and no other."""
    edges = ((0,), (top.batch - 1,))
    return top.batch > 1 and top.steps > 1 and top.sequences in edges and top.whole


def said(top: Reads) -> Said:
    """How that shows, and which index takes the last step of every sequence."""
    number, name = top.sequences[0], top.module
    index = "0" if number == 0 else "-1"
    which, welche = ("first", "첫") if number == 0 else ("last", "마지막")
    shape = f"{top.batch} sequences of {top.steps} steps"
    tell = (
        f"only sequence {number}, the {which} of the batch, has a direct gradient, and it has one "
        f"at all {top.steps} steps"
    )
    zeichen = (
        f"배치의 {welche} 시퀀스({number}번)만 직접 기울기를 받고, 그 시퀀스는 {top.steps}스텝 "
        "모두에서 받습니다"
    )
    if top.fact is not None and top.fact.batch_first:
        return Said(
            f"The batch and time axes look exchanged: {name!r} has batch_first=True and read "
            f"{shape}, but {tell}. That is what out[{index}] selects; out[:, {index}] is the "
            f"{which} step of every sequence.",
            f"배치 축과 시간 축이 뒤바뀐 것으로 보입니다. {name!r}은 batch_first=True이고 "
            f"{top.steps}스텝짜리 시퀀스 {top.batch}개를 읽었는데, {zeichen}. out[{index}]을 "
            f"선택하면 이렇게 됩니다. 모든 시퀀스의 {welche} 스텝은 out[:, {index}]입니다.",
        )
    return Said(
        f"The batch and time axes look exchanged: {name!r} takes (time, batch, features) and read "
        f"{shape}, but {tell}. That is what out[:, {index}] selects. If the input is (batch, time, "
        f"features), set batch_first=True; if not, out[{index}] is the {which} step of every "
        "sequence.",
        f"배치 축과 시간 축이 뒤바뀐 것으로 보입니다. {name!r}은 (시간, 배치, 특징) 순서로 "
        f"{top.steps}스텝짜리 시퀀스 {top.batch}개를 읽었는데, {zeichen}. out[:, {index}]을 "
        "선택하면 이렇게 됩니다. 입력이 (배치, 시간, 특징) 순서라면 batch_first=True로 설정하고, "
        f"아니라면 모든 시퀀스의 {welche} 스텝인 out[{index}]을 사용하십시오.",
    )
