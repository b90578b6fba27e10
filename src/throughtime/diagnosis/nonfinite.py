"""Where a NaN or an infinity arose first: layer, gate, unit, time step, sample, and its kind."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.findings import Finding, LayerDiagnosis
from throughtime.trace import LayerTrace, Trace


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
        findings=(*layer.findings, found),
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
    kind, gate = _cause(layer, place)
    at = f" in gate {gate!r}" if gate else ""
    text = (
        f"The forward pass of layer {layer.name!r} goes non-finite first at time step "
        f"{_time(layer, place)}, sample {place.sample}, unit {_unit(layer, place)}{at}: {kind}."
    )
    return Finding(
        "non-finite", layer.name, text, _evidence(layer, place, bad, "forward", kind, gate)
    )


def _backward(layer: LayerTrace) -> Finding:
    alive = layer.turned(layer.alive()).unsqueeze(-1)
    bad = ~torch.isfinite(layer.turned(layer.gradients)) & alive
    place = _first(bad.flip(0))
    place = place._replace(step=len(bad) - 1 - place.step)
    sent = ~torch.isfinite(layer.turned(layer.direct))[place.step, place.sample]
    if sent.any():
        kind = "the loss, or a layer above, sends it: look there for a log of 0, 0/0, an overflow"
    elif any(not bool(torch.isfinite(w).all()) for w in layer.linear.weights(place.step).values()):
        kind = "a weight is not finite"
    else:
        kind = "the backward recurrence overflows: the gradient has exploded"
    text = (
        f"The backward pass of layer {layer.name!r} goes non-finite first at time step "
        f"{_time(layer, place)}, sample {place.sample}, unit {_unit(layer, place)}: {kind}."
    )
    return Finding(
        "non-finite", layer.name, text, _evidence(layer, place, bad, "backward", kind, "")
    )


def _spread(layer: LayerTrace, origin: LayerTrace) -> Finding:
    text = f"Layer {layer.name!r} is non-finite too: it spread there from layer {origin.name!r}."
    return Finding("non-finite", layer.name, text, {"origin_layer": origin.name})


def _cause(layer: LayerTrace, place: Place) -> tuple[str, str]:
    """What made the first non-finite state, and the gate in which it shows, if it has gates."""
    gate = ""
    for name, values in layer.linear.preactivations(place.step).items():
        if not torch.isfinite(values[place.sample]).all():
            gate = name
            break
    read = layer.linear.read(place.step)
    if "input" in read and not torch.isfinite(read["input"][place.sample]).all():
        feature = int((~torch.isfinite(read["input"][place.sample])).nonzero()[0])
        return f"its input is not finite there (feature {feature})", gate
    for name, weight in layer.linear.weights(place.step).items():
        if not torch.isfinite(weight).all():
            row = int((~torch.isfinite(weight)).nonzero()[0][0])
            return f"{name} is not finite (row {row})", gate
    if "state" in read and not torch.isfinite(read["state"][place.sample]).all():
        return "the initial state is not finite", gate
    return "all that it reads is finite, and a product overflows", gate


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


def _evidence(
    layer: LayerTrace, place: Place, bad: Tensor, phase: str, kind: str, gate: str
) -> dict[str, object]:
    return {
        "pass": phase,
        "time_step": _time(layer, place),
        "sample": place.sample,
        "unit": _unit(layer, place),
        "gate": gate or None,
        "kind": kind,
        "non_finite_entries": int(bad.sum()),
        "entries": bad.numel(),
    }
