"""Dead parameters: what this loss does not train, although the model holds it, or ran it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from throughtime.diagnosis.mistakes.view import View
from throughtime.diagnosis.mistakes.wording import counted, names
from throughtime.diagnosis.words import Said, finding
from throughtime.findings import Finding
from throughtime.trace import Facts, ModuleFact, ParameterFact

_DEAD, _ALIVE = ("none", "zero"), ("finite", "non-finite")
_OF_A_UNIT = re.compile(r"(weight|bias)(_ih|_hh|_hr)?(?=_l\d|$)")
_TOLD = 3  # groups with a finding of their own


def find(view: View) -> Iterator[Finding]:
    """Layers that are not registered or frozen, then what got no gradient, or exactly 0."""
    facts = view.trace.facts
    for module in facts.modules:
        own = [one for one in facts.parameters if one.module == module.name]
        if not module.registered and any(not one.registered for one in own):
            words = _unregistered(module, len(own))
            yield finding("dead parameters", module.name, words, _evidence(own, "unregistered"))
        elif module.recurrent and module.ran and own and not any(p.requires_grad for p in own):
            yield finding("dead parameters", _label(module), *_frozen(module, own))
    dead = _dead(facts)
    if not any(one.gradient in _ALIVE for one in facts.parameters):
        return  # nothing has a gradient: that is another finding
    grouped = _groups(facts, dead)
    for number, (subject, own) in enumerate(grouped[:_TOLD], 1):
        left = len(grouped) - _TOLD if number == _TOLD else 0
        yield _dead_group(facts, subject, own, left)


def _dead(facts: Facts) -> list[ParameterFact]:
    """The trainable parameters that this loss does not move, and should."""
    if not facts.swept:
        return []
    alive = {_unit(one) for one in facts.parameters if one.gradient in _ALIVE}
    modules = {one.module for one in facts.parameters if one.gradient in _ALIVE}
    # A factor that starts at 0 keeps all that stands behind it at 0, for one update.
    starting = any(
        one.value == 0 and one.gradient in _ALIVE and not _is_bias(one) for one in facts.parameters
    )
    return [
        one
        for one in facts.parameters
        if one.gradient in _DEAD
        and one.requires_grad
        and one.registered
        and one.changed != "replaced"
        and not (
            one.gradient == "zero"
            and (starting or _unit(one) in alive or (one.size == 1 and one.module in modules))
        )
    ]


def _is_bias(one: ParameterFact) -> bool:
    return "bias" in one.name.rpartition(".")[2]


def _unit(one: ParameterFact) -> tuple[str, str]:
    """What learns as a whole: weights and biases of a module, in a stack those of one layer.

    Where one of them has a gradient, another that is exactly 0 is no fault: W_ih of an input of
    zeros, W_hh of a first step, a bias that a softmax takes out.
    """
    own = one.name.rpartition(".")[2]
    return one.module, _OF_A_UNIT.sub("", own) if _OF_A_UNIT.match(own) else own


def _groups(facts: Facts, dead: Sequence[ParameterFact]) -> list[tuple[str, list[ParameterFact]]]:
    """The dead by the topmost module that is dead as a whole, else by their own."""
    gone = {one.name for one in dead}
    trained = [one for one in facts.parameters if one.requires_grad and one.registered]
    groups: dict[str, list[ParameterFact]] = {}
    for one in dead:
        subject, parts = one.module, one.module.split(".") if one.module else []
        for length in range(1, len(parts) + 1):
            above = ".".join(parts[:length])
            if all(p.name in gone for p in trained if f"{p.module}.".startswith(f"{above}.")):
                subject = above
                break
        groups.setdefault(subject, []).append(one)
    recurrent = {module.name for module in facts.modules if module.recurrent}
    return sorted(groups.items(), key=lambda group: group[0] not in recurrent)


def _dead_group(facts: Facts, subject: str, own: list[ParameterFact], left: int) -> Finding:
    modules = [m for m in facts.modules if f"{m.name}.".startswith(f"{subject}.") or not subject]
    whole = len(own) == sum(
        p.requires_grad for p in facts.parameters
        if f"{p.module}.".startswith(f"{subject}.") or p.module == subject
    )  # fmt: skip  # a sum, not a tower
    none = [one for one in own if one.gradient == "none"]
    label = subject or own[0].name
    if whole and none and not any(module.ran for module in modules):
        words, how = _idle(label, len(own)), "did not run"
    elif whole and any(module.recurrent and module.ran for module in modules) and subject:
        words, how = _unread(label, own), "not read"
    else:
        words, how = _plain(subject, own, whole), "none" if none else "zero"
    if left:
        words = Said(
            f"{words.english} The same holds for {left} more modules.",
            f"{words.korean} 다른 모듈 {left}개도 마찬가지입니다.",
        )
    return finding("dead parameters", label, words, _evidence(own, how))


def _evidence(own: Sequence[ParameterFact], how: str) -> dict[str, object]:
    return {
        "parameters": tuple(one.name for one in own),
        "entries": sum(one.size for one in own),
        "gradients": tuple(one.gradient for one in own),
        "how": how,
    }


def _label(module: ModuleFact) -> str:
    return module.name or module.kind.lower()


def _unregistered(module: ModuleFact, count: int) -> Said:
    name = module.name
    where = f"sits in {module.held_in!r}, a plain list or dictionary" if module.held_in else (
        "is made inside forward, or held by something that is no module"
    )  # fmt: skip  # a sentence, not a tower
    wo = f"일반 리스트나 딕셔너리인 {module.held_in!r}에 들어 있어" if module.held_in else (
        "forward 안에서 만들어지거나 모듈이 아닌 객체에 들어 있어"
    )  # fmt: skip  # a sentence, not a tower
    return Said(
        f"{name!r} ({module.kind}) ran but is not registered: it {where}, so that "
        f"model.parameters() does not list its {counted(count)}. An optimizer made from it never "
        "updates them, and .to() and state_dict() leave them out. Hold it as an attribute, or in "
        "nn.ModuleList or nn.ModuleDict.",
        f"{name!r}({module.kind})은 실행되었지만 등록되어 있지 않습니다. {wo} "
        f"model.parameters()에 그 파라미터 {count}개가 나오지 않습니다. 그래서 옵티마이저가 "
        "갱신하지 않고, .to()와 state_dict()에서도 빠집니다. 속성으로 두거나 nn.ModuleList, "
        "nn.ModuleDict에 넣으십시오.",
    )


def _frozen(module: ModuleFact, own: Sequence[ParameterFact]) -> tuple[Said, dict[str, object]]:
    name = _label(module)
    words = Said(
        f"{name!r} is frozen: none of its {counted(len(own))} requires a gradient, so that this "
        "recurrent layer learns nothing. If that is not intended, call "
        "requires_grad_(True) on it before the optimizer is made.",
        f"{name!r}은 고정되어 있습니다. 파라미터 {len(own)}개 모두 requires_grad가 False이므로 이 "
        "순환층은 학습되지 않습니다. 의도한 것이 아니라면 옵티마이저를 만들기 전에 "
        "requires_grad_(True)를 호출하십시오.",
    )
    return words, _evidence(own, "frozen")


def _idle(label: str, count: int) -> Said:
    return Said(
        f"{label!r} did not run for this loss, so its {counted(count)} got no gradient. This is "
        "right for a part that another loss trains; if this loss is meant to train it, call it in "
        "forward.",
        f"이 손실을 계산할 때 {label!r}이 실행되지 않아 파라미터 {count}개에 기울기가 없습니다. "
        "다른 손실로 학습하는 부분이라면 정상입니다. 이 손실로 학습해야 한다면 forward에서 "
        "호출하십시오.",
    )


def _unread(label: str, own: Sequence[ParameterFact]) -> Said:
    zero = all(one.gradient == "zero" for one in own)
    got, gradient = ("a gradient of exactly 0", "정확히 0인 기울기를") if zero else (
        "no gradient", "기울기를"
    )  # fmt: skip  # a pair, not a tower
    verb = "받았습니다" if zero else "받지 못했습니다"
    return Said(
        f"{label!r} ran, but nothing of its output reaches the loss: its {counted(len(own))} got "
        f"{got}. Look for a detach(), a state that is not handed on, or an output that is replaced "
        "by another on its way to the loss.",
        f"{label!r}은 실행되었지만 그 출력이 손실에 전혀 닿지 않습니다. 파라미터 {len(own)}개가 "
        f"{gradient} {verb}. detach(), 전달되지 않은 상태, 손실로 가는 도중 다른 값으로 바뀐 "
        "출력이 있는지 확인하십시오.",
    )


def _plain(subject: str, own: Sequence[ParameterFact], whole: bool) -> Said:
    zero = all(one.gradient == "zero" for one in own)
    got = "a gradient of exactly 0" if zero else "no gradient"
    gradient = "정확히 0인 기울기를 받았습니다" if zero else "기울기를 받지 못했습니다"
    which = names([one.name for one in own])
    if whole and subject and len(own) > 1:
        which = Said(
            f"the {counted(len(own))} of {subject!r}", f"{subject!r}의 파라미터 {len(own)}개"
        )
    why = (
        "An activation that is off for the whole batch, a mask, or an underflow on the way lets "
        "nothing through."
        if zero
        else "The loss does not depend on them through the graph: this is right for what another "
        "loss trains, and a mistake for the rest (a detach(), an output that is not used)."
    )
    warum = (
        "배치 전체에서 꺼진 활성화 함수, 마스크, 또는 도중의 언더플로가 기울기를 막습니다."
        if zero
        else "손실이 그래프를 통해 이 파라미터에 의존하지 않습니다. 다른 손실로 학습하는 "
        "부분이라면 정상이고, 아니라면 detach()나 사용되지 않은 출력이 있는지 확인하십시오."
    )
    return Said(
        f"This loss gives {which.english} {got}. {why}",
        f"이 손실에서 {which.korean}는 {gradient}. {warum}",
    )
