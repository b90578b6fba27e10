"""Another route than the recurrence: what it carries, and what a verdict must not say then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from throughtime.diagnosis.reach import VANISHED
from throughtime.diagnosis.rules.vanishing import ENDINGS, OPENING
from throughtime.diagnosis.words import Said, finding, percent, steps, ten_to
from throughtime.errors import plain
from throughtime.findings import Finding, LayerDiagnosis, Measurement
from throughtime.measures import routes
from throughtime.trace import LayerTrace

# Decades by which the two gains must differ at some lag to be shown side by side.
_DIFFERENT = 0.1


def measured(layer: LayerTrace) -> Measurement | None:
    """The gain by every route beside that of the recurrence; None where they do not differ."""
    if not layer.routes:
        return None
    found = routes(layer)
    alone, every = _medians(found)
    with np.errstate(invalid="ignore"):  # −inf − −inf where nothing arrives by either
        differ = np.isfinite(every) & ~(np.abs(every - alone) <= _DIFFERENT)
    return found if differ[1:].any() else None


def found_in(layer: LayerTrace, found: Measurement, span: int) -> Finding:
    """What arrives at the span, or at the longest lag, by every route."""
    alone, every = _medians(found)
    known = np.flatnonzero(~np.isnan(every))
    lag = min(span, int(known[-1]))
    far = np.flatnonzero(every >= VANISHED)
    horizon = int(far[-1]) if len(far) else 0
    target = plain(layer.routes[0].target)
    said = _said(layer.name, lag, float(every[lag]), float(alone[lag]), target)
    evidence = {
        "lag_steps": lag,
        "log10_gain_every_route": float(every[lag]),
        "log10_gain_recurrence": float(alone[lag]),
        "horizon_every_route_steps": horizon,
        "loss_read_at": target,
    }
    return finding("every route", layer.name, said, evidence)


def told(one: LayerDiagnosis, found: Sequence[Finding]) -> LayerDiagnosis:
    """The diagnosis, its verdict on the recurrence worded as that where another route carries."""
    carrying = next((note for note in found if carries(note, one.span)), None)
    if carrying is None or one.verdict != "vanishing" or carrying.sentence in one.sentence:
        return one
    before = Said(one.sentence, one.korean)
    after = Said(_past(one.sentence, 0, carrying.sentence), _past(one.korean, 1, carrying.korean))
    findings = tuple(
        replace(other, sentence=after.english, korean=after.korean)
        if other.sentence == before.english
        else other
        for other in one.findings
    )
    return replace(one, sentence=after.english, korean=after.korean, findings=findings)


def carries(note: Finding, span: int) -> bool:
    """Whether at least 1 % arrives at the span by another route than the recurrence."""
    evidence = note.evidence
    return (
        note.disease == "every route"
        and evidence["lag_steps"] >= span
        and evidence["log10_gain_every_route"] >= VANISHED
    )


def _past(sentence: str, language: int, carrying: str) -> str:
    """The sentence of a vanishing gain, of the recurrence alone, and what arrives otherwise."""
    for ending in ENDINGS:
        sentence = sentence.removesuffix(ending[language]).rstrip(" :")
    opening = OPENING[language]
    through = ("On its way back through the recurrence the gradient", "기울기는 순환을 따라")
    if sentence.startswith(opening):
        sentence = through[language] + sentence[len(opening) :]
    stop = "" if sentence.endswith(".") else "."
    return f"{sentence}{stop} {carrying}"


def _said(name: str, lag: int, every: float, alone: float, target: str) -> Said:
    arrives, recurrence = _share(every), _share(alone)
    return Said(
        "More goes past the recurrence, by attention, pooling, a skip, a memory or another layer "
        f"before {target}: by every route {arrives.english} is left in the state of {name!r} "
        f"{steps(lag)} back, and {recurrence.english} through the recurrence alone.",
        f"{_korean(target)} 앞의 어텐션, 풀링, 스킵, 메모리, 다른 층처럼 순환을 거치지 않는 "
        f"경로로 더 많이 전달됩니다. {lag}스텝 앞선 {name!r}의 상태에 모든 경로를 합하면 "
        f"{arrives.korean}, 순환만으로는 {recurrence.korean}만큼 남습니다.",
    )


def _korean(target: str) -> str:
    return "모델의 출력" if target == "the model's output" else target


def _share(log10: float) -> Said:
    """What is left of it, as a share or a factor."""
    if log10 == float("-inf"):
        return Said("nothing", "0")
    if log10 > 0.005:
        factor = f"{10**log10:.1f}" if log10 < 2 else ten_to(log10)
        return Said(f"{factor} times as much", f"{factor}배")
    left = percent(10**log10) if log10 > -2.3 else ten_to(log10)
    return Said(left, left)


def _medians(found: Measurement) -> tuple[np.ndarray, np.ndarray]:
    """The recurrence's, and that by every route, by lag."""
    values, middle = np.asarray(found.values), found.coords["quantile"].index(0.5)
    return values[0, middle], values[1, middle]
