"""Why: the layer that explains a verdict, its causes in order, how the lags share the update."""

from __future__ import annotations

import math

import numpy as np

from throughtime.findings import MISTAKES, Diagnosis, Finding, LayerDiagnosis
from throughtime.report import abridged, curves, reading, wording
from throughtime.report.language import say

WHOLE, AS_IT_IS = "whole", "as it is"
"""The entries of ``budget`` and ``counterfactuals`` that say what is, beside its parts."""

_MOST = 8  # causes of one kind: further layers with the same are findings like all others

_EXPLAINING = ("budget", "saturation", "gate histogram", "lyapunov", "eigenvalues", "contributions")


def explaining(diagnosis: Diagnosis) -> LayerDiagnosis | None:
    """The layer whose measurements explain the verdict.

    It is the one that decided; of a stack, whose layers were measured one by one, the layer that
    the first cause names, else the one with the shortest horizon. None where nothing is known.
    """
    decided = curves.deciding(diagnosis)
    if decided is not None and not curves.is_known(decided):
        return None
    if decided is None or _explained(decided):
        return decided
    named = {layer.name: layer for layer in reversed(diagnosis.layers)}
    first = [named[cause.subject] for cause in diagnosis.causes if cause.subject in named]
    shortest = sorted(diagnosis.layers, key=lambda one: _number(one.horizon))
    return next((layer for layer in (*first, *shortest) if _explained(layer)), decided)


def sentences(diagnosis: Diagnosis) -> list[Finding]:
    """The findings that explain the verdict, most important first, each sentence once.

    Of the budgets, only that of the layer whose measurements stand beside them.
    """
    layer, found = explaining(diagnosis), dict[str, Finding]()
    if layer is None and len(diagnosis.layers) == 1:
        layer = diagnosis.layers[0]
    for cause in diagnosis.causes:
        if cause.disease != "budget" or (layer is not None and cause.subject == layer.name):
            found.setdefault(cause.sentence, cause)
    return abridged.few(found.values(), _MOST)[0]


def opening(diagnosis: Diagnosis) -> list[Finding | Diagnosis]:
    """What is told first, in this order: the first mistake, if there is one, and the verdict."""
    first = next(iter(sentences(diagnosis)), None)
    if first is None or first.disease not in MISTAKES or first.sentence == diagnosis.sentence:
        return [diagnosis]
    return [first, diagnosis]


def needed(layer: LayerDiagnosis) -> float | None:
    """The slowest loss, in decades per step, at which less than 1 % is left at the span."""
    return wording.THRESHOLD / layer.span if layer.span > 0 else None


def reach_of_update(layer: LayerDiagnosis) -> str:
    """``Less than 1 % of the update … comes from more than 15 steps back``; empty if unknown.

    By the norm too: what cancels within an update is still there.
    """
    shares = reading.table(layer, "contributions", "figure", "bucket")
    if shares is None or not np.isfinite(shares.values).all():
        return ""
    largest = np.abs(shares.values).max(axis=0)
    beyond = largest[::-1].cumsum()[::-1]  # from each bucket on
    small = np.flatnonzero(beyond < 0.01)
    if not len(small) or small[0] == 0:
        return ""
    last = wording.clean(shares.columns[small[0] - 1]).rpartition("-")[2]
    return say(
        "Less than 1 % of the update of the recurrent weights comes from more than {lag} steps "
        "back: nothing older ever moves them.",
        lag=last,
    )


def asides(layer: LayerDiagnosis) -> list[str]:
    """What one line says better than a picture: the update, effective rank, directions."""
    return [line for line in (reach_of_update(layer), _rank(layer), _directions(layer)) if line]


def in_words(layer: LayerDiagnosis) -> list[str]:
    """The same where there are no pictures: what is stuck, exponents, W_hh and memory too."""
    lines = _stuck(layer), *asides(layer), _exponent(layer), _norms(layer), _capacity(layer)
    return [line for line in lines if line]


def stuck(layer: LayerDiagnosis) -> reading.Row | None:
    """The stuck share of each squashing function, over all units, steps and sequences."""
    table = reading.table(layer, "saturation", "squashing", "figure")
    if table is None or "stuck" not in table.columns:
        return None
    return reading.Row(table.rows, table.values[:, table.columns.index("stuck")])


def _stuck(layer: LayerDiagnosis) -> str:
    row = stuck(layer)
    if row is None:
        return ""
    pairs = zip(row.labels, row.values.tolist(), strict=True)
    shares = ", ".join(f"{name} {wording.share(value)}" for name, value in pairs)
    return say("Stuck: {shares}.", shares=shares)


def _exponent(layer: LayerDiagnosis) -> str:
    table = reading.table(layer, "lyapunov", "figure", "exponent")
    mean = None if table is None else table.get("mean")
    if mean is None or not np.isfinite(mean[0]):
        return ""
    return say(
        "Largest Lyapunov exponent: {number} nats per step, which is {decades} decades.",
        number=f"{mean[0]:+.3f}".replace("-", "−"),
        decades=wording.decades(mean[0] / math.log(10)),
    )


def _norms(layer: LayerDiagnosis) -> str:
    row = reading.row(layer, "norm condition", "figure")
    bound, measured = (
        None if row is None else row.get(f"{name}, decades per step")
        for name in ("bound", "measured")
    )
    if bound is None or measured is None:
        return ""
    return say(
        "The norm of W_hh allows at most {bound} decades per step; measured were {measured}.",
        bound=wording.decades(bound),
        measured=wording.decades(measured),
    )


def _capacity(layer: LayerDiagnosis) -> str:
    table = reading.table(layer, "memory capacity", "figure", "lag")
    held, baseline = (None if table is None else table.get(n) for n in ("held out", "baseline"))
    if held is None or baseline is None or not np.isfinite([held, baseline]).any():
        return ""
    return say(
        "Memory capacity (R² over all lags): {held} inputs from the state, {baseline} from the "
        "present input alone.",
        held=f"{np.nansum(np.clip(held, 0, 1)):.1f}",
        baseline=f"{np.nansum(np.clip(baseline, 0, 1)):.1f}",
    )


def _rank(layer: LayerDiagnosis) -> str:
    row = reading.row(layer, "effective rank", "figure")
    rank, size = (None, None) if row is None else (row.get("effective rank"), row.get("state size"))
    if rank is None or size is None:
        return ""
    return say(
        "The states fill {rank} of their {size} directions (effective rank).",
        rank=f"{rank:.1f}",
        size=f"{size:,.0f}",
    )


def _directions(layer: LayerDiagnosis) -> str:
    row = reading.row(layer, "directions", "figure")
    asked, left = (None, None) if row is None else (row.get("asked"), row.get("left"))
    if asked is None or left is None:
        return ""
    return say(
        "The losses ask for {asked} directions of the state, and after the span {left} of them "
        "are left (participation ratio).",
        asked=f"{asked:.1f}",
        left=f"{left:.1f}",
    )


def _explained(layer: LayerDiagnosis) -> bool:
    return any(layer.measurement(name) is not None for name in _EXPLAINING)


def _number(horizon: int | None) -> float:
    return math.inf if horizon is None else horizon
