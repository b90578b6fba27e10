"""``diagnose``: from a ``Trace`` to the answer, layer by layer and for the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version

from torch import Tensor, nn

from throughtime.capture import capture, observe
from throughtime.diagnosis import (
    head,
    joint,
    layers,
    mistakes,
    nonfinite,
    pictures,
    thresholds,
    whole,
)
from throughtime.errors import InputError, NoGradientError, plain
from throughtime.findings import Diagnosis, Finding, LayerDiagnosis
from throughtime.problem import Problem
from throughtime.trace import Trace
from throughtime.typed import checked_span

Closure = Callable[[], Tensor]
Source = Trace | Problem | capture | nn.Module


def diagnose(
    source: Source,
    closure: Closure | int | None = None,
    span: int | None = None,
    *,
    deep: bool = False,
) -> Diagnosis:
    """How far back the gradient reaches, why no further, and what that means.

    Args:
        source: a model, beside its ``closure``; or the block of a ``capture`` that has ended, or
            its trace; or a ``Problem``, of which one batch is captured.
        closure: runs the model and returns the loss, as for ``observe``. A number in its place is
            the span.
        span: how many steps back the task needs to see; default: the problem's span, or the
            longest lag of the captured sequence, T − 1.
        deep: also measure what takes longer: Lyapunov exponents, the spectrum of W_hh, what the
            states remember, and which lags make the weight's gradient.

    Returns:
        The verdict is ``vanishing`` where the median gain at the span is below 1 %, ``exploding``
        where it exceeds 100, ``non-finite`` where a state or gradient is NaN or infinite,
        ``healthy`` where none of these holds of a gain that was measured and checked, and
        ``unknown`` otherwise. Beyond the end of the capture the gain is extrapolated, and a note
        says so. ``diseases`` and ``causes`` say what else was found.

    Raises:
        InputError: for a span that is not a whole number from 1, or another source. For a model and
            a ``Problem`` also what ``observe`` raises, other than ``NoGradientError``.
    """
    if closure is not None and not callable(closure):
        closure, span = None, closure
    span = None if span is None else checked_span(span, "diagnose")
    if isinstance(source, Problem):
        span = source.span if span is None else span
    try:
        trace = _trace_of(source, closure)
    except NoGradientError as error:
        return _without_gradient(error, span)
    return _of_trace(trace, span, deep)


def _trace_of(source: object, closure: Closure | None) -> Trace:
    """The trace that is meant by what was given."""
    if isinstance(source, Trace):
        return source
    if isinstance(source, capture):
        return source.trace
    if isinstance(source, Problem):
        return of_problem(source)
    if isinstance(source, nn.Module):
        if not callable(closure):
            raise InputError(
                "diagnose takes a model together with a function that returns its loss: "
                "diagnose(model, lambda: loss_of(model(x)), span=100)"
            )
        return observe(source, closure)
    hint = ": it is the answer already" if isinstance(source, Diagnosis) else ""
    raise InputError(
        "diagnose takes a Trace, a Problem, a capture, or a model and its closure, not "
        f"{type(source).__name__}{hint}"
    )


def _of_trace(trace: Trace, span: int | None, deep: bool) -> Diagnosis:
    broken = {finding.subject: finding for finding in nonfinite.find(trace)}
    single = [layers.of_layer(layer, span, deep, broken.get(layer.name)) for layer in trace]
    stack = joint.of_stack(trace, span)
    if stack is not None:
        candidates = [stack, *(one for one in single if one.verdict == "non-finite")]
        rows = [stack]
    else:
        candidates = whole.deciding(trace, single)
        rows = [one for one in candidates if one not in single]
    worst = min(candidates, key=whole.severity)
    faults = mistakes.find(mistakes.View(trace, span, bool(broken)))
    answer = Diagnosis(
        worst.verdict,
        worst.rate,
        worst.horizon,
        worst.reaches_end,
        worst.span,
        worst.sentence,
        worst.name,
        pictures.slim([*single, *rows], worst.name),
        (*trace.findings, *faults, *whole.findings(trace, single, rows)),
        (*trace.notes, *head.notes(trace), *_notes(single)),
        {
            **trace.run,
            **head.of(trace),
            "throughtime": version("throughtime"),
            "thresholds": thresholds.ALL,
        },
        worst.korean,
    )
    outside = next((fault for fault in faults if fault.disease == "non-finite"), None)
    return answer if outside is None else _non_finite(answer, outside)


def of_problem(problem: Problem) -> Trace:
    """The trace of one batch of a problem, which knows the problem's trivial loss."""
    trace = observe(problem.model, problem.closure)
    if problem.trivial_loss is None:
        return trace
    return replace(trace, run={**trace.run, "trivial_loss": float(problem.trivial_loss)})


def _non_finite(answer: Diagnosis, outside: Finding) -> Diagnosis:
    """The answer with the verdict that a non-finite number outside the recurrence asks for."""
    return replace(
        answer,
        verdict="non-finite",
        rate=None,
        horizon=None,
        reaches_end=False,
        sentence=outside.sentence,
        korean=outside.korean,
    )


def _without_gradient(error: NoGradientError, span: int | None) -> Diagnosis:
    """The answer where a recurrence ran and no gradient came back to it: nothing is known."""
    sentence = plain(str(error)[:1].upper() + str(error)[1:])
    sentence += "" if sentence.endswith((".", "?")) else "."
    reason = Finding("no gradient", "the model", sentence)
    about = {"throughtime": version("throughtime"), "thresholds": thresholds.ALL}
    return Diagnosis(
        "unknown", None, None, False, span or 1, sentence, "the model", (), (reason,), (), about
    )  # fmt: skip  # a list, not a column


def _notes(layers: list[LayerDiagnosis]) -> list[str]:
    """Where a number stands without a check."""
    return [
        f"{one.name} is not verified: {one.unverified_because}"
        for one in layers
        if one.verified is None and not one.checked_by
    ]


__all__ = ["diagnose"]
