"""``diagnose``: from a ``Trace`` to the answer, layer by layer and for the whole."""

from __future__ import annotations

from importlib.metadata import version

from throughtime.capture import observe
from throughtime.diagnosis import nonfinite, reach, sentences
from throughtime.diagnosis.evidence import pictures
from throughtime.errors import InputError
from throughtime.findings import Diagnosis, Finding, LayerDiagnosis
from throughtime.measures.lags import LagSweep, stack_of
from throughtime.problem import Problem
from throughtime.trace import LayerTrace, Trace

# From the worst to the best; the whole is as bad as the worst that it depends on.
_SEVERITY = ("non-finite", "exploding", "vanishing", "healthy")

# Loss steps to sweep from: enough for quantiles. A marked recurrence sweeps through autograd.
_ANCHORS, _MARKED_ANCHORS = 48, 8


def diagnose(source: Trace | Problem, span: int | None = None) -> Diagnosis:
    """How far back the gradient reaches, from the gain by lag, and what that means.

    Args:
        source: the trace of a captured run, or a ``Problem``, of which one batch is captured.
        span: how many steps back the task needs to see; default: the problem's span, or the length
            of the captured sequence.

    Returns:
        The verdict is ``vanishing`` where the median gain at the span is below 1 %, ``exploding``
        where it exceeds 100, ``non-finite`` where a state or gradient is NaN or infinite. Beyond
        the end of the capture the gain is extrapolated by its rate, and a note says so.

    Raises:
        InputError: for a span below 1. For a ``Problem`` also what ``capture`` raises.
    """
    if isinstance(source, Problem):
        span = source.span if span is None else span
        source = observe(source.model, source.closure)
    if not isinstance(source, Trace):
        raise InputError(f"diagnose takes a Trace or a Problem, not {type(source).__name__}")
    if span is not None and span < 1:
        raise InputError(f"span must be at least 1 step, not {span}")
    layers = [_layer(layer, span) for layer in source]
    for found in nonfinite.find(source):
        layers = [
            nonfinite.marked(one, found) if one.name == found.subject else one for one in layers
        ]
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
        (*source.findings, *(finding for one in layers for finding in one.findings)),
        (*source.notes, *_notes(layers)),
        {**source.run, "throughtime": version("throughtime"), "thresholds": reach.THRESHOLDS},
    )


def _layer(layer: LayerTrace, span: int | None) -> LayerDiagnosis:
    sweep = LagSweep.run(layer, anchors=_MARKED_ANCHORS if layer.marked else _ANCHORS)
    found = reach.read(sweep.gains(), layer.steps, span)
    findings: tuple[Finding, ...] = ()
    if layer.walls:
        findings = (sentences.truncated(layer.name, layer.walls, layer.steps, found.span),)
    return LayerDiagnosis(
        layer.name,
        layer.kind,
        found.verdict,
        found.rate,
        found.horizon,
        found.reaches_end,
        found.span,
        found.gain_at_span,
        sentences.sentence(found, layer.walls),
        layer.verified,
        layer.unverified_because,
        findings,
        pictures(layer, sweep),
    )


def _stack(trace: Trace, span: int | None) -> LayerDiagnosis | None:
    """All layers of a stack jointly: a dependency may travel back through any of them."""
    layers, _ = stack_of(trace)
    if len(layers) < 2:
        return None
    sweep = LagSweep.run(trace, anchors=_ANCHORS)
    found = reach.read(sweep.gains(), layers[-1].steps, span)
    checks = [layer.verified for layer in layers]
    known = [check for check in checks if check is not None]
    complete = len(known) == len(checks)
    return LayerDiagnosis(
        sweep.name,
        "stack",
        found.verdict,
        found.rate,
        found.horizon,
        found.reaches_end,
        found.span,
        found.gain_at_span,
        sentences.sentence(found, layers[-1].walls),
        max(known) if complete else None,
        "" if complete else "a layer of it was not verified",
        (),
        pictures(None, sweep),
    )


def _severity(one: LayerDiagnosis) -> tuple[int, float]:
    horizon = float("inf") if one.horizon is None else one.horizon
    return _SEVERITY.index(one.verdict), horizon


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
