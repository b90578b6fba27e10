"""Why there is no verdict on a layer: the record or its check does not carry one.

``healthy`` needs a gain that was measured and a check that held. What lacks either is ``unknown``,
and the finding made here says why.
"""

from __future__ import annotations

import math

from throughtime.diagnosis.checks import Check
from throughtime.diagnosis.mistakes import not_handed_on, spoilt_record
from throughtime.diagnosis.reach import Reach
from throughtime.diagnosis.words import Said, finding, steps, ten_to
from throughtime.findings import Finding
from throughtime.trace import LayerTrace


def find(layer: LayerTrace, reach: Reach, check: Check) -> Finding | None:
    """The reason why nothing can be said of this layer; None where its reach may be judged."""
    mistake = spoilt_record.of_layer(layer) or not_handed_on.of_layer(layer)
    if mistake is not None:
        return mistake
    if check.route is not None:
        return _route(layer, check.route)
    if check.failed:
        differs = {"differs": check.failed.english}
        return finding("check failed", layer.name, _failed(layer, check.failed), differs)
    if reach.gap == "no gradient":
        return finding("no gradient", layer.name, _no_gradient(layer), {"steps": layer.steps})
    if reach.gap == "too short":
        evidence = {"longest_lag_steps": reach.longest, "span_steps": reach.span}
        said = _alone(layer) if layer.fragments > 1 else too_short(layer.name, reach)
        return finding("too short", layer.name, said, evidence)
    if reach.verdict == "healthy" and not check.held:
        because = layer.unverified_because
        return finding("not checked", layer.name, _unchecked(layer, because), {"because": because})
    return None


def _route(layer: LayerTrace, route: tuple[float, int]) -> Finding:
    ratio, lag = route
    more = f"{ten_to(ratio)} times as much" if math.isfinite(ratio) else "a gradient"
    mehr = f"{ten_to(ratio)}배의 기울기를" if math.isfinite(ratio) else "기울기를"
    alone = (
        "as the recurrence alone does"
        if math.isfinite(ratio)
        else ("where the recurrence alone sends none")
    )
    said = Said(
        f"The state of {layer.name!r} has another way back besides its recurrence: over "
        f"{steps(lag)} autograd sends {more} {alone}. Look for an output that is fed back as "
        "input, or a second state that is not seen (a memory, an average); show the joint state "
        "with throughtime.mark((h, memory), 'name').",
        f"{layer.name!r}의 상태에는 순환 말고도 과거로 가는 경로가 있습니다. {lag}스텝에 걸쳐 "
        f"autograd는 순환만으로 가는 것보다 {mehr} 더 보냅니다. 입력으로 되먹이는 출력이나 "
        "기록되지 않은 두 번째 상태(메모리, 평균)가 있는지 찾아 "
        "throughtime.mark((h, memory), 'name')으로 전체 상태를 표시하십시오.",
    )
    evidence = {"log10_total_over_recurrence": ratio, "lag_steps": lag}
    return finding("other routes", layer.name, said, evidence)


def _failed(layer: LayerTrace, differs: Said) -> Said:
    return Said(
        f"The check of {layer.name!r} failed, so nothing is said about it: {differs.english}.",
        f"{layer.name!r}의 검산이 실패하여 판정하지 않습니다: {differs.korean}.",
    )


def _no_gradient(layer: LayerTrace) -> Said:
    return Said(
        f"Every gradient that reaches {layer.name!r} is exactly zero, so there is no gain to "
        "measure. Look between the layer and the loss for a ReLU or a clamp that is off, a weight "
        "of zeros, a mask, or a loss on steps that hold nothing.",
        f"{layer.name!r}에 도달하는 기울기가 모두 정확히 0이어서 이득을 잴 수 없습니다. 층과 손실 "
        "사이에 꺼진 ReLU나 clamp, 0인 가중치, 마스크가 있는지, 손실이 빈 스텝만 읽는지 "
        "확인하십시오.",
    )


def _alone(layer: LayerTrace) -> Said:
    return Said(
        f"Each of the {layer.fragments} steps of {layer.name!r} stands alone: what is done to the "
        "state between them is not followed, so no lag was measured. Show the state that is "
        "carried on with throughtime.mark(state, 'name').",
        f"{layer.name!r}의 스텝 {layer.fragments}개가 따로 기록되었습니다. 스텝 사이에서 상태에 "
        "일어나는 일을 따라갈 수 없어 시차를 재지 못했습니다. 실제로 이어지는 상태를 "
        "throughtime.mark(state, 'name')으로 표시하십시오.",
    )


def too_short(name: str, reach: Reach) -> Said:
    """How far back was measured, and what to capture instead."""
    if reach.longest == 0:
        return Said(
            f"Layer {name!r} was seen at a single step, or its loss reads none that has a past: "
            "no lag was measured. Capture a longer sequence, or a loss on later steps.",
            f"층 {name!r}은 한 스텝만 기록되었거나 손실이 과거가 있는 스텝을 읽지 않아 시차를 잴 "
            "수 없습니다. 더 긴 시퀀스나 더 뒤의 스텝을 읽는 손실로 캡처하십시오.",
        )
    low, high = reach.interval or (math.nan, math.nan)
    if reach.interval is None:
        reason = Said("too few to carry on", "연장하기에는 너무 적습니다")
    else:
        reason = Said(
            f"at its pace the gain there lies between {ten_to(low)} and {ten_to(high)}, and the "
            "verdict depends on which",
            f"이 속도라면 그곳의 이득은 {ten_to(low)}과 {ten_to(high)} 사이이고 어느 쪽인지에 따라 "
            "판정이 달라집니다",
        )
    return Said(
        f"The longest lag that was measured of {name!r} is {steps(reach.longest)}, and the task "
        f"needs {reach.span}: {reason.english}. Capture a sequence of at least "
        f"{reach.span + 1} steps with a loss at its end.",
        f"{name!r}에서 잰 가장 긴 시차는 {reach.longest}스텝이고 과제에는 {reach.span}스텝이 "
        f"필요합니다. {reason.korean}. 적어도 {reach.span + 1}스텝이고 끝에 손실이 있는 시퀀스로 "
        "캡처하십시오.",
    )


def _unchecked(layer: LayerTrace, because: str) -> Said:
    return Said(
        f"The gain of {layer.name!r} looks healthy, but nothing checks it: {because}. Without a "
        "check there is no verdict.",
        f"{layer.name!r}의 이득은 정상으로 보이지만 검산할 방법이 없습니다: {because}. 검산 없이는 "
        "판정하지 않습니다.",
    )
