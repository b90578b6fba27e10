"""One layer: swept, checked, judged, and explained."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from throughtime.diagnosis import gaps, nonfinite, pictures, reach, routes
from throughtime.diagnosis.checks import Check, check
from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.mistakes.view import span_of
from throughtime.diagnosis.rules import RULES, verdict_sentence
from throughtime.findings import Finding, LayerDiagnosis, Measurement
from throughtime.measures.lags import LagSweep
from throughtime.trace import LayerTrace

# Loss steps to sweep from: enough for quantiles, fewer of a large layer, whose rows are
# _ENTRIES long together. A marked recurrence sweeps through autograd.
ANCHORS, _FEWEST_ANCHORS, _MARKED_ANCHORS = 48, 12, 8
_ENTRIES = 2**17
# Beyond so many steps in proportion fewer, and no fewer than a marked recurrence has; beyond twice
# as many the state is measured as a whole, not by its parts.
_LONG = 1000


Depth = Literal["reach", "why", "deep"]
"""How far the gradient reaches alone; why no further as well; and what takes longer to measure."""


def of_layer(
    layer: LayerTrace, span: int | None, depth: Depth, broken: Finding | None
) -> LayerDiagnosis:
    """The diagnosis of one layer; ``broken``: where it went non-finite."""
    parts = None if layer.steps <= 2 * _LONG else ("s",)
    sweep = LagSweep.run(layer, anchors=_anchors(layer), parts=parts)
    found = reach.read(sweep.gains(), layer.steps, span_of(layer, span))
    evidence = Evidence(layer.name, sweep, found, layer.walls, layer.steps, layer)
    checked = check(layer)
    gap = broken or gaps.find(layer, found, checked)
    findings: tuple[Finding, ...] = () if gap is None else (gap,)
    measured: list[Measurement] = []
    if depth != "reach":
        measured += pictures.pictures(layer, sweep)
        if gap is None:
            findings = judged(evidence)
            measured += pictures.explanations(evidence)
            if depth == "deep":
                measured += pictures.deep(evidence.some or layer, evidence.lag)
        else:
            measured += list(evidence.saturation.values())
    past = None if depth == "reach" else routes.measured(layer)
    if past is not None:
        measured.append(past)
        findings = (*findings, routes.found_in(layer, past, found.span))
    one = assembled(layer.name, layer.kind, evidence, findings, measured, checked, gap)
    one = routes.told(one, findings)
    return replace(one, verified=layer.verified, unverified_because=layer.unverified_because)


def _anchors(layer: LayerTrace) -> int:
    if layer.marked:
        return _MARKED_ANCHORS
    entries = max(1, layer.batch * layer.states.shape[-1])
    most = min(ANCHORS, max(_FEWEST_ANCHORS, _ENTRIES // entries))
    return in_time(most, layer.steps)


def in_time(anchors: int, steps: int) -> int:
    """Fewer loss steps of a long sequence, each of which is followed over all of it."""
    return min(anchors, max(_MARKED_ANCHORS, ANCHORS * _LONG // max(1, steps)))


def judged(evidence: Evidence) -> tuple[Finding, ...]:
    """What the rules find, one after another."""
    found = (rule(evidence) for rule in RULES)
    return tuple(finding for finding in found if finding is not None)


def assembled(
    name: str,
    kind: str,
    evidence: Evidence,
    findings: tuple[Finding, ...],
    measured: list[Measurement],
    checked: Check,
    gap: Finding | None,
) -> LayerDiagnosis:
    """The part of a layer's diagnosis that a stack has as well."""
    found = evidence.reach
    one = LayerDiagnosis(
        name,
        kind,
        "unknown" if gap is not None else found.verdict,
        found.rate,
        found.horizon,
        found.reaches_end,
        found.span,
        found.gain_at_span,
        "" if gap is not None else verdict_sentence(found, evidence.walls).english,
        None,
        "",
        findings,
        pictures.plain(measured),
        "" if gap is not None else verdict_sentence(found, evidence.walls).korean,
        checked.compared if checked.held else "",
    )
    if gap is None:
        return one
    if gap.disease == "non-finite":
        return nonfinite.marked(one, gap)
    one = replace(one, sentence=gap.sentence, korean=gap.korean, gain_at_span=None)
    # A horizon that was measured, of a sequence that is too short, still says "at least".
    if gap.disease == "too short" and found.longest > 0:
        return one
    return replace(one, rate=None, horizon=None, reaches_end=False)
