"""``diagnose``: from a ``Trace`` to the answer, layer by layer and for the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version

from torch import Tensor, nn

from throughtime.diagnosis import head, mistakes, pictures, routes, thresholds, whole
from throughtime.diagnosis.decided import decide
from throughtime.diagnosis.inputs import diagnose_inputs, of_inputs
from throughtime.diagnosis.mistakes import assumed_span
from throughtime.diagnosis.words import finding
from throughtime.errors import InputError, NoGradientError, NothingRecordedError, plain
from throughtime.findings import Diagnosis, Finding, LayerDiagnosis
from throughtime.problem import Problem, checked_pair, shown
from throughtime.recording import capture, observe
from throughtime.recording.lengths import Lengths
from throughtime.sweeps.graph import THE_OUTPUT
from throughtime.trace import Trace
from throughtime.typed import checked_span

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
    lengths: Lengths | None = None,
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
        lengths: of a model and a closure, as for ``observe``.

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
    if closure is not None and not callable(closure) and not isinstance(source, nn.Module):
        closure, span = None, closure
    span = None if span is None else checked_span(span, "diagnose")
    if isinstance(source, Problem):
        wanted = source.span if span is None else span
        return diagnose_closure(
            source.model, source.closure, wanted, deep=deep, trivial_loss=source.trivial_loss
        )
    if isinstance(source, nn.Module) or isinstance(closure, nn.Module):
        return diagnose_closure(
            *checked_pair("diagnose", source, closure), span, deep=deep, lengths=lengths
        )
    if not isinstance(source, Trace | capture):
        hint = ": it is the answer already" if isinstance(source, Diagnosis) else ""
        raise InputError(
            "diagnose takes a Trace, a Problem, a capture, or a model and its closure, not "
            f"{shown(source)}{hint}"
        )
    try:
        return _of_trace(source if isinstance(source, Trace) else source.trace, span, deep)
    except NoGradientError as error:
        return _without_gradient(error, span)


def diagnose_closure(
    model: nn.Module,
    closure: Closure,
    span: int | None = None,
    *,
    deep: bool = False,
    lengths: Lengths | None = None,
    trivial_loss: float | None = None,
) -> Diagnosis:
    """``diagnose`` of one pass of a closure.

    Args:
        model: as for ``observe``.
        closure: as for ``observe``.
        span: as for ``diagnose``.
        deep: as for ``diagnose``.
        lengths: as for ``observe``.
        trivial_loss: that of the best answer that ignores its input, if it is known.
    """
    try:
        trace = observe(model, closure, lengths=lengths)
    except NoGradientError as error:
        return _without_gradient(error, span)
    except NothingRecordedError as error:
        return diagnose_inputs(error, model, closure, span)
    if trivial_loss is not None:
        trace = replace(trace, run={**trace.run, "trivial_loss": float(trivial_loss)})
    answer = _of_trace(trace, span, deep)
    if answer.verdict == "unknown" and _series_of(answer) is not None:
        return _by_the_inputs(answer, model, closure, span)
    return answer


def _series_of(answer: Diagnosis) -> LayerDiagnosis | None:
    """The row that decided, where that is one of layers in series."""
    series = (one for one in answer.layers if one.kind == "series")
    return next((one for one in series if one.name == answer.decided_by), None)


def _by_the_inputs(
    answer: Diagnosis, model: nn.Module, closure: Closure, span: int | None
) -> Diagnosis:
    """The answer where layers in series were measured one by one: what arrives at the inputs.

    A dependency may change layers on its way. The inputs show what is left in the end, whichever
    way it took; where that cannot be measured, nothing is known, as before. So it is where the loss
    cannot be taken apart by steps at the model's own output: a recurrence may come after any other
    place.
    """
    try:
        layer, whole_model = of_inputs(model, closure, span)
    except (InputError, RuntimeError):
        return answer
    target = whole_model.target
    if layer.verdict == "unknown" or target.name != THE_OUTPUT or not target.shape:
        return answer
    rows = tuple(one for one in answer.layers if one.name != answer.decided_by)
    told = [one for one in answer.findings if one.disease != "series"]
    if span is None and layer.span != answer.span:
        words = assumed_span.said(layer.span, whole_model.source.steps)
        given = finding("assumed span", layer.name, words, {"span_steps": layer.span})
        told = [given if one.disease == "assumed span" else one for one in told]
    return replace(
        answer,
        verdict=layer.verdict,
        rate=layer.rate,
        horizon=layer.horizon,
        reaches_end=layer.reaches_end,
        span=layer.span,
        sentence=layer.sentence,
        korean=layer.korean,
        decided_by=layer.name,
        layers=(*rows, layer),
        findings=(*layer.findings, *told),
    )


def _of_trace(trace: Trace, span: int | None, deep: bool) -> Diagnosis:
    worst, single, rows, broken = decide(trace, span, "deep" if deep else "why")
    worst = routes.told(worst, [note for one in single for note in one.findings])
    faults = mistakes.find(mistakes.View(trace, span, broken))
    answer = Diagnosis(
        worst.verdict,
        worst.rate,
        worst.horizon,
        worst.reaches_end,
        worst.span,
        worst.sentence,
        worst.name,
        pictures.slim([*single, *rows], worst.name),
        (*trace.findings, *faults, *mistakes.apart(faults, whole.findings(trace, single, rows))),
        (*trace.notes, *head.notes(trace), *_notes(single)),
        {
            **trace.run,
            **head.of(trace),
            "throughtime": version("throughtime"),
            "thresholds": thresholds.ALL,
        },
        worst.korean,
    )
    if trace.run.get("part"):
        answer = replace(
            answer,
            sentence=f"Of the part of the model that is seen: {answer.sentence}",
            korean=f"모델에서 기록된 부분에 대한 판정입니다. {answer.korean}",
        )
    outside = next((fault for fault in faults if fault.disease == "non-finite"), None)
    return answer if outside is None else _non_finite(answer, outside)


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


__all__ = ["diagnose", "diagnose_closure", "diagnose_inputs"]
