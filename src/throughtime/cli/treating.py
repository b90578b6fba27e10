"""The command that proves a remedy by paired trainings: treat."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from throughtime.cli import help  # noqa: A004  — it is the help
from throughtime.cli.app import app
from throughtime.cli.options import (
    Address,
    AsJson,
    Jobs,
    KeepCell,
    Quiet,
    names_of,
    number_option,
)
from throughtime.cli.output import print_json, quiet, working
from throughtime.errors import counted, plain

if TYPE_CHECKING:
    from throughtime.trials import Treated
    from throughtime.trials.treatment import Patch

Target = Annotated[str, typer.Argument(metavar="FILE.py:FUNCTION", hidden=True)]
Span = Annotated[
    int | None,
    number_option("--span", "How many steps back the task must see; default: that of the problem."),
]
Steps = Annotated[int, number_option("--steps", "Updates of each training.")]
Seeds = Annotated[
    int,
    number_option("--seeds", "Pairs: 6 can prove one of three remedies; more find weaker effects."),
]
Remedies = Annotated[
    str | None,
    typer.Option(
        "--remedies",
        metavar="NAME,NAME",
        help="chrono,gru,orthogonal+clip ...; default: the first three of prescribe.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Where all goes; default: treatments/FILE-FUNCTION."),
]
UntilSolved = Annotated[
    bool, typer.Option("--until-solved", help="End a training once it is solved.")
]


@app.command(
    help=help.TREAT,
    short_help="Prove by paired trainings which remedy helps.",
    epilog="Exit code: 0 a remedy helped, or none was needed; 1 none is proven to; 2 bad usage or "
    "input; 3 the environment.",
)
def treat(
    target: Target,
    span: Span = None,
    steps: Steps = 1000,
    seeds: Seeds = 7,
    remedies: Remedies = None,
    keep_cell: KeepCell = False,
    out: Out = None,
    until_solved: UntilSolved = False,
    jobs: Jobs = None,
    cluster: Address = None,
    no_progress: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Run the trials and show what came of them. Returns the exit code."""
    out = _place(target) if out is None else out
    with quiet(as_json):
        with working("loading torch"):
            from throughtime import loading, trials
        done = trials.treat(
            loading.FromFile.of(target),
            subject=re.sub(r"\.py:", ".", target.replace("\\", "/").rpartition("/")[2]),
            target=target,
            span=span,
            steps=steps,
            seeds=seeds,
            remedies=names_of(remedies),
            keep_cell=keep_cell,
            folder=out,
            until_solved=until_solved,
            jobs=jobs,
            cluster=cluster,
            progress=not no_progress,
        )
    if as_json:
        print_json(done.to_dict())
    else:
        _show(done, out)
    return done.exit_code


def _place(target: str) -> Path:
    file, _, function = target.rpartition(":")
    return Path("treatments", f"{Path(file).stem}-{function}")


def _show(done: Treated, out: Path) -> None:
    """The arms in a table, the verdict, what was written; and the patch last, to be copied."""
    from rich.console import OverflowMethod
    from rich.table import Table

    from throughtime.trials.treatment import columns, row

    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns(done):
        is_name = name == "remedy"
        overflow: OverflowMethod = "fold" if is_name else "ellipsis"
        shown.add_column(
            name, justify="left" if is_name else "right", no_wrap=not is_name, overflow=overflow
        )
    for arm in done.arms:
        shown.add_row(*row(done, arm))
    pairs = counted(len(done.seeds), "seed")
    each, back = counted(done.steps, "update"), counted(done.span, "step")
    _say(f"{done.subject}: {pairs}, {each} each, looking {back} back")
    if done.criterion:
        _say(f"solved: {done.criterion} after the last update")
    _say(f"loss: {done.loss_name}, median; difference: mean of the pairs (95 % interval)\n")
    Console().print(shown)
    _say(f"\n{done.verdict}")
    for note in (*done.evidence, *done.notes):
        _say(note)
    _say(f"\n{', '.join(done.files)} are in {plain(out)}")
    if done.patch is not None:
        _show_patch(done.patch, out)


def _show_patch(patch: Patch, out: Path) -> None:
    if patch.diff is None:
        _say(f"\n{plain(patch.file)} is not patched: {patch.reason}. Add before it is returned:\n")
        sys.stdout.write("".join(f"    {line}\n" for line in patch.lines))
        return
    _say(f"\nThe patch to apply:  {patch.command(str(out / 'remedy.patch'))}\n")
    for line in patch.diff.splitlines():
        _say("\t".join(map(plain, line.split("\t"))))  # a tab must stay one


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
