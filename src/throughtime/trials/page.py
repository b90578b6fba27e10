"""The page of a sweep: its results as plain data for the report's small multiples."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from throughtime.report.multiples import (
    Fate,
    Line,
    Multiples,
    Overview,
    Panel,
    PanelRow,
    render_multiples,
)
from throughtime.trials.one import result_of, run_path
from throughtime.trials.setting import Setting
from throughtime.trials.summary import counts, summarise
from throughtime.trials.table import Row

_FATES: dict[str | None, Fate] = {
    "solved": "solved",
    "done": "unsolved",
    "diverged": "diverged",
    "failed": "diverged",
}
_NO_RESULT = ("diverged", "failed", "busy", "stopped")


def page(
    settings: Sequence[Setting], folder: Path, rows: Sequence[Row], files: Sequence[tuple[str, str]]
) -> str:
    """The page as HTML.

    Args:
        settings: of the grid.
        folder: the sweep's directory, where the curves are.
        rows: of the table, in the order of the settings.
        files: (name, path relative to ``folder``) of what lies beside the page.
    """
    first, summary = settings[0], summarise(rows)
    curves = {
        row["run"]: _line(setting, folder, row) for setting, row in zip(settings, rows, strict=True)
    }
    arms = [
        PanelRow(
            cell,
            remedy,
            [_panel(length, _of(rows, cell, remedy, length), curves) for length in summary.lengths],
        )
        for cell, remedy in summary.rows
    ]
    return render_multiples(
        Multiples(
            title=f"{first.task}{'' if first.variant is None else f', {first.variant}'}",
            lead=_lead(rows),
            updates=first.steps,
            rows=arms,
            overview=Overview(
                ("cell", "remedy"),
                [f"length {length}" for length in summary.lengths],
                summary.rows,
                summary.entries,
                f"{summary.means.capitalize()}, by length.",
            ),
            facts=_facts(settings, rows),
            troubles=_troubles(rows),
            files=files,
        )
    )


def _lead(rows: Sequence[Row]) -> str:
    criterion = next((row["criterion"] for row in rows if row["criterion"]), None)
    paired = "For one seed, every remedy changes the same first weights and reads the same batches."
    if criterion is None:
        return f"{paired} The task has no bound at which it counts as solved."
    return f"Solved means: {criterion}, on data kept apart from training. {paired}"


def _facts(settings: Sequence[Setting], rows: Sequence[Row]) -> list[tuple[str, str]]:
    first = settings[0]
    seeds = list(dict.fromkeys(setting.seed for setting in settings))
    ends = ", ".join(f"{number} {end}" for end, number in counts(rows).items())
    return [
        ("Settings", f"{len(settings):,}: {ends}"),
        ("Seeds", ", ".join(map(str, seeds)) if len(seeds) <= 8 else f"{len(seeds)}"),
        ("Updates", f"{first.steps:,}"),
        ("Hidden units", f"{first.hidden:,}"),
    ]


def _troubles(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Each reason once, beside the settings that it kept from a result."""
    kept: dict[str, list[str]] = {}
    for row in rows:
        if row["status"] in _NO_RESULT:
            name = row["run"].rpartition("/")[2]
            kept.setdefault(f"{row['status']}: {row['reason']}", []).append(name)
    more = {reason: len(names) - 1 for reason, names in kept.items()}
    return [
        (f"{names[0]} and {more[reason]} more" if more[reason] else names[0], reason)
        for reason, names in kept.items()
    ]


def _of(rows: Sequence[Row], cell: str, remedy: str, length: int) -> list[Row]:
    wanted = (cell, remedy, length)
    return [row for row in rows if (row["cell"], row["remedy"], row["length"]) == wanted]


def _line(setting: Setting, folder: Path, row: Row) -> Line:
    result = result_of(run_path(folder, setting)) or {}
    points = [(int(step), float(loss)) for step, loss in result.get("curve", [])]
    fate = _FATES.get(row["status"], "unfinished")
    return Line(f"seed {setting.seed}", points, fate, row["solved_at"])


def _panel(length: int, seeds: Sequence[Row], curves: dict[str, Line]) -> Panel:
    said = []
    if any(row["criterion"] for row in seeds):
        solved = sum(row["solved_at"] is not None for row in seeds)
        said.append(f"{solved} of {len(seeds)} solved")
    horizons = [row["horizon"] for row in seeds if row["horizon"] is not None]
    spans = [row["span"] for row in seeds if row["span"] is not None]
    if horizons and spans:
        said.append(f"horizon {statistics.median_low(horizons)} of {spans[0]}")
    level = next((row["trivial_loss"] for row in seeds if row["trivial_loss"] is not None), None)
    return Panel(f"length {length}", ", ".join(said), [curves[row["run"]] for row in seeds], level)
