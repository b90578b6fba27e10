"""The arms of a treatment as a table of short texts, for a terminal and for a page."""

from __future__ import annotations

import math

from throughtime.trials.treatment.paired import UNTREATED
from throughtime.trials.treatment.result import Arm, Treated
from throughtime.trials.treatment.statistics import Comparison


def columns(treated: Treated) -> list[str]:
    """The headings. Where there is no criterion, nothing about solving."""
    solving = ["solved", "updates"] if treated.criterion else []
    return ["remedy", *solving, "loss", "difference", "p", "horizon"]


def row(treated: Treated, arm: Arm) -> list[str]:
    """The entries of an arm, under ``columns``; what does not apply is empty.

    ``p`` is that of the outcome which decides: solved, where there is a criterion, else the loss.
    """
    decides = arm.decisive
    solving = [f"{arm.solved}/{len(arm.ends)}", _number(arm.updates_needed)]
    return [
        "untreated" if arm.remedy == UNTREATED else arm.remedy,
        *(solving if treated.criterion else []),
        _loss(arm),
        _change(arm.loss_change),
        "" if decides is None else f"{decides.corrected:.2g}",
        _number(arm.horizon),
    ]


def _loss(arm: Arm) -> str:
    """The median; and how many diverged, if any."""
    if not arm.is_complete:
        return "no result"
    told = f"{arm.loss:.3g}" if math.isfinite(arm.loss) else ""
    diverged = f"{arm.diverged} diverged" if arm.diverged else ""
    return ", ".join(part for part in (told, diverged) if part)


def _change(change: Comparison | None) -> str:
    """The mean paired difference of the loss, and its interval."""
    if change is None:
        return ""
    interval = "" if change.low is None else f" ({change.low:+.2g} to {change.high:+.2g})"
    return f"{change.mean:+.2g}{interval}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
