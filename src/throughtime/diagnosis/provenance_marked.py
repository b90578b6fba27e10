"""What made a marked state non-finite, of whose step nothing but the graph is known."""

from __future__ import annotations

import torch

from throughtime.diagnosis import sources
from throughtime.diagnosis.provenance import Cause, between
from throughtime.diagnosis.words import Said
from throughtime.trace import Gap, LayerTrace, Trace


def forward(trace: Trace, layer: LayerTrace, step: int, sample: int) -> Cause:
    """A parameter of the step, what a module made, what code around a layer made; or unknown."""
    source = None
    if layer.course is not None:
        source = layer.course.sources.get(step, {}).get("made")
    if source is not None and source.kind == "parameter":
        said = Said(
            f"parameter {source.parameter!r}, which the step reads, is not finite",
            f"그 스텝이 읽는 파라미터 {source.parameter!r}의 값이 유한하지 않습니다",
        )
        return Cause("bad weight", said, more=dict(sources.evidence(source)))
    if (gap := _around_a_layer(trace, layer, step, sample)) is not None:
        return between(gap)
    if source is not None:
        told = sources.told(source)
        kind = "bad input" if source.kind == "data" else "model"
        return Cause(kind, told, more=dict(sources.evidence(source)))  # type: ignore[arg-type]  # both are kinds
    return _unknown(layer, step, sample)


def _around_a_layer(trace: Trace, layer: LayerTrace, step: int, sample: int) -> Gap | None:
    """The layer of the trace that ran within this step of the loop, and stayed finite."""
    if layer.course is None:
        return None
    order = layer.course.order
    begin = order[step - 1] if step else -1
    for other in trace:
        if other.marked or other.course is None or other.course.loop_steps != len(order):
            continue
        for t, at in enumerate(other.course.order):
            if begin < at < order[step] and sample < other.batch:
                return Gap(other.name.split(" (")[0], other.course.loop[t], (sample,))
    return None


def _unknown(layer: LayerTrace, step: int, sample: int) -> Cause:
    """Not known; a state that had grown far before has probably overflowed."""
    states = layer.turned(layer.states)
    dtype = states.dtype
    largest = float(states[step - 1, sample].abs().max()) if step else 0.0
    if largest > torch.finfo(dtype).max ** 0.5:
        name, limit = str(dtype).removeprefix("torch."), sources.limit(dtype)
        said = Said(
            f"its parameters are finite and the state before it reached {largest:.1e}, so that the "
            f"step probably overflows {name}, whose largest number is {limit}",
            f"파라미터는 유한하고 바로 앞 상태가 {largest:.1e}까지 커졌으므로, 그 스텝의 계산이 "
            f"{name}의 최댓값 {limit}을 넘은 것으로 보입니다",
        )
        return Cause("overflow", said, "its step")
    said = Said(
        "the cause is not known: the parameters of the step are finite, so check its input and its "
        "operations one by one",
        "원인은 알 수 없습니다. 그 스텝의 파라미터는 유한하므로 입력과 연산을 하나씩 확인하십시오",
    )
    return Cause("not known", said)
