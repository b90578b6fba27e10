"""What made the first non-finite number of the forward pass: input, weight, or which product."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from throughtime.diagnosis import sources
from throughtime.diagnosis.words import Said
from throughtime.trace import Gap, LayerTrace, Source

Kind = Literal[
    "bad input",
    "bad weight",
    "bad initial state",
    "bad loss",
    "between calls",
    "model",
    "padding",
    "overflow",
    "not known",
]


@dataclass(frozen=True)
class Cause:
    """What made a number non-finite.

    Attributes:
        kind: what it is, in a word or two.
        said: the same for a person.
        product: the one that overflowed, if one did.
        gate: in which it shows first; ``"pre-activation"`` where the cell has no gates.
        more: what else the finding's evidence holds.
    """

    kind: Kind
    said: Said
    product: str = ""
    gate: str = ""
    more: dict[str, object] = field(default_factory=dict)


PREACTIVATION = "pre-activation"


def forward(layer: LayerTrace, step: int, sample: int) -> Cause:
    """What made a state, or what a step read, non-finite.

    ``step`` is in the order of computation, ``sample`` a sequence of the batch.
    """
    gate = _gate(layer, step, sample)
    read = layer.linear.read(step)
    if step and _padded(layer, step - 1, sample):
        return _padding(gate)
    if "input" in read and not finite(read["input"][sample]):
        return _input(layer, step, sample, read["input"], gate)
    for label, name, weight in weights(layer, step):
        if not finite(weight):
            row = first(weight)
            called = f" (parameter {name!r})" if name else ""
            korean = f"(파라미터 {name!r})" if name else ""
            said = Said(
                f"{label} is not finite (row {row}){called}",
                f"{label}{korean}의 {row}행이 유한하지 않습니다",
            )
            return Cause("bad weight", said, gate=gate, more={"parameter": name or label})
    if "state" in read and not finite(read["state"][sample]):
        return _state(layer, step, sample, gate)
    return _overflow(layer, step, sample, gate)


def _gate(layer: LayerTrace, step: int, sample: int) -> str:
    """The gate in which it shows first; a cell with one pre-activation has no gates."""
    entering = layer.linear.preactivations(step)
    name = next((name for name, a in entering.items() if not finite(a[sample])), "")
    return PREACTIVATION if name and len(entering) == 1 else name


def _padded(layer: LayerTrace, step: int, sample: int) -> bool:
    """Whether a step lies beyond the end of its sequence, and its state is not finite."""
    alive = layer.turned(layer.alive())[step, sample]
    return not bool(alive) and not finite(layer.turned(layer.states)[step, sample])


def _padding(gate: str) -> Cause:
    said = Said(
        "the padding is not finite, and this layer reads it before the sequence itself: fill the "
        "padding with zeros, or pack the batch",
        "패딩이 유한하지 않고, 이 층은 시퀀스보다 패딩을 먼저 읽습니다. 패딩을 0으로 채우거나 "
        "pack_padded_sequence를 사용하십시오",
    )
    return Cause("padding", said, gate=gate)


def padding_read() -> Cause:
    """Padding that is not finite, from which no gradient comes back to a state."""
    said = Said(
        "the padding is not finite, and the gradient of the input weights counts it as 0 × NaN: "
        "fill the padding with zeros, or pack the batch",
        "패딩이 유한하지 않아 입력 가중치의 기울기에 0 × NaN이 더해집니다. 패딩을 0으로 채우거나 "
        "pack_padded_sequence를 사용하십시오",
    )
    return Cause("padding", said)


def _input(layer: LayerTrace, step: int, sample: int, read: Tensor, gate: str) -> Cause:
    """An input that is not finite: the data bring it, or the model makes it."""
    feature = first(read[sample])
    said = Said(
        f"its input is not finite there (feature {feature})",
        f"그 스텝의 입력이 유한하지 않습니다(특성 {feature})",
    )
    source = _source(layer, step, "input")
    if source is None:
        return Cause("bad input", said, gate=gate)
    told = _of_the_model(layer, source)
    kind: Kind = "bad input" if source.kind == "data" else "model"
    tail = _tail(layer, step, sample)
    said = Said(
        f"{said.english}; {told.english}{tail.english}",
        f"{said.korean}. {told.korean}{tail.korean}",
    )
    return Cause(kind, said, gate=gate, more={"feature": feature, **sources.evidence(source)})


def _tail(layer: LayerTrace, step: int, sample: int) -> Said:
    """Whether the input is non-finite from here to the end of the sequence, as padding may be."""
    if layer.lengths is not None or layer.reverse or not 0 < step < layer.steps - 1:
        return Said("", "")
    if any(finite(layer.linear.read(t)["input"][sample]) for t in range(step, layer.steps)):
        return Said("", "")
    return Said(
        ". All later steps of this sequence are non-finite as well: if they are padding, pass "
        "lengths= or pack the batch",
        ". 이 시퀀스의 이후 스텝도 모두 유한하지 않습니다. 패딩이라면 lengths=를 주거나 "
        "pack_padded_sequence를 사용하십시오",
    )


def _state(layer: LayerTrace, step: int, sample: int, gate: str) -> Cause:
    """A state that is not finite when the step starts: made between two calls, or given."""
    gap = None if layer.course is None else layer.course.gaps.get(step)
    if gap is not None and sample in gap.sequences:
        return between(gap, gate)
    said = Said("the initial state is not finite", "초기 상태가 유한하지 않습니다")
    source = _source(layer, step, "state")
    if source is None:
        return Cause("bad initial state", said, gate=gate)
    told = _of_the_model(layer, source)
    said = Said(f"{said.english}; {told.english}", f"{said.korean}. {told.korean}")
    own = source.kind in ("module", "layer", "operation")
    kind: Kind = "model" if own else "bad initial state"
    return Cause(kind, said, gate=gate, more=dict(sources.evidence(source)))


def _of_the_model(layer: LayerTrace, source: Source) -> Said:
    """Where it came from, and that it is the model's own where it did not come in with the data."""
    told = sources.told(source)
    if source.kind == "data":
        return told
    return Said(
        f"the model makes it before layer {layer.name!r}: {told.english}",
        f"모델이 층 {layer.name!r} 앞에서 만든 값입니다. {told.korean}",
    )


