"""What made the first non-finite number on the way back: the loss, padding, or a step itself."""

from __future__ import annotations

import torch

from throughtime.diagnosis import sources
from throughtime.diagnosis.provenance import Cause, finite, weights
from throughtime.diagnosis.words import Said
from throughtime.trace import LayerTrace, Trace

_STAGES = {
    "nonlinearity": Said("φ'⊙δ", "φ'⊙δ"),
    "projection": Said("W_hrᵀ δh", "W_hrᵀ δh"),
    "read-out": Said("δc + o⊙tanh'(c)⊙δh", "δc + o⊙tanh'(c)⊙δh"),
    "gates": Said("the adjoint of the gates", "게이트의 수반 벡터"),
    "reset": Said("the adjoint of the reset gate", "리셋 게이트의 수반 벡터"),
    "recurrent matrix": Said("W_hhᵀ δa", "W_hhᵀ δa"),
    "step": Said("its step", "그 스텝"),
    "sum": Said("the sum with the direct gradient", "직접 기울기와의 합"),
}


def backward(trace: Trace, layer: LayerTrace, step: int, sample: int) -> Cause:
    """What made the total gradient at a step (in the order of computation) non-finite."""
    later = step + 1
    gradients, alive = layer.turned(layer.gradients), layer.turned(layer.alive())
    if later < layer.steps and later not in layer.walls:
        if not bool(alive[later, sample]) and not finite(gradients[later, sample]):
            return _padding()
        for label, name, weight in weights(layer, later):
            if not finite(weight):
                said = Said(
                    f"a weight is not finite: {name or label}",
                    f"가중치 {name or label}의 값이 유한하지 않습니다",
                )
                return Cause("bad weight", said, more={"parameter": name or label})
        if not finite(layer.linear.vjp(later, gradients[later])[sample]):
            return _inside(layer, later, sample)
    return _outside(trace, layer, step, sample)


def _padding() -> Cause:
    said = Said(
        "the padding is not finite, and its gradient, 0 × NaN, reaches the sequence itself: fill "
        "the padding with zeros, or pack the batch",
        "패딩이 유한하지 않고, 그 기울기(0 × NaN)가 시퀀스까지 전해집니다. 패딩을 0으로 "
        "채우거나 pack_padded_sequence를 사용하십시오",
    )
    return Cause("padding", said)


def _inside(layer: LayerTrace, later: int, sample: int) -> Cause:
    """It arises on the way back through a step, out of a finite gradient."""
    above = layer.turned(layer.gradients)[later]
    dtype = layer.states.dtype if layer.course is None else layer.course.dtype
    if layer.marked and float(above[sample].abs().max()) < torch.finfo(dtype).max ** 0.5:
        said = Said(
            f"the way back through step {later} makes it out of a finite gradient; which operation "
            "does is not known. Look there for a square root or a norm at 0, a logarithm of 0, a "
            "division by 0",
            f"{later}번 스텝을 거슬러 가는 계산이 유한한 기울기에서 만들어 냅니다. 어느 연산인지는 "
            "알 수 없습니다. 그 스텝에서 0의 제곱근이나 노름, 0의 로그, 0으로 나누는 곳이 있는지 "
            "확인하십시오",
        )
        return Cause("not known", said)
    vectors = layer.linear.stages(later, above).items()
    stage = next((name for name, vector in vectors if not finite(vector[sample])), "sum")
    where = _STAGES.get(stage, Said(stage, stage))
    name, limit = str(dtype).removeprefix("torch."), sources.limit(dtype)
    said = Said(
        f"the backward recurrence overflows in {where.english}: the gradient has exploded beyond "
        f"{limit}, the largest number of {name}",
        f"역방향 점화식의 {where.korean}에서 기울기가 {name}의 최댓값 {limit}을 넘어 폭주했습니다",
    )
    return Cause("overflow", said, where.english)


def _outside(trace: Trace, layer: LayerTrace, step: int, sample: int) -> Cause:
    """It arrives at the state: from the loss, or from what lies between the state and the loss."""
    made = next((one for one in trace.sources if one.kind not in ("data", "layer")), None)
    if made is not None:
        told = sources.told(made)
        said = Said(
            f"it comes from between the layer and the loss: {told.english}",
            f"층과 손실 사이에서 온 값입니다. {told.korean}",
        )
        return Cause("model", said, more=dict(sources.evidence(made)))
    if not trace.loss_finite:
        said = Said(
            "the loss itself is not finite, and sends it: look there for a log of 0, 0/0, an "
            "overflow",
            "손실 자체가 유한하지 않습니다. 손실에 0의 로그, 0/0, 오버플로가 있는지 확인하십시오",
        )
        return Cause("bad loss", said)
    if _loop_goes_on(layer, step):
        said = Said(
            "it arrives from outside of the layer's call: whether the loss sends it or an "
            "operation between the calls makes it is not known",
            "층의 호출 밖에서 온 값입니다. 손실이 보낸 것인지, 호출과 호출 사이의 연산이 만든 "
            "것인지는 알 수 없습니다",
        )
        return Cause("not known", said)
    if finite(layer.turned(layer.direct)[step, sample]):
        return _sum()
    said = Said(
        "the loss, or a layer above, sends it: look there for a log of 0, 0/0, an overflow",
        "손실이나 위층에서 온 값입니다. 그곳에 0의 로그, 0/0, 오버플로가 있는지 확인하십시오",
    )
    return Cause("bad loss", said)


def _sum() -> Cause:
    where = _STAGES["sum"]
    said = Said(
        f"the backward recurrence overflows in {where.english}: the gradient has exploded",
        f"역방향 점화식의 {where.korean}에서 기울기가 폭주했습니다",
    )
    return Cause("overflow", said, where.english)


def _loop_goes_on(layer: LayerTrace, step: int) -> bool:
    """Whether code runs between this step and the next: in a loop over a cell, or over marks."""
    if layer.course is None or layer.marked:
        return layer.marked and step < layer.steps - 1
    return layer.course.looped and layer.course.loop[step] < layer.course.loop_steps - 1
