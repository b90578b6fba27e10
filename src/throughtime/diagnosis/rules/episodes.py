"""Episodes: the state is reset within the run, and what lies before a reset is not measured."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.words import Said, finding, percent, steps
from throughtime.findings import Finding
from throughtime.trace import LayerTrace


def find(evidence: Evidence) -> Finding | None:
    """How long the episodes are, and how many pairs of a loss and a span they cut."""
    layer = evidence.layer
    began = None if layer is None else layer.began()
    if layer is None or layer.starts is None or began is None:
        return None
    span, cut = evidence.reach.span, _share_cut(layer, began, evidence.reach.span)
    lengths = _lengths(layer, began)
    figures = {
        "resets": int((layer.starts & layer.alive()).sum()),
        "sequences": layer.batch,
        "median_length_steps": float(lengths.float().median()),
        "longest_steps": int(lengths.max()),
        "cut_share": cut,
        "span_steps": span,
        "horizon_steps": evidence.reach.horizon,
    }
    return finding(
        "episodes", evidence.name, said(evidence.name, figures, evidence.reach.reaches_end), figures
    )


def _share_cut(layer: LayerTrace, began: Tensor, span: int) -> float | None:
    """The share of all pairs (loss step, the step a span before) with a reset in between."""
    sends = (layer.turned(layer.direct) != 0).any(-1) & layer.turned(layer.alive())
    pairs = sends[span:]
    if not pairs.any():
        return None
    earlier = torch.arange(len(pairs), device=pairs.device).unsqueeze(1)
    return float((began[span:] > earlier)[pairs].float().mean())


def _lengths(layer: LayerTrace, began: Tensor) -> Tensor:
    """The length of every episode."""
    alive = layer.turned(layer.alive())
    steps_of = torch.arange(layer.steps, device=began.device).unsqueeze(1)
    last = torch.ones_like(alive)
    last[:-1] = (began[1:] != began[:-1]) | ~alive[1:]
    return (steps_of - began + 1)[last & alive]


def said(name: str, figures: Mapping[str, float | int | None], reaches_end: bool) -> Said:
    """Where episodes end, how long they are, what is cut, and how far it reaches within one."""
    resets, sequences, horizon = (figures[key] for key in ("resets", "sequences", "horizon_steps"))
    median, cut, span = figures["median_length_steps"], figures["cut_share"], figures["span_steps"]
    places = "1 place" if resets == 1 else f"{resets} places"
    english = (
        f"The state of {name!r} is reset at {places} in "
        f"{sequences} sequence{'' if sequences == 1 else 's'}: the median episode has {median:g} "
        "steps. "
    )
    korean = (
        f"{name!r}의 상태가 시퀀스 {sequences}개에서 모두 {resets}번 초기화됩니다. 에피소드 길이의 "
        f"중앙값은 {median:g}스텝입니다. "
    )
    if cut is not None:
        english += f"{percent(cut)} of the pairs that lie {span} steps apart are cut by a reset, "
        english += "and are not measured. "
        korean += f"{span}스텝 떨어진 쌍의 {percent(cut)}는 초기화로 끊겨 측정에서 제외했습니다. "
    if isinstance(horizon, int):
        english += f"Within an episode the horizon is {'at least ' * reaches_end}{steps(horizon)}."
        korean += (
            f"에피소드 안에서 도달 거리(horizon)는 {'최소 ' * reaches_end}{horizon}스텝입니다."
        )
    return Said(english.strip(), korean.strip())
