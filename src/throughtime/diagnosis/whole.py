"""From the diagnoses of the layers to that of the model: which of them decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from throughtime.diagnosis.words import Said, finding, steps
from throughtime.findings import Finding, LayerDiagnosis
from throughtime.measures.lags import stack_of
from throughtime.trace import Trace

# From the worst to the best; the whole is as bad as the worst that it depends on.
_SEVERITY = ("non-finite", "exploding", "vanishing", "unknown", "healthy")

_AND = " + "  # between the names of layers in series
_DOTS = "…"
_MOST = 6  # layers that are named one by one

# What a layer may have without harm to what it is a part of.
_OF_ONE_LAYER = (
    "exploding", "vanishing", "gates closed", "saturated", "transient growth", "bottleneck",
    "too short", "no gradient", "other routes",
)  # fmt: skip  # a list, not a column


def deciding(
    trace: Trace, layers: Sequence[LayerDiagnosis], jointly: Sequence[LayerDiagnosis] = ()
) -> list[LayerDiagnosis]:
    """What the whole depends on: layers, and for layers in series one row for all of them.

    ``jointly``: rows of layers that were measured together; where there is one, it decides.

    A single step never decides, nor does a layer that the loss never reads, unless there is
    nothing else; nor one that is a part of a loop whose row speaks for it.
    """
    length = {layer.name: layer.steps for layer in trace if not layer.within}
    running = [one for one in layers if length.get(one.name, 0) > 1]
    running = running or [one for one in layers if one.name in length] or list(layers)
    running = [one for one in running if not _unread(one)] or running
    taken = {name for row in jointly for name in _members(row, trace)}
    running = [one for one in running if one.name not in taken or one.verdict == "non-finite"]
    names = {one.name for one in running}
    groups = _connected(names, [pair for pair in trace.feeds if set(pair) <= names])
    found: list[LayerDiagnosis] = list(jointly)
    for group in groups:
        members = [one for one in running if one.name in group]
        found += members if len(members) == 1 else [_series(members)]
    return found


def severity(one: LayerDiagnosis) -> tuple[int, bool, float]:
    """The gravest first; of broken layers the one where it began, not those where it spread to."""
    horizon = float("inf") if one.horizon is None else one.horizon
    spread = any("origin_layer" in finding.evidence for finding in one.findings)
    return _SEVERITY.index(one.verdict), spread, horizon


def findings(
    trace: Trace, layers: Sequence[LayerDiagnosis], rows: Sequence[LayerDiagnosis]
) -> tuple[Finding, ...]:
    """Those of all layers and rows; of the layers of a row not what ails one and not the row.

    A dependency that dies in one layer may travel back through another.
    """
    above = {name: row for row in rows for name in _members(row, trace)}
    by_name = {one.name: one for one in layers}
    above |= {layer.name: by_name[layer.within] for layer in trace if layer.within in by_name}
    found: list[Finding] = []
    for one in layers:
        row = above.get(one.name)
        harmless: tuple[str, ...] = ()
        if row is not None:
            harmless = _OF_ONE_LAYER if one.verdict != row.verdict else ("bottleneck",)
            if row.kind == "stack" and row.checked_by:  # held to autograd as a whole
                harmless = (*harmless, "check failed")
        found += [finding for finding in one.findings if finding.disease not in harmless]
    for row in rows:
        found += row.findings
    return tuple(found)


def _members(row: LayerDiagnosis, trace: Trace) -> tuple[str, ...]:
    """The names of the layers that a row stands for."""
    if row.kind == "stack" and not trace.joints:
        return tuple(layer.name for layer in stack_of(trace)[0])
    first, *others = row.name.split(_AND)
    if others[:1] != [_DOTS]:
        return (first, *others)
    groups = _connected({layer.name for layer in trace}, trace.feeds)
    return tuple(next(group for group in groups if first in group))


def _unread(one: LayerDiagnosis) -> bool:
    return any(finding.disease == "no gradient" for finding in one.findings)


def _connected(names: set[str], pairs: Sequence[tuple[str, str]]) -> list[set[str]]:
    """The groups of layers that read one another, directly or through others."""
    groups = [{name} for name in sorted(names)]
    for pair in pairs:
        joint = [group for group in groups if group & set(pair)]
        groups = [group for group in groups if not group & set(pair)] + [set().union(*joint)]
    return groups


def _series(members: Sequence[LayerDiagnosis]) -> LayerDiagnosis:
    """Layers in series as one: a dependency takes the best way through them.

    At least that of the best layer, if that is far enough; else what lies between them decides,
    and it was not measured. One that explodes or is not finite spoils the whole.
    """
    worst = min(members, key=severity)
    name = _joined([one.name for one in members])
    if worst.verdict in ("non-finite", "exploding"):
        return worst
    best = max(members, key=severity)
    if best.verdict == "healthy":
        said = _at_least(best)
        return replace(
            best, name=name, kind="series", findings=(), measurements=(),
            sentence=said.english, korean=said.korean,
        )  # fmt: skip  # a list, not a column
    if len({one.verdict for one in members}) == 1 and best.verdict == "unknown":
        return worst
    said = _undecided(members, best)
    reason = finding("series", name, said, {"best_layer": best.name, "span_steps": best.span})
    return replace(
        best, name=name, kind="series", verdict="unknown", rate=None, horizon=None,
        reaches_end=False, gain_at_span=None, findings=(reason,), measurements=(),
        sentence=said.english, korean=said.korean, verified=None,
        unverified_because="the layers were measured one by one", checked_by="",
    )  # fmt: skip  # a list, not a column


def _joined(names: Sequence[str]) -> str:
    return _AND.join(names if len(names) <= _MOST else (names[0], _DOTS, names[-1]))


def _at_least(best: LayerDiagnosis) -> Said:
    horizon = 0 if best.horizon is None else min(best.horizon, best.span)
    return Said(
        f"The gradient still counts after {steps(horizon)}: of the layers in series "
        f"{best.name!r} carries it that far, and the whole reaches at least as far.",
        f"기울기는 {horizon}스텝 전까지 살아 있습니다. 직렬로 이어진 층 가운데 {best.name!r}이 "
        "그만큼 전달하며 전체는 적어도 그만큼 도달합니다.",
    )


def _undecided(members: Sequence[LayerDiagnosis], best: LayerDiagnosis) -> Said:
    if len(members) > _MOST:
        return _best_of_many(members, best)
    alone = ", ".join(
        f"{one.name!r} {'?' if one.horizon is None else one.horizon}" for one in members
    )
    return Said(
        f"These layers lie in series, and were measured one by one: alone they reach back "
        f"{alone} of {steps(best.span)}. A dependency may change layers on its way, so the whole "
        "reaches at least as far as the best of them; whether it reaches the span is not known.",
        f"직렬로 이어진 층을 하나씩 쟀습니다. 따로 도달하는 거리는 {best.span}스텝 가운데 "
        f"{alone}입니다. 의존성은 도중에 층을 옮겨 갈 수 있으므로 전체는 적어도 가장 나은 층만큼 "
        "도달합니다. 필요한 거리까지 도달하는지는 알 수 없습니다.",
    )


def _best_of_many(members: Sequence[LayerDiagnosis], best: LayerDiagnosis) -> Said:
    far = "?" if best.horizon is None else best.horizon
    return Said(
        f"These {len(members)} layers lie in series, and were measured one by one: the best of "
        f"them, {best.name!r}, reaches back {far} of {steps(best.span)}. A dependency may change "
        "layers on its way, so the whole reaches at least that far; whether it reaches the span "
        "is not known.",
        f"직렬로 이어진 층 {len(members)}개를 하나씩 쟀습니다. 가장 나은 {best.name!r}은 "
        f"{best.span}스텝 가운데 {far}스텝 전까지 도달합니다. 의존성은 도중에 층을 옮겨 갈 수 "
        "있으므로 전체는 적어도 그만큼 도달합니다. 필요한 거리까지 도달하는지는 알 수 없습니다.",
    )
