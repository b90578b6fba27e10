"""Weights changed: the forward pass itself wrote into a parameter, or put another in its place."""

from __future__ import annotations

from collections.abc import Iterator

from throughtime.diagnosis.mistakes.view import View
from throughtime.diagnosis.mistakes.wording import names
from throughtime.diagnosis.words import Said, finding
from throughtime.findings import Finding


def find(view: View) -> Iterator[Finding]:
    """A trainable parameter does not hold after the forward pass what it held before."""
    facts = view.trace.facts
    for how in ("written", "replaced"):
        found = [p.name for p in facts.parameters if p.changed == how and p.requires_grad]
        if found:
            words = _written(found) if how == "written" else _replaced(found)
            after = _after(facts.put_back)
            both = Said(f"{words.english} {after.english}", f"{words.korean} {after.korean}")
            evidence = {"parameters": tuple(found), "how": how, "put_back": facts.put_back}
            yield finding("weights changed", found[0], both, evidence)


def _written(found: list[str]) -> Said:
    which = names(found)
    return Said(
        f"The forward pass writes into {which.english}: every pass changes the weights, without "
        "the optimizer and outside the graph (.data, no_grad, an in-place function, "
        "load_state_dict). Compute a new tensor instead, for example through "
        "torch.nn.utils.parametrize.",
        f"순전파가 {which.korean}에 값을 씁니다. 옵티마이저와 무관하게, 그래프 밖에서(.data, "
        "no_grad, in-place 연산, load_state_dict) 매번 가중치가 바뀝니다. 대신 "
        "torch.nn.utils.parametrize 등으로 새 텐서를 계산하십시오.",
    )


def _replaced(found: list[str]) -> Said:
    which = names(found)
    return Said(
        f"The forward pass puts a new parameter in the place of {which.english}: the optimizer "
        "still holds the old one, so that nothing learns. Assign a plain tensor, or use "
        "torch.nn.utils.parametrize.",
        f"순전파가 {which.korean} 자리에 새 파라미터를 넣습니다. 옵티마이저는 이전 파라미터를 "
        "가지고 있으므로 학습되지 않습니다. 일반 텐서를 대입하거나 torch.nn.utils.parametrize를 "
        "사용하십시오.",
    )


def _after(put_back: bool) -> Said:
    if put_back:
        return Said(
            "After this measurement the weights are as they were before it.",
            "이번 측정 후 가중치를 이전 값으로 되돌려 놓았습니다.",
        )
    return Said(
        "The weights are left as the forward pass made them.",
        "가중치는 순전파가 바꾼 그대로 남아 있습니다.",
    )
