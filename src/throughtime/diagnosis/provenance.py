"""What made the first non-finite number: input, weight, or the overflow of which product."""

from __future__ import annotations

from typing import Literal, NamedTuple

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
    "step": Said("its step", "그 스텝"),
    "sum": Said("the sum with the direct gradient", "직접 기울기와의 합"),
}


Kind = Literal["bad input", "bad weight", "bad initial state", "bad loss", "overflow"]


class Cause(NamedTuple):
    """What made a number non-finite; ``product``: the one that overflowed, if one did.

    ``gate``: in which it shows first, if the cell has gates.
    """

    kind: Kind
    said: Said
    product: str = ""
    gate: str = ""


def forward(layer: LayerTrace, step: int, sample: int) -> Cause:
    """What made a state non-finite.

    ``step`` is in the order of computation, ``sample`` a sequence of the batch.
    """
    entering = layer.linear.preactivations(step)
    gate = next((name for name, a in entering.items() if not _finite(a[sample])), "")
    read, weights = layer.linear.read(step), layer.linear.weights(step)
    if "input" in read and not _finite(read["input"][sample]):
        feature = _first(read["input"][sample])
        said = Said(
            f"its input is not finite there (feature {feature})",
            f"그 스텝의 입력이 유한하지 않음(특성 {feature})",
        )
        return Cause("bad input", said, gate=gate)
    for name, weight in weights.items():
        if not _finite(weight):
            row = _first(weight)
            said = Said(f"{name} is not finite (row {row})", f"{name}가 유한하지 않음({row}행)")
            return Cause("bad weight", said, gate=gate)
    if "state" in read and not _finite(read["state"][sample]):
        said = Said("the initial state is not finite", "초기 상태가 유한하지 않음")
        return Cause("bad initial state", said, gate=gate)
    product = _overflowing(read, weights, sample)
    said = Said(
        f"all that it reads is finite, and {product} overflows",
        f"읽은 값은 모두 유한하지만 계산({product})에서 오버플로",
    )
    return Cause("overflow", said, product, gate)


def backward(layer: LayerTrace, step: int, sample: int) -> Cause:
    """What made the total gradient at a step (in the order of computation) non-finite."""
    if not _finite(layer.turned(layer.direct)[step, sample]):
        said = Said(
            "the loss, or a layer above, sends it: look there for a log of 0, 0/0, an overflow",
            "손실이나 위층에서 온 값이므로 그곳에서 log 0, 0/0, 오버플로를 찾을 것",
        )
        return Cause("bad loss", said)
    for name, weight in layer.linear.weights(step).items():
        if not _finite(weight):
            said = Said(f"a weight is not finite: {name}", f"가중치 {name}가 유한하지 않음")
            return Cause("bad weight", said)
    above = layer.turned(layer.gradients)[step + 1]
    vectors = layer.linear.stages(step + 1, above).items()
    stage = next((name for name, vector in vectors if not _finite(vector[sample])), "sum")
    where = _STAGES.get(stage, Said(stage, stage))
    said = Said(
        f"the backward recurrence overflows in {where.english}: the gradient has exploded",
        f"역방향 점화식의 {where.korean}에서 오버플로, 즉 기울기 폭발",
    )
    return Cause("overflow", said, where.english)


def _overflowing(read: dict[str, Tensor], weights: dict[str, Tensor], sample: int) -> str:
    """The product of a forward step that is not finite although its factors are."""
    if {"input", "state"} <= read.keys() and {"weight_ih", "weight_hh"} <= weights.keys():
        hidden = read["state"][sample, : weights["weight_hh"].shape[1]]
        if not _finite(weights["weight_ih"] @ read["input"][sample]):
            return "W_ih x"
        if not _finite(weights["weight_hh"] @ hidden):
            return "W_hh h"
        return "the sum W_ih x + W_hh h + b"
    return "a product"


def _first(values: Tensor) -> int:
    """The first row, or entry, with a number that is not finite."""
    return int((~torch.isfinite(values)).nonzero()[0][0])


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())
