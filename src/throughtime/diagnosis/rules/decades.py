"""Where the decades go: the budget of one step in one sentence. No disease, the explanation of one.

"−0.24 decades a step: −0.09 by the nonlinearity, −0.15 by the recurrent matrix; with W_hh
orthogonal it would be −0.10."
"""

from __future__ import annotations

import numpy as np

from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.words import Said, finding, percent, signed
from throughtime.findings import Finding, Measurement

# Decades per step, and the share of the rate, by which the two may differ without a word.
_APART, _APART_SHARE = 0.05, 0.3

_STAGES = {
    "nonlinearity": Said("the nonlinearity", "비선형 함수"),
    "recurrent matrix": Said("the recurrent matrix", "순환 행렬"),
    "projection": Said("the projection", "사영"),
    "read-out": Said("the read-out of c", "c의 출력 tanh"),
    "gates": Said("the gates", "게이트"),
    "reset": Said("the reset gate", "리셋 게이트"),
    "step": Said("the step", "스텝"),
    "decay": Said("the decay", "감쇠"),
    "delta": Said("the delta rule", "델타 규칙"),
    "between the steps": Said(
        "what is done to the state between the steps", "스텝 사이의 상태 변경"
    ),
}
_CHANGES = {
    "forget gate at 1": Said("with the forget gate at 1", "망각 게이트가 1이라면"),
    "update gate at 1": Said("with the update gate at 1", "업데이트 게이트가 1이라면"),
    "no way through the gates": Said(
        "with no way through the gates", "게이트를 지나는 길이 없다면"
    ),
    "no squashing": Said("with the slope of tanh at 1", "tanh의 기울기가 1이라면"),
    "W_hh orthogonal": Said("with W_hh orthogonal", "W_hh가 직교 행렬이라면"),
    "no erasing": Said(
        "with nothing erased by the delta rule", "델타 규칙이 아무것도 지우지 않는다면"
    ),
}


def find(evidence: Evidence) -> Finding | None:
    """The budget, wherever there is one; its counterfactuals where something is wrong."""
    if evidence.budget is None or not np.isfinite(np.asarray(evidence.budget.values)).all():
        return None
    parts, shares = _named(evidence.budget), _named(evidence.paths)
    changes = _named(evidence.counterfactuals)
    figures = {
        "decades_per_step": parts,
        "path_shares": shares,
        "decades_per_step_if": {name: rate for name, rate in changes.items() if name in _CHANGES},
    }
    told = said(parts, shares, changes)
    for more in (_apart(evidence, parts["whole"]), _drawn(evidence)):
        told = Said(told.english + more.english, told.korean + more.korean)
    return finding("budget", evidence.name, told, figures)


def _apart(evidence: Evidence, whole: float) -> Said:
    """Why the budget is another number than the rate, where it is."""
    rate = evidence.reach.rate
    if rate is None or abs(whole - rate) <= max(_APART, _APART_SHARE * abs(rate)):
        return Said("", "")
    assert evidence.ledger is not None
    book = evidence.ledger.book
    if died := int(book.died.sum()):
        of = book.died.numel()
        return Said(
            f" The rate of the median is {signed(rate)}: {died} of {of} paths end in an exact "
            "zero, and the budget counts them up to there.",
            f" 중앙값의 변화율은 {signed(rate)}입니다. 경로 {of}개 중 {died}개가 정확히 0에서 "
            "끝나며, 내역은 그 앞까지만 셉니다.",
        )
    return Said(
        f" The rate of the median is {signed(rate)}: a line through all its lags, where the budget "
        "is the mean over single paths.",
        f" 중앙값의 변화율은 {signed(rate)}입니다. 변화율은 모든 시차를 지나는 직선이고 내역은 "
        "개별 경로의 평균입니다.",
    )


def _drawn(evidence: Evidence) -> Said:
    """From how many sequences it comes, where these are not all."""
    drawn, whole = evidence.sequences
    if drawn == whole:
        return Said("", "")
    return Said(
        f" (From {drawn} of {whole} sequences, drawn by lot.)",
        f" (시퀀스 {whole}개 중 {drawn}개를 뽑아 계산했습니다.)",
    )


def said(parts: dict[str, float], shares: dict[str, float], changes: dict[str, float]) -> Said:
    """The whole, its parts, the share of the carousel, and the change that would help the most."""
    whole = parts["whole"]
    each = [
        (signed(rate), _STAGES.get(name, Said(name, name)))
        for name, rate in parts.items()
        if name != "whole"
    ]
    english = f"{signed(whole)} decades a step: " + ", ".join(
        f"{r} by {s.english}" for r, s in each
    )
    korean = f"스텝마다 {signed(whole)} 자릿수: " + ", ".join(f"{s.korean} {r}" for r, s in each)
    if "carousel" in shares:
        english += f"; {percent(shares['carousel'])} of it came along the carousel"
        korean += f"; 그중 {percent(shares['carousel'])}는 캐러셀을 따라왔음"
    known = {name: rate for name, rate in changes.items() if name in _CHANGES}
    if known:
        best = min(known, key=lambda name: abs(known[name]))
        if abs(known[best]) < abs(whole):
            english += f"; {_CHANGES[best].english} it would be {signed(known[best])}"
            korean += f"; {_CHANGES[best].korean} {signed(known[best])}"
    return Said(english + ".", korean + ".")


def _named(found: Measurement | None) -> dict[str, float]:
    if found is None:
        return {}
    return dict(zip(found.coords[found.axes[0]], np.asarray(found.values).tolist(), strict=True))
