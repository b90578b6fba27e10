"""Where a NaN or an infinity arose first: layer, gate, unit, time step, sample, and its kind.

First is what came first in the run: in the forward pass by the order in which the steps were
computed, over all layers and marks; on the way back by the same order, from its end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.diagnosis import provenance, provenance_marked, sources
from throughtime.diagnosis.provenance import PREACTIVATION, Cause, finite
from throughtime.diagnosis.provenance_backward import backward
from throughtime.diagnosis.words import Said, finding
from throughtime.findings import Finding, LayerDiagnosis
from throughtime.trace import LayerTrace, Trace

_PASSES = {"forward": "순전파", "backward": "역전파"}


class Place(NamedTuple):
    """A step in the order of computation, a sequence of the batch, an entry of the state.

    ``entry``: −1 where the state itself is finite, and what the step read is not.
    """

    step: int
    sample: int
    entry: int


def find(trace: Trace) -> list[Finding]:
    """The first non-finite number of the run, and what every other layer has of it."""
    forward = {n: p for n, one in enumerate(trace) if (p := _forward_place(one)) is not None}
    back = {n: p for n, one in enumerate(trace) if (p := _backward_place(one)) is not None}
    if not forward and not back:
        return [_in_padding(one, p) for one in trace if (p := _padding_place(one)) is not None][:1]

    def order(n: int) -> tuple[int, int]:
        place, layer = (forward or back)[n], trace.layers[n]
        return (n if layer.course is None else layer.course.order[place.step]), n

    first = min(forward, key=order) if forward else max(back, key=order)
    origin, place = trace.layers[first], (forward or back)[first]
    if forward:
        cause = _forward_cause(trace, origin, place)
        found = [_found(origin, place, _bad(origin, origin.states), "forward", cause)]
    else:
        cause = backward(trace, origin, place.step, place.sample)
        found = [_found(origin, place, _bad(origin, origin.gradients), "backward", cause)]
    for n in sorted((forward.keys() | back.keys()) - {first}):
        found.append(_other(trace, trace.layers[n], forward.get(n), origin, cause))
    return found


def marked(layer: LayerDiagnosis, found: Finding) -> LayerDiagnosis:
    """The layer's diagnosis with the verdict that a non-finite number asks for."""
    return replace(
        layer,
        verdict="non-finite",
        rate=None,
        horizon=None,
        reaches_end=False,
        gain_at_span=None,
        sentence=found.sentence,
        korean=found.korean,
    )


def _bad(layer: LayerTrace, values: Tensor) -> Tensor:
    """Boolean (T B S), in the order of computation: what is not finite of its sequences."""
    alive = layer.turned(layer.alive()).unsqueeze(-1)
    return ~torch.isfinite(layer.turned(values)) & alive


def _forward_place(layer: LayerTrace) -> Place | None:
    """The first step whose state, or whose input, is not finite.

    An infinite input can saturate every gate: states stay finite, the gradient of W_ih does not.
    """
    bad = _bad(layer, layer.states)
    place = _first(bad) if bad.any() else None
    if (place is None or place.step) and not all(map(finite, _weights(layer))):
        return Place(0, 0, -1)
    if all(map(finite, layer.linear.inputs())):
        return place
    alive = layer.turned(layer.alive())
    for t in range(layer.steps if place is None else place.step):
        read = layer.linear.read(t)
        if "input" in read and not torch.isfinite(read["input"][alive[t]]).all():
            samples = ~torch.isfinite(read["input"]).all(-1) & alive[t]
            return Place(t, int(samples.nonzero()[0]), -1)
    return place


def _weights(layer: LayerTrace) -> list[Tensor]:
    """Those of the first step; a bias of +inf may saturate a gate, and no state shows it."""
    return [weight for _, _, weight in provenance.weights(layer, 0)]


def _padding_place(layer: LayerTrace) -> Place | None:
    """The first step beyond the end of a sequence that is read all the same, and is not finite."""
    dead = ~layer.turned(layer.alive())
    if layer.packed or layer.marked or not dead.any():
        return None
    if all(map(finite, layer.linear.inputs())):
        return None
    for t in dead.any(1).nonzero().flatten().tolist():
        samples = ~torch.isfinite(layer.linear.read(t)["input"]).all(-1) & dead[t]
        if samples.any():
            return Place(t, int(samples.nonzero()[0]), -1)
    return None


def _backward_place(layer: LayerTrace) -> Place | None:
    """The last step whose total gradient is not finite: the way back meets it first."""
    bad = _bad(layer, layer.gradients)
    if not bad.any():
        return None
    place = _first(bad.flip(0))
    return place._replace(step=len(bad) - 1 - place.step)


def _first(bad: Tensor) -> Place:
    return Place(*(int(index) for index in bad.nonzero()[0]))


def _in_padding(layer: LayerTrace, place: Place) -> Finding:
    """No state and no gradient of a state is bad, but the gradient of the input weights is."""
    bad = ~torch.isfinite(layer.linear.read(place.step)["input"])
    return _found(layer, place, bad, "forward", provenance.padding_read())


def _forward_cause(trace: Trace, layer: LayerTrace, place: Place) -> Cause:
    if layer.marked:
        return provenance_marked.forward(trace, layer, place.step, place.sample)
    return provenance.forward(layer, place.step, place.sample)


