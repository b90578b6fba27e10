"""The page of a treatment: every pair of loss curves, and the patch, for the report's multiples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from throughtime.errors import counted
from throughtime.report.multiples import (
    Fate,
    Line,
    Listing,
    Multiples,
    Overview,
    Panel,
    PanelRow,
    render_multiples,
)
from throughtime.trials.treatment.paired import UNTREATED
from throughtime.trials.treatment.patch import Patch
from throughtime.trials.treatment.result import Arm, End, Treated
from throughtime.trials.treatment.table import columns, row

Result = Mapping[str, Any]


def page(treated: Treated, results: Sequence[Sequence[Result]], saved: str) -> str:
    """The page as HTML.

    Args:
        treated: what the trials came to.
        results: of each trial, arm by arm, as they are recorded: they hold the curves.
        saved: the name under which the patch is saved.
    """
    arms = list(zip(treated.arms, results, strict=True))
    tried = arms[1:] or arms
    return render_multiples(
        Multiples(
            title=treated.subject,
            lead=treated.verdict,
            updates=treated.steps,
            rows=[_panels(arm, found, arms[0]) for arm, found in tried],
            overview=Overview(
                ("remedy",),
                columns(treated)[1:],
                [(_name(arm),) for arm in treated.arms],
                [row(treated, arm)[1:] for arm in treated.arms],
                _about(treated),
            ),
            facts=_facts(treated),
            troubles=_troubles(treated),
            files=[(name, name) for name in treated.files if not name.endswith(".html")],
            question="does a remedy help?",
            notes=[*treated.evidence, *treated.notes],
            beside="the untreated model, from the same seed" if arms[1:] else "",
            listings=[] if treated.patch is None else [_listing(treated.patch, saved)],
        )
    )


def _listing(patch: Patch, saved: str) -> Listing:
    """The patch, or the lines and why they are no patch."""
    if patch.diff is None:
        about = f"{patch.file} is not patched, since {patch.reason}. Add these lines to it."
        return Listing("The lines to add", about, patch.lines)
    about = f"Apply it with  {patch.command(saved)}"
    return Listing(
        "The patch to apply", about, [line.expandtabs(4) for line in patch.diff.splitlines()]
    )


def _panels(arm: Arm, found: Sequence[Result], first: tuple[Arm, Sequence[Result]]) -> PanelRow:
    untreated, before = first
    panels = []
    for end, result, other, earlier in zip(arm.ends, found, untreated.ends, before, strict=True):
        lines = [] if arm is untreated else [_line(other, earlier, beside=True)]
        lines.append(_line(end, result))
        level = result.get("trivial_loss")
        panels.append(Panel(f"seed {end.seed}", _note(end), lines, level))
    return PanelRow("Seed by seed", _name(arm), panels)


def _line(end: End, result: Result, *, beside: bool = False) -> Line:
    points = [(int(step), float(loss)) for step, loss in result.get("curve", ())]
    return Line(f"seed {end.seed}", points, _fate(end), end.solved_at, beside)


def _fate(end: End) -> Fate:
    if end.status == "diverged":
        return "diverged"
    if not end.has_result:
        return "unfinished"
    return "solved" if end.solved else "unsolved"


def _note(end: End) -> str:
    if not end.has_result:
        return end.status
    if end.status == "diverged":
        return f"diverged after {counted(end.updates, 'update')}"
    solved = "" if end.solved is None else "solved, " if end.solved else "not solved, "
    return f"{solved}loss {end.loss:.3g}"


def _name(arm: Arm) -> str:
    return "untreated" if arm.remedy == UNTREATED else arm.remedy


def _about(treated: Treated) -> str:
    criterion = treated.criterion
    solved = f"Solved means: {criterion}, after the last update. " if criterion else ""
    return (
        f"{solved}Loss: {treated.loss_name}, the median over the seeds. Difference: the mean over "
        "the pairs, with its 95 % bootstrap interval. p: one-sided paired permutation test, "
        "corrected for the number of remedies (Holm); up to 0.05 a remedy helped."
    )


def _facts(treated: Treated) -> list[tuple[str, str]]:
    few = len(treated.seeds) <= 8
    seeds = ", ".join(map(str, treated.seeds)) if few else f"{len(treated.seeds)}"
    return [
        ("Looks back", counted(treated.span, "step")),
        ("Updates", f"{treated.steps:,}"),
        ("Seeds", seeds),
    ]


def _troubles(treated: Treated) -> list[tuple[str, str]]:
    return [
        (f"{_name(arm)}, seed {end.seed}", f"{end.status}: {end.reason}")
        for arm in treated.arms
        for end in arm.ends
        if end.reason
    ]
