"""Where a NaN or an infinity arose first: layer, gate, unit, time step, sample, and its kind."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.diagnosis.provenance import Cause, backward, forward
from throughtime.diagnosis.words import Said, finding
from throughtime.findings import Finding, LayerDiagnosis
from throughtime.trace import LayerTrace, Trace

_PASSES = {"forward": "순전파", "backward": "역전파"}


class Place(NamedTuple):
    """A step in the order of computation, a sequence of the batch, an entry of the state."""

    step: int
    sample: int
    entry: int


def find(trace: Trace) -> list[Finding]:
    """The first non-finite number of the forward pass, else the first of the backward pass."""
    for origin in trace:
        if (place := _forward_place(origin)) is not None:
            others = [one for one in trace if one is not origin and not _finite(one, one.states)]
            return [_forward(origin, place), *(_spread(one, origin) for one in others)]
    # The backward pass meets the layers from the last to the first.
    sick = [one for one in reversed(trace.layers) if not _finite(one, one.gradients)]
    return [_backward(sick[0]), *(_spread(one, sick[0]) for one in sick[1:])] if sick else []


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


def _finite(layer: LayerTrace, values: Tensor) -> bool:
    return bool(torch.isfinite(values[layer.alive()]).all())


def _forward_place(layer: LayerTrace) -> Place | None:
    """The first non-finite state, else the first non-finite input.

    An infinite input can saturate every gate: states stay finite, the gradient of W_ih does not.
    """
    alive = layer.turned(layer.alive())
    bad = ~torch.isfinite(layer.turned(layer.states)) & alive.unsqueeze(-1)
    if bad.any():
        return _first(bad)
    for t in range(layer.steps):
        read = layer.linear.read(t)
        if "input" in read and not torch.isfinite(read["input"][alive[t]]).all():
            samples = ~torch.isfinite(read["input"]).all(-1) & alive[t]
            return Place(t, int(samples.nonzero()[0]), 0)
    return None


def _forward(layer: LayerTrace, place: Place) -> Finding:
    bad = ~torch.isfinite(layer.turned(layer.states)) & layer.turned(layer.alive()).unsqueeze(-1)
    return _found(layer, place, bad, "forward", forward(layer, place.step, place.sample))


def _backward(layer: LayerTrace) -> Finding:
    alive = layer.turned(layer.alive()).unsqueeze(-1)
    bad = ~torch.isfinite(layer.turned(layer.gradients)) & alive
    place = _first(bad.flip(0))
    place = place._replace(step=len(bad) - 1 - place.step)
    return _found(layer, place, bad, "backward", backward(layer, place.step, place.sample))


def _spread(layer: LayerTrace, origin: LayerTrace) -> Finding:
    said = Said(
        f"Layer {layer.name!r} is non-finite too: it spread there from layer {origin.name!r}.",
        f"층 {layer.name!r}도 유한하지 않습니다. 층 {origin.name!r}에서 번졌습니다.",
    )
    return finding("non-finite", layer.name, said, {"origin_layer": origin.name})


def _found(layer: LayerTrace, place: Place, bad: Tensor, phase: str, cause: Cause) -> Finding:
    step, unit = _time(layer, place), _unit(layer, place)
    said = Said(
        f"The {phase} pass of layer {layer.name!r} goes non-finite first at time step {step}, "
        f"sample {place.sample}, unit {unit}"
        + (f" in gate {cause.gate!r}" if cause.gate else "")
        + f": {cause.said.english}.",
        f"층 {layer.name!r}의 {_PASSES[phase]}에서 유한하지 않은 값이 처음 나온 곳은 시간 스텝 "
        f"{step}, 샘플 {place.sample}, 유닛 {unit}"
        + (f", 게이트 {cause.gate!r}" if cause.gate else "")
        + f"입니다. 원인: {cause.said.korean}.",
    )
    evidence = {
        "pass": phase,
        "time_step": step,
        "sample": place.sample,
        "unit": unit,
        "gate": cause.gate or None,
        "cause": cause.kind,
        "product": cause.product or None,
        "kind": cause.said.english,
        "non_finite_entries": int(bad.sum()),
        "entries": bad.numel(),
        "steps": layer.steps,
    }
    return finding("non-finite", layer.name, said, evidence)


def _first(bad: Tensor) -> Place:
    return Place(*(int(index) for index in bad.nonzero()[0]))


def _time(layer: LayerTrace, place: Place) -> int:
    """The step in the time of the sequence."""
    if not layer.reverse:
        return place.step
    length = layer.lengths[place.sample] if layer.packed and layer.lengths else layer.steps
    return length - 1 - place.step


def _unit(layer: LayerTrace, place: Place) -> str:
    for name, part in layer.parts.items():
        if part.start <= place.entry < part.stop:
            return f"{name}[{place.entry - part.start}]"
    return str(place.entry)