def _other(
    trace: Trace, layer: LayerTrace, place: Place | None, origin: LayerTrace, cause: Cause
) -> Finding:
    """What a layer has that is not the first: a fault of its own, or what spread there."""
    evidence: dict[str, object] = {"origin_layer": origin.name}
    if place is None:
        said = Said(
            f"The gradient of layer {layer.name!r} is non-finite too, and its states are finite: "
            f"it comes back from layer {origin.name!r}.",
            f"층 {layer.name!r}은(는) 상태가 유한하지만 기울기가 유한하지 않습니다. 층 "
            f"{origin.name!r} 쪽에서 되돌아온 값입니다.",
        )
        return finding("non-finite", layer.name, said, evidence)
    own = _forward_cause(trace, layer, place)
    evidence |= {"first_step": _time(layer, place), "own_cause": own.kind}
    if _independent(own, cause):
        said = Said(
            f"Layer {layer.name!r} is non-finite for a reason of its own too, from time step "
            f"{_time(layer, place)} on: {own.said.english}.",
            f"층 {layer.name!r}도 다른 원인으로 {_time(layer, place)}번 스텝부터 유한하지 "
            f"않습니다. {own.said.korean}.",
        )
    elif _same_values(own, cause):
        said = Said(
            f"Layer {layer.name!r} is non-finite too: it reads the same values as layer "
            f"{origin.name!r}.",
            f"층 {layer.name!r}도 유한하지 않습니다. 층 {origin.name!r}과(와) 같은 값을 읽습니다.",
        )
    else:
        said = Said(
            f"Layer {layer.name!r} is non-finite too: it spread there from layer {origin.name!r}.",
            f"층 {layer.name!r}도 유한하지 않습니다. 층 {origin.name!r}에서 번졌습니다.",
        )
    return finding("non-finite", layer.name, said, evidence)


def _same_values(own: Cause, first: Cause) -> bool:
    """Whether both layers read an input that has one source."""
    keys = ("source", "module", "parameter", "after_module")
    return (
        "feature" in own.more
        and "feature" in first.more
        and all(own.more.get(key) == first.more.get(key) for key in keys)
    )


def _independent(own: Cause, first: Cause) -> bool:
    """Whether a layer would be non-finite without the first one: what it read itself was finite."""
    same = own.more.get("parameter") is not None
    same = same and own.more.get("parameter") == first.more.get("parameter")
    return own.kind in ("bad weight", "overflow") and not same


def _found(layer: LayerTrace, place: Place, bad: Tensor, phase: str, cause: Cause) -> Finding:
    step, unit, gate = _time(layer, place), _unit(layer, place), cause.gate
    if place.entry < 0:
        english = f"The {phase} pass of layer {layer.name!r} reads a non-finite number first"
        korean = f"층 {layer.name!r}의 {_PASSES[phase]}가 유한하지 않은 값을 처음 읽는 곳은"
    else:
        english = f"The {phase} pass of layer {layer.name!r} goes non-finite first"
        korean = f"층 {layer.name!r}의 {_PASSES[phase]}에서 유한하지 않은 값이 처음 나온 곳은"
    inside = _inside(gate)
    said = Said(
        f"{english} at time step {step}, sample {place.sample}"
        + (f", unit {unit}" if unit else "")
        + f"{inside.english}: {cause.said.english}.",
        f"{korean} 시간 스텝 {step}, 샘플 {place.sample}"
        + (f", 유닛 {unit}" if unit else "")
        + f"{inside.korean}입니다. {cause.said.korean}.",
    )
    course = layer.course
    dtype = layer.states.dtype if course is None else course.dtype
    evidence = {
        "pass": phase,
        "time_step": step,
        "sample": place.sample,
        "unit": unit or None,
        "gate": None if gate == PREACTIVATION else gate or None,
        "preactivation": gate == PREACTIVATION,
        "cause": cause.kind,
        "product": cause.product or None,
        "kind": cause.said.english,
        "dtype": str(dtype).removeprefix("torch."),
        "largest_number": sources.limit(dtype),
        "bounded_state": _bounded(layer),
        "non_finite_entries": int(bad.sum()),
        "entries": bad.numel(),
        "steps": layer.steps if course is None else course.loop_steps,
        **cause.more,
    }
    return finding("non-finite", layer.name, said, evidence)


def _inside(gate: str) -> Said:
    if gate == PREACTIVATION:
        return Said(" in the pre-activation", ", 전활성값(pre-activation)")
    return Said(f" in gate {gate!r}", f", 게이트 {gate!r}") if gate else Said("", "")


def _bounded(layer: LayerTrace) -> bool:
    """Whether a squashing function bounds the state."""
    functions = layer.linear.squashing.values()
    return bool(functions) and "relu" not in functions


def _time(layer: LayerTrace, place: Place) -> int:
    """The step in the time of the sequence, or of the user's loop."""
    if layer.course is not None and not layer.reverse:
        return layer.course.loop[place.step]
    if not layer.reverse:
        return place.step
    length = layer.lengths[place.sample] if layer.packed and layer.lengths else layer.steps
    return length - 1 - place.step


def _unit(layer: LayerTrace, place: Place) -> str:
    for name, part in layer.parts.items():
        if part.start <= place.entry < part.stop:
            return f"{name}[{place.entry - part.start}]"
    return str(place.entry) if place.entry >= 0 else ""
