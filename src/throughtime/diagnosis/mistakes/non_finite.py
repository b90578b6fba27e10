"""Non-finite outside the recurrence: a loss or a parameter's gradient is NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Iterator

from throughtime.diagnosis.mistakes.view import View
from throughtime.diagnosis.mistakes.wording import names
from throughtime.diagnosis.words import Said, finding
from throughtime.findings import Finding
from throughtime.trace import Facts


def find(view: View) -> Iterator[Finding]:
    """Where no state is to blame: else that is told by the layer where it began."""
    facts = view.trace.facts
    if view.broken:
        return
    sick = [one for one in facts.parameters if one.gradient == "non-finite"]
    if sick:
        ways = tuple(dict.fromkeys(way for one in sick for way in one.way))
        found = [one.name for one in sick]
        finite = sum(one.gradient in ("finite", "zero") for one in facts.parameters)
        evidence = {"parameters": tuple(found), "finite_parameters": finite, "functions": ways}
        yield finding("non-finite", found[0], _gradient(found, _readable(ways)), evidence)
    elif any(not math.isfinite(loss) for loss in facts.losses) and not _is_empty(view):
        yield finding("non-finite", "loss", _loss(facts), {"losses": facts.losses})


def _is_empty(view: View) -> bool:
    """Whether no sequence was read at all: the mean of nothing is NaN."""
    return all(layer.batch == 0 for layer in view.trace)


def _gradient(found: list[str], ways: str) -> Said:
    which = names(found)
    through = f" Its way to the loss leads through {ways}." if ways else ""
    durch = f" 손실까지 가는 길에 {ways} 연산이 있습니다." if ways else ""
    verb = "is" if len(found) == 1 else "are"
    return Said(
        f"The gradient of {which.english} {verb} NaN or infinite, while all states of the "
        "recurrence and their gradients are finite: the first such number arises outside the "
        f"recurrence.{through} The derivative of sqrt, log, a norm, a power or a quotient is not "
        "finite at 0: add a small constant inside, as in (x + 1e-12).sqrt(). One update with "
        "this gradient makes the weights NaN.",
        f"{which.korean}의 기울기가 NaN이거나 무한대입니다. 순환층의 상태와 그 기울기는 모두 "
        f"유한하므로, 유한하지 않은 값은 순환층 밖에서 생깁니다.{durch} sqrt, log, 노름, "
        "거듭제곱, 나눗셈의 도함수는 0에서 유한하지 않습니다. (x + 1e-12).sqrt()처럼 안쪽에 작은 "
        "상수를 더하십시오. 이 기울기로 한 번만 갱신해도 가중치가 NaN이 됩니다.",
    )


def _loss(facts: Facts) -> Said:
    value = next(loss for loss in facts.losses if not math.isfinite(loss))
    return Said(
        f"The loss is {value}, while all states of the recurrence are finite: look at the "
        "functions between the last layer and the loss, such as the logarithm of 0 or an overflow "
        "of exp. Take the form that works on logits (cross_entropy, "
        "binary_cross_entropy_with_logits).",
        f"손실이 {value}인데 순환층의 상태는 모두 유한합니다. 마지막 층과 손실 사이의 연산(0의 "
        "로그, exp의 오버플로 등)을 확인하십시오. 로짓을 직접 받는 형태(cross_entropy, "
        "binary_cross_entropy_with_logits)를 사용하십시오.",
    )


def _readable(ways: tuple[str, ...]) -> str:
    """``SqrtBackward0`` as ``sqrt``."""
    return ", ".join(dict.fromkeys(way.partition("Backward")[0].lower() for way in ways))
