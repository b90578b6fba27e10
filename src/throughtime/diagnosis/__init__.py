"""``diagnose``: from a ``Trace`` to the answer, layer by layer and for the whole."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

from throughtime.capture import observe
from throughtime.diagnosis import nonfinite, pictures, reach, thresholds
from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.rules import RULES, verdict_sentence
from throughtime.errors import InputError
from throughtime.findings import Diagnosis, Finding, LayerDiagnosis, Measurement
from throughtime.measures.lags import LagSweep, stack_of
from throughtime.problem import Problem
from throughtime.trace import LayerTrace, Trace
from throughtime.typed import checked_span

# From the worst to the best; the whole is as bad as the worst that it depends on.
_SEVERITY = ("non-finite", "exploding", "vanishing", "healthy")

# What a layer of a healthy stack may have without harm to the stack.
_OF_ONE_LAYER = (
    "exploding", "vanishing", "gates closed", "saturated", "transient growth", "bottleneck"
)  # fmt: skip  # a list, not a column

# Loss steps to sweep from: enough for quantiles, fewer of a large layer, whose rows are
# _ENTRIES long together. A marked recurrence sweeps through autograd.
_ANCHORS, _FEWEST_ANCHORS, _MARKED_ANCHORS = 48, 12, 8
_ENTRIES = 2**17


def diagnose(source: Trace | Problem, span: int | None = None, *, deep: bool = False) -> Diagnosis:
    """How far back the gradient reaches, why no further, and what that means.

    Args:
        source: the trace of a captured run, or a ``Problem``, of which one batch is captured.
        span: how many steps back the task needs to see; default: the problem's span, or the length
            of the captured sequence.
        deep: also measure what takes longer: Lyapunov exponents, the spectrum of W_hh, what the
            states remember, and which lags make the weight's gradient.

    Returns:
        The verdict is ``vanishing`` where the median gain at the span is below 1 %, ``exploding``
        where it exceeds 100, ``non-finite`` where a state or gradient is NaN or infinite. Beyond
        the end of the capture the gain is extrapolated by its rate, and a note says so.
        ``diseases`` and ``causes`` say what else was found: one rule for each disease.

    Raises:
        InputError: for a span that is not a whole number from 1. For a ``Problem`` also what
            ``capture`` raises.
    """
    if isinstance(source, Problem):
        span = source.span if span is None else span
        source = observe(source.model, source.closure)
    if not isinstance(source, Trace):
        raise InputError(f"diagnose takes a Trace or a Problem, not {type(source).__name__}")
    span = None if span is None else checked_span(span, "diagnose")
    broken = {found.subject: found for found in nonfinite.find(source)}
    layers = [_layer(layer, span, deep, broken.get(layer.name)) for layer in source]
    deciding = list(layers)
    if (whole := _stack(source, span)) is not None:
        layers.append(whole)
        deciding = [whole, *(one for one in deciding if one.verdict == "non-finite")]
    worst = min(deciding, key=_severity)
    return Diagnosis(
        worst.verdict,
        worst.rate,
        worst.horizon,
        worst.reaches_end,
        worst.span,
        worst.sentence,
        worst.name,
        tuple(layers),
        (*source.findings, *_findings(layers, whole)),
        (*source.notes, *_notes(layers)),
        {**source.run, "throughtime": version("throughtime"), "thresholds": thresholds.ALL},
        worst.korean,
    )


def _layer(
    layer: LayerTrace, span: int | None, deep: bool, broken: Finding | None
) -> LayerDiagnosis:
    sweep = LagSweep.run(layer, anchors=_anchors(layer))
    found = reach.read(sweep.gains(), layer.steps, span)
    evidence = Evidence(layer.name, sweep, found, layer.walls, layer.steps, layer)
    measured = pictures.pictures(layer, sweep)
    if broken is None:
        findings = _judged(evidence)
        measured += pictures.explanations(evidence)
        measured += pictures.deep(evidence.some or layer, evidence.lag) if deep else []
    else:
        findings = (broken,)
        measured += list(evidence.saturation.values())
    one = _diagnosis(layer.name, layer.kind, evidence, findings, measured)
    one = replace(one, verified=layer.verified, unverified_because=layer.unverified_because)
    return one if broken is None else nonfinite.marked(one, broken)


def _stack(trace: Trace, span: int | None) -> LayerDiagnosis | None:
    """All layers of a stack jointly: a dependency may travel back through any of them."""
    layers, _ = stack_of(trace)
    if len(layers) < 2:
        return None
    sweep = LagSweep.run(trace, anchors=_ANCHORS)
    found = reach.read(sweep.gains(), layers[-1].steps, span)
    evidence = Evidence(sweep.name, sweep, found, layers[-1].walls, layers[-1].steps)
    measured = pictures.pictures(None, sweep)
    one = _diagnosis(sweep.name, "stack", evidence, _judged(evidence), measured)
    checks = [layer.verified for layer in layers]
    known = [check for check in checks if check is not None]
    complete = len(known) == len(checks)
    return replace(
        one,
        verified=max(known) if complete else None,
        unverified_because="" if complete else "a layer of it was not verified",
    )


def _anchors(layer: LayerTrace) -> int:
    entries = max(1, layer.batch * layer.states.shape[-1])
    return (
        _MARKED_ANCHORS
        if layer.marked
        else min(_ANCHORS, max(_FEWEST_ANCHORS, _ENTRIES // entries))
    )


def _judged(evidence: Evidence) -> tuple[Finding, ...]:
    """What the rules find, one after another."""
    found = (rule(evidence) for rule in RULES)
    return tuple(finding for finding in found if finding is not None)


def _diagnosis(
    name: str,
    kind: str,
    evidence: Evidence,
    findings: tuple[Finding, ...],
    measured: list[Measurement],
) -> LayerDiagnosis:
    """The part of a layer's diagnosis that a stack has as well."""
    found, said = evidence.reach, verdict_sentence(evidence.reach, evidence.walls)
    return LayerDiagnosis(
        name,
        kind,
        found.verdict,
        found.rate,
        found.horizon,
        found.reaches_end,
        found.span,
        found.gain_at_span,
        said.english,
        None,
        "",
        findings,
        pictures.plain(measured),
        said.korean,
    )


def _findings(layers: list[LayerDiagnosis], whole: LayerDiagnosis | None) -> list[Finding]:
    """Those of all layers; of the layers of a stack not what ails one of them and not the whole.

    A dependency that dies in one layer may travel back through another.
    """
    found = []
    for one in layers:
        harmless: tuple[str, ...] = ()
        if whole is not None and one is not whole:
            harmless = _OF_ONE_LAYER if one.verdict != whole.verdict else ("bottleneck",)
        found += [finding for finding in one.findings if finding.disease not in harmless]
    return found


def _severity(one: LayerDiagnosis) -> tuple[int, bool, float]:
    """The gravest first; of broken layers the one where it began, not those where it spread to."""
    horizon = float("inf") if one.horizon is None else one.horizon
    spread = any("origin_layer" in finding.evidence for finding in one.findings)
    return _SEVERITY.index(one.verdict), spread, horizon


def _notes(layers: list[LayerDiagnosis]) -> list[str]:
    notes = []
    for one in layers:
        if one.verified is None:
            notes.append(f"{one.name} is not verified: {one.unverified_because}")
        elif one.verified > reach.TRUSTED:
            notes.append(
                f"{one.name}: the gradient rebuilt from the trace differs from autograd's by "
                f"{one.verified:.1e}: do not trust its numbers"
            )
    return notes
