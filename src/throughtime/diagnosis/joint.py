"""The layers of a stack, taken jointly: swept, checked, judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from throughtime.diagnosis import gaps, pictures, reach
from throughtime.diagnosis.checks import Check, check, limit_of
from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.layers import ANCHORS, Depth, assembled, in_time, judged
from throughtime.diagnosis.words import Said
from throughtime.findings import Finding, LayerDiagnosis, Measurement
from throughtime.measures.lags import LagSweep, stack_of
from throughtime.trace import Joint, LayerTrace, Link, Trace, relative_difference

# What a layer above sends must make up all that arrives below, but for so much.
_ROUNDING = 1e-2


def of_stack(trace: Trace, span: int | None, depth: Depth) -> LayerDiagnosis | None:
    """All layers of a stack jointly: a dependency may travel back through any of them.

    None for what is no stack, or one whose lower layers the loss reads as well, past the upper
    ones: the joint sweep starts at the top alone.
    """
    layers, links = stack_of(trace)
    if (
        trace.joints
        or len(layers) < 2
        or not all(map(_all_that_arrives, layers, layers[1:], links))
    ):
        return None
    sweep = LagSweep.run(trace, anchors=in_time(ANCHORS, layers[-1].steps))
    found = reach.read(sweep.gains(), layers[-1].steps, span)
    evidence = Evidence(sweep.name, sweep, found, layers[-1].walls, layers[-1].steps)
    checks = [(layer, check(layer)) for layer in layers]
    weakest = next(((one, held) for one, held in checks if not held.held), None)
    gap = _gap_of_stack(sweep.name, found, layers[-1], weakest)
    findings: tuple[Finding, ...] = () if gap is None else (gap,)
    measured: list[Measurement] = []
    if depth != "reach":
        findings = judged(evidence) if gap is None else (gap,)
        measured = pictures.pictures(None, sweep)
    held = Check("each of its layers was checked") if weakest is None else weakest[1]
    one = assembled(sweep.name, "stack", evidence, findings, measured, held, gap)
    known = [layer.verified for layer in layers if layer.verified is not None]
    complete = len(known) == len(layers)
    return replace(
        one,
        verified=max(known) if complete else None,
        unverified_because="" if complete else "a layer of it was not verified",
    )


def of_joint(trace: Trace, joint: Joint, span: int | None, depth: Depth) -> LayerDiagnosis | None:
    """Layers that read one another through any code, jointly; None where the check did not hold."""
    layers = [trace[name] for name in joint.names]
    held = checked(joint, layers)
    if not held.held:
        return None
    sweep = LagSweep.of_joint(joint)
    wanted = None if span is None else min(span, joint.steps - 1) if joint.both_ways else span
    found = reach.read(sweep.gains(), joint.steps, wanted)
    walls = layers[0].walls if all(one.walls == layers[0].walls for one in layers) else ()
    evidence = Evidence(sweep.name, sweep, found, walls, joint.steps)
    top = replace(layers[-1], name=sweep.name, spoilt="", fragments=1, thrown_away=False)
    gap = gaps.find(top, found, held)
    findings: tuple[Finding, ...] = () if gap is None else (gap,)
    measured: list[Measurement] = []
    if depth != "reach":
        findings = judged(evidence) if gap is None else (gap,)
        measured = pictures.pictures(None, sweep)
    one = assembled(sweep.name, "stack", evidence, findings, measured, held, gap)
    return replace(one, verified=joint.difference, unverified_because="")


def checked(joint: Joint, layers: Sequence[LayerTrace]) -> Check:
    """Both comparisons of a joint measure with autograd: of all arrivals, and the whole way."""
    limit = max(map(limit_of, layers))
    if joint.difference is None:
        return Check()
    if not joint.difference <= limit:
        return Check(
            failed=_differs("what arrives at the layers", "층에 도달하는 기울기", joint.difference)
        )
    said = (
        f"what arrives at the states of {len(layers)} layers, with what autograd sent: "
        f"{joint.difference:.0e} (limit {limit:.0e})"
    )
    if joint.far is None:
        return Check(said)
    if not joint.far <= math.sqrt(limit):
        return Check(
            failed=_differs("what autograd sends the whole way", "끝까지 보낸 기울기", joint.far)
        )
    return Check(f"{said}; a gradient that autograd sends {joint.compared} steps back in one go")


def _differs(what: str, korean: str, difference: float) -> Said:
    return Said(f"{what} differs by {difference:.1e}", f"{korean}가 {difference:.1e}만큼 다릅니다")


def _gap_of_stack(
    name: str, found: reach.Reach, top: LayerTrace, weakest: tuple[LayerTrace, Check] | None
) -> Finding | None:
    """Why nothing can be said of the stack: a layer whose check failed, or what its top lacks."""
    layer, held = weakest or (top, Check("each of its layers was checked"))
    gap = gaps.find(layer, found, held)
    if gap is None or weakest is not None:
        return gap
    return gaps.find(replace(top, name=name), found, held)


@torch.no_grad()
def _all_that_arrives(lower: LayerTrace, upper: LayerTrace, link: Link) -> bool:
    """Whether all that reaches the states of ``lower`` from outside came through ``upper``."""
    if not torch.isfinite(upper.gradients).all():
        return True  # where it began is told instead
    sent = torch.stack(
        [upper.linear.input_vjp(t, row) for t, row in enumerate(upper.gradients.unbind(0))]
    )
    sent = sent if link.scale is None else sent * link.scale
    width = sent.shape[-1]
    alive = lower.alive().unsqueeze(-1)
    arrived, rest = lower.direct[..., :width] * alive, lower.direct[..., width:]
    return not rest.any() and relative_difference(sent * alive, arrived) < _ROUNDING
