"""``diagnose``: from a ``Trace`` to the answer, layer by layer and for the whole."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from torch import Tensor, nn

from throughtime.capture import capture, observe
from throughtime.diagnosis import layers, mistakes, nonfinite, thresholds, whole
from throughtime.errors import InputError, NoGradientError, plain
from throughtime.findings import Diagnosis, Finding, LayerDiagnosis
from throughtime.problem import Problem, check_span, checked_pair, shown
from throughtime.trace import Trace

_NO_GRADIENT = (
    "순환층에 기울기가 전혀 도달하지 않아 판정할 수 없습니다. 층과 손실 사이에 detach(), .data, "
    "argmax나 torch.no_grad()가 있는지, 가중치가 고정되어 있지 않은지 확인하십시오."
)
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
        InputError: for a span below 1, or something that is none of these sources. For a model and
            a ``Problem`` also what ``observe`` raises, other than ``NoGradientError``.
    """
    if closure is not None and not callable(closure) and not isinstance(source, nn.Module):
        closure, span = None, closure
    check_span(span)
    if isinstance(source, Problem):
        span = source.span if span is None else span
    try:
        trace = _trace_of(source, closure)
    except NoGradientError as error:
        return _without_gradient(error, span)
    return _of_trace(trace, span, deep)


def _trace_of(source: object, closure: object) -> Trace:
    """The trace that is meant by what was given."""
    if isinstance(source, Trace):
        return source
    if isinstance(source, capture):
        return source.trace
    if isinstance(source, Problem):
        return observe(source.model, source.closure)
    if isinstance(source, nn.Module) or isinstance(closure, nn.Module):
        return observe(*checked_pair("diagnose", source, closure))
    hint = ": it is the answer already" if isinstance(source, Diagnosis) else ""
    raise InputError(
        "diagnose takes a Trace, a Problem, a capture, or a model and its closure, not "
        f"{shown(source)}{hint}"
    )


def _of_trace(trace: Trace, span: int | None, deep: bool) -> Diagnosis:
    broken = {finding.subject: finding for finding in nonfinite.find(trace)}
    single = [layers.of_layer(layer, span, deep, broken.get(layer.name)) for layer in trace]
    stack = layers.of_stack(trace, span)
    if stack is not None:
        candidates = [stack, *(one for one in single if one.verdict == "non-finite")]
        rows = [stack]
    else:
        candidates = whole.deciding(trace, single)
        rows = [one for one in candidates if one not in single]
    worst = min(candidates, key=whole.severity)
    of_program = mistakes.find(mistakes.View(trace, span))
    return Diagnosis(
        worst.verdict,
        worst.rate,
        worst.horizon,
        worst.reaches_end,
        worst.span,
        worst.sentence,
        worst.name,
        (*single, *rows),
        (*trace.findings, *of_program, *whole.findings(trace, single, rows)),
        (*trace.notes, *_notes(single)),
        {**trace.run, "throughtime": version("throughtime"), "thresholds": thresholds.ALL},
        worst.korean,
    )


def _without_gradient(error: NoGradientError, span: int | None) -> Diagnosis:
    """The answer where a recurrence ran and no gradient came back to it: nothing is known."""
    sentence = plain(str(error)[:1].upper() + str(error)[1:])
    sentence += "" if sentence.endswith((".", "?")) else "."
    reason = Finding("no gradient", "the model", sentence, korean=_NO_GRADIENT)
    about = {"throughtime": version("throughtime"), "thresholds": thresholds.ALL}
    return Diagnosis(
        "unknown", None, None, False, span or 1, sentence, "the model", (), (reason,), (), about,
        _NO_GRADIENT,
    )  # fmt: skip  # a list, not a column


def _notes(layers: list[LayerDiagnosis]) -> list[str]:
    """Where a number stands without a check."""
    return [
        f"{one.name} is not verified: {one.unverified_because}"
        for one in layers
        if one.verified is None and not one.checked_by
    ]


__all__ = ["diagnose"]
