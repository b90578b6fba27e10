"""The sentences about a gain at the inputs, in English and in Korean."""

from __future__ import annotations

from throughtime.diagnosis.reach import Reach
from throughtime.diagnosis.words import Said, percent, steps, ten_to
from throughtime.errors import NothingRecordedError, plain
from throughtime.measures.reach import Check, WholeReach


def verdict_of(reach: Reach, source: str) -> Said:
    """The verdict, measured at ``source``."""
    if reach.verdict == "non-finite" or reach.horizon is None:
        return Said(
            f"A gradient at {source} is NaN or infinite: no gain can be read from it.",
            f"{_korean(source)}에 도달한 기울기가 NaN 또는 무한대라서 이득을 읽을 수 없습니다.",
        )
    reached = min(reach.horizon, reach.span)
    if reach.verdict == "healthy":
        return Said(
            f"By every route through the model, the gradient at {source} still counts "
            f"{steps(reach.span)} before the loss, as far back as was asked for.",
            f"모델의 모든 경로를 합하면, 손실보다 {reach.span}스텝 앞선 {_korean(source)}에도 "
            "기울기가 살아서 도달합니다. 요청한 거리를 모두 채웁니다.",
        )
    if reach.verdict == "exploding":
        return Said(
            f"The gradient at {source} grows on its way back: {steps(reach.span)} before the loss "
            f"it is {ten_to(reach.gain_at_span or 0)} times as large as one step before it.",
            f"{_korean(source)}에 도달하는 기울기가 과거로 갈수록 커집니다. 손실보다 "
            f"{reach.span}스텝 앞에서는 한 스텝 앞의 {ten_to(reach.gain_at_span or 0)}배입니다.",
        )
    return Said(
        f"By every route through the model, less than 1 % of the gradient at {source} is left "
        f"more than {steps(reached)} before the loss, and the task needs {reach.span}. What was "
        "read before that hardly changes the loss.",
        f"모델의 모든 경로를 합해도 손실보다 {reached}스텝 넘게 앞선 {_korean(source)}에는 "
        f"기울기가 1 %도 남지 않는데 과제에는 {reach.span}스텝이 필요합니다. 그보다 앞서 읽은 "
        "입력은 손실을 거의 바꾸지 못합니다.",
    )


def uncertain(reach: Reach) -> Said:
    """The span is longer than what was measured."""
    if reach.longest == 0:
        return Said(
            "No loss step has a past: every one reads the first step of its sequence, or the "
            "sequence has a single step. Use a longer sequence, or a loss on later steps.",
            "손실이 시퀀스의 첫 스텝만 읽거나 시퀀스가 한 스텝이어서 과거가 없습니다. 더 긴 "
            "시퀀스나 더 뒤의 스텝을 읽는 손실을 사용하십시오.",
        )
    return Said(
        f"The longest lag that was measured at the inputs is {steps(reach.longest)}, and the task "
        f"needs {reach.span}. Run a sequence of at least {reach.span + 1} steps with a loss at "
        "its end.",
        f"입력에서 잰 가장 긴 시차는 {reach.longest}스텝이고 과제에는 {reach.span}스텝이 "
        f"필요합니다. 적어도 {reach.span + 1}스텝이고 끝에 손실이 있는 시퀀스를 사용하십시오.",
    )


def bypassed(whole: WholeReach) -> Said:
    """A part of the gradient does not come through the target."""
    share = percent(min(1.0, whole.bypass))
    target, source = plain(whole.target.name), plain(whole.source.name)
    return Said(
        f"{share} of the gradient at {source} does not come through {target}, where the loss was "
        "taken apart by steps, so nothing is said about its reach. Name another place with "
        "throughtime.measures.reach(model, closure, target='path.of.module').",
        f"{source}에 도달하는 기울기의 {share}가 손실을 스텝별로 나눈 {target}을(를) 지나지 않아 "
        "도달 거리를 판정하지 않습니다. throughtime.measures.reach(model, closure, "
        "target='모듈 경로')로 다른 곳을 지정하십시오.",
    )


def contradicted(check: Check) -> Said:
    """The check disagrees."""
    difference = percent(check.difference)
    return Said(
        f"The check of the gain at the inputs failed: moving an input changes the loss by "
        f"{difference} more or less than autograd says. Does the closure draw a new "
        "batch at every call?",
        "입력에서 잰 이득의 검산이 실패했습니다. 입력을 조금 움직였을 때 손실의 변화가 autograd의 "
        f"값과 {difference} 다릅니다. closure가 호출할 때마다 새 배치를 뽑는지 "
        "확인하십시오.",
    )


def unchecked() -> Said:
    """Neither finite differences nor forward mode can tell."""
    return Said(
        "The gain at the inputs looks healthy, but it could not be checked: finite differences "
        "have too few digits and forward mode fails, or the sequence is packed, or the closure "
        "does not run twice. Without a check there is no verdict.",
        "입력에서 잰 이득은 정상으로 보이지만 검산하지 못했습니다. 유한 차분은 자릿수가 모자라고 "
        "순방향 미분은 쓸 수 없거나, 묶음 시퀀스이거나, closure를 두 번 실행할 수 없습니다. 검산 "
        "없이는 판정하지 않습니다.",
    )


def failed(reason: str) -> Said:
    """Nothing was measured at the inputs either."""
    told = plain(reason).rstrip(".")
    return Said(
        f"No recurrence was recorded, and no gain at the inputs could be measured: {told}.",
        f"순환이 기록되지 않았고 입력에서의 이득도 잴 수 없었습니다: {told}.",
    )


def not_recorded(error: NothingRecordedError) -> Said:
    """What was seen in place of a recurrence."""
    return Said(
        f"No recurrence was recorded, so the gain was measured at the inputs: {error.seen}.",
        f"순환이 기록되지 않아 이득을 입력에서 쟀습니다: {error.korean}.",
    )


def _korean(source: str) -> str:
    known = {"the input": "입력", "the model's output": "모델의 출력"}
    return known.get(source, plain(source))
