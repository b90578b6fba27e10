"""The command that tries every remedy on every setting: sweep."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from throughtime.cli import help  # noqa: A004  — it is the help
from throughtime.cli.app import app
from throughtime.cli.options import Address, AsJson, Jobs, Quiet
from throughtime.cli.output import print_json, quiet, working
from throughtime.errors import counted, plain

if TYPE_CHECKING:
    from throughtime.trials import Sweep

GridFile = Annotated[Path, typer.Argument(metavar="GRID.toml", hidden=True)]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Where runs and results go; default: sweeps/GRID."),
]


@app.command(
    help=help.SWEEP,
    short_help="Train every cell with every remedy, over lengths and seeds.",
    epilog="Exit code: 0 done; 1 a setting failed; 2 bad usage or input; 3 the environment.",
)
def sweep(
    grid: GridFile,
    out: Out = None,
    jobs: Jobs = None,
    cluster: Address = None,
    no_progress: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Read the grid, run it and show what came of it. Returns the exit code."""
    out = Path("sweeps", grid.stem) if out is None else out
    with quiet(as_json):
        with working("loading torch"):
            from throughtime import trials
        asked = trials.read_grid(grid)
        done = trials.sweep(asked, out, jobs=jobs, cluster=cluster, progress=not no_progress)
    if as_json:
        print_json(_facts(done))
    else:
        _show(done, out)
    return 1 if trials.counts(done.rows).get("failed") else 0


def _facts(done: Sweep) -> dict[str, Any]:
    from throughtime.trials import counts

    return {
        "settings": len(done.rows),
        "counts": counts(done.rows),
        "files": list(done.files),
        "rows": [{name: _encoded(value) for name, value in row.items()} for row in done.rows],
    }


def _encoded(value: Any) -> Any:
    finite = not isinstance(value, float) or math.isfinite(value)
    return value if finite else str(value)


def _show(done: Sweep, out: Path) -> None:
    """The share of seeds solved, cell × remedy by length; what went wrong; where the rest is."""
    from rich.table import Table

    from throughtime.trials import counts, summarise

    summary = summarise(done.rows)
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("cell", "remedy"):
        shown.add_column(name)
    for length in summary.lengths:
        shown.add_column(f"length {length}", justify="right")
    for arm, entries in zip(summary.rows, summary.entries, strict=True):
        shown.add_row(*arm, *entries)
    ends = ", ".join(f"{number} {end}" for end, number in counts(done.rows).items())
    sys.stdout.write(f"{done.rows[0]['task']}: {counted(len(done.rows), 'setting')}, {ends}\n")
    sys.stdout.write(f"{summary.means}:\n\n")
    sys.stdout.flush()
    Console().print(shown)
    sys.stdout.write(f"\n{', '.join(done.files)} are in {plain(out)}\n")
