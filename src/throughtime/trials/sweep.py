"""``sweep``: every setting of a grid, and the results as a table and a page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from throughtime.errors import MissingExtraError
from throughtime.files import write_atomically
from throughtime.runs.lock import one_at_a_time
from throughtime.trials import page, table
from throughtime.trials.grid import Grid
from throughtime.trials.one import Outcome
from throughtime.trials.setting import Setting
from throughtime.trials.study import carry_out, prepared
from throughtime.trials.trial import Trial

SIGN, CSV, PARQUET, PAGE = "sweep.json", "results.csv", "results.parquet", "index.html"


@dataclass(frozen=True)
class Sweep:
    """A sweep that has come to its end.

    Attributes:
        folder: its directory.
        rows: one for each setting of the grid.
        files: what was written, relative to ``folder``.
    """

    folder: Path
    rows: tuple[table.Row, ...]
    files: tuple[str, ...]


def sweep(
    grid: Grid,
    folder: str | os.PathLike[str],
    *,
    jobs: int | None = None,
    cluster: str | None = None,
    progress: bool = False,
) -> Sweep:
    """Run every setting of a grid that is not finished in ``folder``, and write the results there.

    Two sweeps may share a directory: neither runs what the other does. Settings of other grids that
    are there already stay, and are not in the results.

    Args:
        grid: from ``read_grid``.
        folder: the sweep's directory, new or that of an earlier sweep.
        jobs: processes on this machine; None for one on each core.
        cluster: address of a Dask scheduler, instead of processes here.
        progress: show it on standard error.

    Raises:
        RunError: the directory holds something else, or cannot be written.
        InputError: ``jobs`` or ``cluster`` is out of range.
        MissingExtraError, ClusterError: there is no such cluster.
        StorageError: the results could not be written.
    """
    place = prepared(Path(folder).absolute(), SIGN, "a sweep", (CSV, PARQUET, PAGE))
    left = carry_out(grid.settings, place, jobs=jobs, cluster=cluster, progress=progress)
    return _written(grid.settings, place, left)


def _written(settings: Sequence[Setting], folder: Path, left: Mapping[Trial, Outcome]) -> Sweep:
    """Read all results and write them; of two sweeps that end, one after the other."""
    with one_at_a_time(folder):
        rows = table.rows(settings, folder, left)
        files = {"All results": CSV}
        table.write_csv(rows, folder / CSV)
        with suppress(MissingExtraError):
            table.write_parquet(rows, folder / PARQUET)
            files["The same as Parquet"] = PARQUET
        html = page.page(settings, folder, rows, list(files.items()))
        write_atomically(folder / PAGE, html)
    return Sweep(folder, tuple(rows), (*files.values(), PAGE))