def between(gap: Gap, gate: str = "") -> Cause:
    """A state that was finite after one call, and is not when the next one starts."""
    known = gap.source is not None and gap.source.kind not in ("data", "layer")
    told = sources.told(gap.source) if known and gap.source is not None else Said("", "")
    said = Said(
        f"it is made between the calls of layer {gap.layer!r}, after step {gap.after}: the layer's "
        "own state was still finite there" + (f"; {told.english}" if known else ""),
        f"층 {gap.layer!r}의 호출과 호출 사이, {gap.after}번 스텝 뒤에서 생긴 값입니다. 그 "
        "스텝이 끝날 때 층의 상태는 아직 유한했습니다" + (f". {told.korean}" if known else ""),
    )
    more: dict[str, object] = {"layer_called": gap.layer, "after_step": gap.after}
    return Cause("between calls", said, gate=gate, more={**more, **sources.evidence(gap.source)})


def _overflow(layer: LayerTrace, step: int, sample: int, gate: str) -> Cause:
    """All that the step reads is finite: a product, or the sum of them, is not."""
    dtype = layer.states.dtype if layer.course is None else layer.course.dtype
    product = _overflowing(layer, step, sample, dtype)
    if not product:
        said = Said(
            "all that it reads is finite, and what makes it is not known",
            "읽은 값은 모두 유한하며 원인은 알 수 없습니다",
        )
        return Cause("not known", said, gate=gate)
    name, limit = str(dtype).removeprefix("torch."), sources.limit(dtype)
    said = Said(
        f"all that it reads is finite, and {product} overflows {name}, whose largest number is "
        f"{limit}",
        f"읽은 값은 모두 유한하지만 {product}의 계산이 {name}의 최댓값 {limit}을 넘습니다",
    )
    return Cause("overflow", said, product, gate)


def _overflowing(layer: LayerTrace, step: int, sample: int, dtype: torch.dtype) -> str:
    """The product of a forward step that is not finite although its factors are."""
    read, named = layer.linear.read(step), layer.linear.weights(step)
    if not {"input", "state"} <= read.keys():
        return ""
    x, state = (read[name][sample].to(dtype) for name in ("input", "state"))
    if {"weight_ih", "weight_hh"} <= named.keys():
        weight_ih, weight_hh = named["weight_ih"].to(dtype), named["weight_hh"].to(dtype)
        hidden = state[: weight_hh.shape[1]]
        if x.shape[0] == weight_ih.shape[1] and not finite(weight_ih @ x):
            return "W_ih x"
        if hidden.shape[0] == weight_hh.shape[1] and not finite(weight_hh @ hidden):
            return "W_hh h"
    entering = layer.linear.preactivations(step)
    if not all(finite(a[sample].to(dtype)) for a in entering.values()):
        return "the sum W_ih x + W_hh h + b" if "weight_hh" in named else "its pre-activation"
    after = layer.turned(layer.states)[step, sample]
    cells = layer.parts.get("c")
    if cells is not None and not finite(after[cells]):
        return "the cell state f ⊙ c + i ⊙ g"
    if "weight_hr" in named:
        return "W_hr (o ⊙ tanh(c))"
    return "its step" if float(state.abs().max()) > torch.finfo(dtype).max ** 0.5 else ""


def weights(layer: LayerTrace, step: int) -> list[tuple[str, str, Tensor]]:
    """The weights of a step: as torch names them, as the model does, and themselves."""
    known = [] if layer.course is None else layer.course.weights(step)
    return known or [(name, "", weight) for name, weight in layer.linear.weights(step).items()]


def _source(layer: LayerTrace, step: int, what: str) -> Source | None:
    return None if layer.course is None else layer.course.sources.get(step, {}).get(what)


def first(values: Tensor) -> int:
    """The first row, or entry, with a number that is not finite."""
    return int((~torch.isfinite(values)).nonzero()[0][0])


def finite(values: Tensor) -> bool:
    """Whether all numbers are finite."""
    return bool(torch.isfinite(values).all())
