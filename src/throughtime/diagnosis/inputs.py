"""A model in which no recurrence is recorded: judged by the gain at its inputs, by every route.

``healthy`` is said of a gain that was measured at the span itself, and that finite differences
or forward mode confirm; what lacks either is ``unknown``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import nn

from throughtime.diagnosis import pictures, thresholds
from throughtime.diagnosis.inputs_said import (
    bypassed,
    contradicted,
    failed,
    not_recorded,
    uncertain,
    unchecked,
    verdict_of,
)
from throughtime.diagnosis.mistakes import assumed_span
from throughtime.diagnosis.reach import EXPLODED, VANISHED, Reach, read
from throughtime.diagnosis.words import Said, finding
from throughtime.errors import InputError, NothingRecordedError
from throughtime.findings import Diagnosis, Finding, LayerDiagnosis, Measurement, Verdict
from throughtime.measures.reach import Check, WholeReach, checked, whole_reach
from throughtime.typed import checked_span

NAME, KIND = "the whole model", "inputs"

# The check may miss the gradient by so large a share of it.
_AGREE = 0.1
# So much of the gradient at the inputs may come by another way than through the target.
_BYPASS = 1e-3


def diagnose_inputs(
    error: NothingRecordedError,
    model: nn.Module,
    closure: Callable[[], Any],
    span: int | None = None,
) -> Diagnosis:
    """The diagnosis of a model by the gain at its inputs.

    Args:
        error: why there is no other one; raised again where no module of the model ran.
        model: as for ``observe``.
        closure: as for ``observe``; it runs again for the check, up to seven times.
        span: as for ``diagnose``.
    """
    if not error.seen:
        raise error
    span = None if span is None else checked_span(span, "diagnose")
    try:
        layer, whole = of_inputs(model, closure, span)
    except (InputError, RuntimeError) as reason:
        return _unknown(error, span, failed(str(reason).removeprefix("reach: ")))
    findings = [*layer.findings]
    findings.append(finding("not recorded", NAME, not_recorded(error), {"seen": error.seen}))
    if span is None and whole.source.steps > 1:
        told = assumed_span.said(layer.span, whole.source.steps)
        findings.append(finding("assumed span", NAME, told, {"span_steps": layer.span}))
    return Diagnosis(
        layer.verdict, layer.rate, layer.horizon, layer.reaches_end, layer.span, layer.sentence,
        NAME, (replace(layer, findings=tuple(findings)),), tuple(findings), (), _run(whole),
        layer.korean,
    )  # fmt: skip  # a list, not a column


def of_inputs(
    model: nn.Module, closure: Callable[[], Any], span: int | None
) -> tuple[LayerDiagnosis, WholeReach]:
    """The whole model as one row, and what was measured; raises what ``reach`` does."""
    whole = whole_reach(model, closure, span=span)
    gain = _by_part(whole.gains())
    reach = _judged(gain, whole, span)
    check = None
    if reach.verdict != "non-finite" and whole.probe is not None:
        check = checked(model, closure, whole.probe)
    gap = _gap(reach, whole, check)
    said = verdict_of(reach, whole.source.name) if gap is None else Said(gap.sentence, gap.korean)
    layer = _layer(reach, gain, gap, said, _checked_by(whole, check))
    found = [*([] if gap is None else [gap]), *_found(reach, gap, said)]
    return replace(layer, findings=tuple(found)), whole


def _by_part(gain: Measurement) -> Measurement:
    """With the axis that the gain of a recurrent layer has."""
    return replace(
        gain,
        name="gain",
        values=np.asarray(gain.values)[None],
        axes=("part", *gain.axes),
        coords={"part": ("s",), **gain.coords},
    )


def _judged(gain: Measurement, whole: WholeReach, span: int | None) -> Reach:
    """The reach; nothing is carried on beyond what was measured.

    A gain that exceeds the reference a hundredfold explodes only if it exceeds lag 0 as much:
    attention may well look past the nearest step.
    """
    longest = len(gain.coords["lag"]) - 1  # as far back as any step reaches that the loss reads
    reach = read(_without_skips(gain, whole), whole.source.steps, span or longest or None)
    if reach.verdict == "non-finite" or reach.gap:
        return reach
    if reach.extrapolated:
        return replace(reach, verdict="unknown", gain_at_span=None, gap="too short")
    assert reach.gain_at_span is not None
    median = np.asarray(gain.values)[0, gain.coords["quantile"].index(0.5)]
    above = reach.gain_at_span - max(0.0, float(median[0]))
    verdict: Verdict = "healthy" if reach.gain_at_span >= VANISHED else "vanishing"
    return replace(reach, verdict="exploding" if above > EXPLODED else verdict)


def _without_skips(gain: Measurement, whole: WholeReach) -> Measurement:
    """With lag 1 in place of lag 0, where the skip connections are, of which no rate is made."""
    if whole.relative_to != "lag 1":
        return gain
    values = np.array(gain.values, dtype=float)
    values[..., :1] = values[..., 1:2]
    return replace(gain, values=values)


def _gap(reach: Reach, whole: WholeReach, check: Check | None) -> Finding | None:
    """Why there is no verdict; None where the gain may be judged."""
    if reach.verdict == "non-finite":
        return None
    if reach.gap:
        evidence = {"longest_lag_steps": reach.longest, "span_steps": reach.span}
        return finding("too short", NAME, uncertain(reach), evidence)
    if whole.bypass > _BYPASS:
        share = {"share_past_the_target": whole.bypass}
        return finding("check failed", NAME, bypassed(whole), share)
    if check is not None and check.difference > _AGREE:
        share = {"difference_from_" + check.way.replace(" ", "_"): check.difference}
        return finding("check failed", NAME, contradicted(check), share)
    if reach.verdict == "healthy" and check is None:
        return finding("not checked", NAME, unchecked(), {})
    return None


def _found(reach: Reach, gap: Finding | None, said: Said) -> list[Finding]:
    """The verdict as a finding, where it is one."""
    if gap is not None or reach.verdict not in ("vanishing", "exploding", "non-finite"):
        return []
    figures = {
        "log10_gain_at_span": reach.gain_at_span,
        "span_steps": reach.span,
        "horizon_steps": reach.horizon,
        "rate_decades_per_step": reach.rate,
    }
    return [finding(reach.verdict, NAME, said, figures)]


def _layer(
    reach: Reach, gain: Measurement, gap: Finding | None, said: Said, checked_by: str
) -> LayerDiagnosis:
    known = gap is None or (gap.disease == "too short" and reach.longest > 0)
    return LayerDiagnosis(
        NAME,
        KIND,
        reach.verdict if gap is None else "unknown",
        reach.rate if known else None,
        reach.horizon if known else None,
        reach.reaches_end and known,
        reach.span,
        reach.gain_at_span if gap is None else None,
        said.english,
        None,
        "" if checked_by else "neither finite differences nor forward mode could tell",
        (),
        pictures.plain([gain]),
        said.korean,
        checked_by if gap is None else "",
    )


def _checked_by(whole: WholeReach, check: Check | None) -> str:
    if check is None or check.difference > _AGREE or whole.probe is None:
        return ""
    return (
        f"{check.way} at lag {whole.probe.lag}: agrees to {max(check.difference, 1e-6):.0e}, and "
        f"the gradient through the target is all that autograd sends"
    )


def _run(whole: WholeReach) -> dict[str, Any]:
    return {
        "steps": whole.source.steps,
        "batch": whole.source.batch,
        "dtype": str(whole.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "inputs": whole.source.name,
        "loss read at": whole.target.name,
        "relative to": whole.relative_to,
        "throughtime": version("throughtime"),
        "thresholds": thresholds.ALL,
    }


def _unknown(error: NothingRecordedError, span: int | None, said: Said) -> Diagnosis:
    """Nothing could be measured: why, and what was seen."""
    reason = finding("not checked", NAME, said, {})
    seen = finding("not recorded", NAME, not_recorded(error), {"seen": error.seen})
    about = {"throughtime": version("throughtime"), "thresholds": thresholds.ALL}
    return Diagnosis(
        "unknown", None, None, False, span or 1, said.english, NAME, (), (reason, seen), (), about,
        said.korean,
    )  # fmt: skip  # a list, not a column
