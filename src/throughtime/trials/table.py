"""The results of a sweep as one table: a row for each setting, read from the run directories."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from throughtime.errors import MissingExtraError
from throughtime.files import write_atomically
from throughtime.trials.one import RUNS, Outcome, known_of
from throughtime.trials.setting import Setting
from throughtime.trials.trial import Trial

Row = dict[str, Any]

SETTING: dict[str, type] = {
    "task": str, "variant": str, "cell": str, "remedy": str, "length": int, "seed": int,
    "steps": int, "hidden": int, "batch": int, "lr": float, "schedule": str, "clip": float,
    "window": int,
}  # fmt: skip  # rows of a table
RESULT: dict[str, type] = {
    "status": str, "updates": int, "loss": float, "trivial_loss": float, "criterion": str,
    "solved_at": int, "span": int, "horizon": int, "clipped": float, "seconds": float,
    "reason": str,
}  # fmt: skip  # rows of a table
SCORE = "score_"
"""Before the name of a score: ``score_loss``."""


def rows(settings: Sequence[Setting], folder: Path, left: Mapping[Trial, Outcome]) -> list[Row]:
    """One row for each setting: its axes, what came of it, and ``run``, relative to ``folder``.

    Args:
        settings: of the grid.
        folder: the sweep's directory.
        left: how workers left what has no result.
    """
    found = []
    for setting in settings:
        result = known_of(setting, folder, left) or {}
        facts = setting.facts
        row: Row = {name: facts[name] for name in SETTING}
        row |= {name: _printable(result.get(name)) for name in RESULT}
        scores = result.get("scores", {}).items()
        row |= {_printable(f"{SCORE}{name}"): value for name, value in scores}
        found.append({**row, "run": f"{RUNS}/{setting.key}"})
    return found


def _printable(value: Any) -> Any:
    """A text as UTF-8 can hold it: a file name in a reason may not be."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def columns(table: Sequence[Row]) -> dict[str, type]:
    """The columns of a table and the type of each; any value may be missing."""
    scores = dict.fromkeys((name for row in table for name in row if name.startswith(SCORE)), float)
    return {**SETTING, **RESULT, **scores, "run": str}


def write_csv(table: Sequence[Row], path: Path) -> Path:
    """Write it, whole or not at all; a missing value is empty.

    Raises ``StorageError`` if the disk is full.
    """
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns(table), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return write_atomically(path, out.getvalue())


def write_parquet(table: Sequence[Row], path: Path) -> Path:
    """Write the same table as Parquet; a missing value is null.

    Raises ``MissingExtraError`` if pyarrow is not installed, ``StorageError`` if the disk is full.
    """
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise MissingExtraError("pyarrow") from None
    kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64()}
    values = {
        name: arrow.array([row.get(name) for row in table], kinds[kind])
        for name, kind in columns(table).items()
    }
    sink = arrow.BufferOutputStream()
    parquet.write_table(arrow.table(values), sink)
    return write_atomically(path, sink.getvalue().to_pybytes())
