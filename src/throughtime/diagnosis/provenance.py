"""What made the first non-finite number: input, weight, or the overflow of which product."""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.diagnosis.words import Said
from throughtime.trace import LayerTrace

_STAGES = {
    "nonlinearity": Said("φ'⊙δ", "φ'⊙δ"),
    "projection": Said("W_hrᵀ δh", "W_hrᵀ δh"),
    "read-out": Said("δc + o⊙tanh'(c)⊙δh", "δc + o⊙tanh'(c)⊙δh"),
    "gates": Said("the adjoint of the gates", "게이트의 수반 벡터"),
    "reset": Said("the adjoint of the reset gate", "리셋 게이트의 수반 벡터"),
    "recurrent matrix": Said("W_hhᵀ δa", "W_hhᵀ δa"),
    "step": Said("the backward recurrence", "역방향 점화식"),
}


def forward(layer: LayerTrace, step: int, sample: int) -> tuple[Said, str]:
    """What made a state non-finite, and the gate in which it shows, if it has gates.

    ``step`` is in the order of computation, ``sample`` a sequence of the batch.
    """
    gate = ""
    for name, values in layer.linear.preactivations(step).items():
        if not _finite(values[sample]):
            gate = name
            break
    read, weights = layer.linear.read(step), layer.linear.weights(step)
    if "input" in read and not _finite(read["input"][sample]):
        feature = int((~torch.isfinite(read["input"][sample])).nonzero()[0])
        return Said(
            f"its input is not finite there (feature {feature})",
            f"그 스텝의 입력이 유한하지 않음(특성 {feature})",
        ), gate
    for name, weight in weights.items():
        if not _finite(weight):
            row = int((~torch.isfinite(weight)).nonzero()[0][0])
            return Said(
                f"{name} is not finite (row {row})", f"{name}가 유한하지 않음(행 {row})"
            ), gate
    if "state" in read and not _finite(read["state"][sample]):
        return Said("the initial state is not finite", "초기 상태가 유한하지 않음"), gate
    product = _overflowing(read, weights, sample)
    return Said(
        f"all that it reads is finite, and {product} overflows",
        f"읽은 값은 모두 유한하지만 {product}가 오버플로",
    ), gate


def backward(layer: LayerTrace, step: int, sample: int) -> Said:
    """What made the total gradient at a step (in the order of computation) non-finite."""
    direct = layer.turned(layer.direct)
    if not _finite(direct[step, sample]):
        return Said(
            "the loss, or a layer above, sends it: look there for a log of 0, 0/0, an overflow",
            "손실이나 위층에서 온 값: 그곳에서 log 0, 0/0, 오버플로를 찾을 것",
        )
    for name, weight in layer.linear.weights(step).items():
        if not _finite(weight):
            return Said(f"a weight is not finite: {name}", f"가중치가 유한하지 않음: {name}")
    above = layer.turned(layer.gradients)[step + 1]
    for stage, vector in layer.linear.stages(step + 1, above).items():
        if not _finite(vector[sample]):
            where = _STAGES.get(stage, Said(stage, stage))
            return Said(
                f"the backward recurrence overflows in {where.english}: the gradient has exploded",
                f"역방향 점화식의 {where.korean}에서 오버플로: 기울기 폭발",
            )
    return Said(
        "the backward recurrence overflows in the sum with the direct gradient: the gradient has "
        "exploded",
        "역방향 점화식에서 직접 기울기를 더할 때 오버플로: 기울기 폭발",
    )


def _overflowing(read: dict[str, Tensor], weights: dict[str, Tensor], sample: int) -> str:
    """The product of a forward step that is not finite although its factors are."""
    if {"input", "state"} <= read.keys() and {"weight_ih", "weight_hh"} <= weights.keys():
        hidden = read["state"][sample, : weights["weight_hh"].shape[1]]
        if not _finite(weights["weight_ih"] @ read["input"][sample]):
            return "W_ih x"
        if not _finite(weights["weight_hh"] @ hidden):
            return "W_hh h"
        return "the sum of W_ih x, W_hh h and the bias"
    return "a product"


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())
