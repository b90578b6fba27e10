"""The command that looks for a remedy: prescribe."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from throughtime.cli import help  # noqa: A004  — it is the help
from throughtime.cli.app import app
from throughtime.cli.options import (
    AsJson,
    KeepCell,
    file_option,
    names_a_file,
    names_of,
    number_option,
    report_place,
)
from throughtime.cli.output import quiet, working
from throughtime.cli.prescribed import show_prescription
from throughtime.errors import LoadError, ThroughtimeWarning, plain

if TYPE_CHECKING:
    from throughtime.problem import Problem

_ASSUMED = "no --span given: taken is the longest lag of the captured sequences"
_OF_A_TASK = ("cell", "length", "hidden")

Target = Annotated[str, typer.Argument(metavar="FILE.py:FUNCTION|TASK", hidden=True)]
Span = Annotated[
    int | None,
    number_option(
        "--span",
        "How many steps back the task must see; default: that of the problem, else T − 1, the "
        "longest lag.",
    ),
]
Report = Annotated[
    Path | None, file_option("--report", "Also write an HTML report.", callback=report_place)
]
Remedies = Annotated[
    str | None,
    typer.Option(
        "--remedies",
        metavar="NAME,NAME",
        help="Try these: chrono,gru,orthogonal+clip ...; default: those that fit.",
    ),
]
Most = Annotated[int, number_option("--most", "Try no more remedies than these.")]
Updates = Annotated[
    int, number_option("--updates", "How many each copy makes before it is measured again.")
]
Seconds = Annotated[
    int, number_option("--seconds", "Begin no further remedy later; what is left out is named.")
]
CellName = Annotated[str, typer.Option("--cell", metavar="NAME", help="Of a TASK: its layer.")]
Length = Annotated[int | None, number_option("--length", "... its time steps.")]
Hidden = Annotated[int, number_option("--hidden", "... its hidden units.")]
Seed = Annotated[int, number_option("--seed", "Seed of all that is random.", least=0)]


@app.command(
    help=help.PRESCRIBE,
    short_help="Try remedies on copies of a model, and rank them.",
    epilog="Exit code: 0 healthy, and nothing was found; 1 a finding, or unknown; 2 bad usage or "
    "input; 3 the environment.",
)
def prescribe(
    context: typer.Context,
    target: Target,
    span: Span = None,
    report: Report = None,
    remedies: Remedies = None,
    keep_cell: KeepCell = False,
    most: Most = 12,
    updates: Updates = 25,
    seconds: Seconds = 20,
    cell: CellName = "lstm",
    length: Length = None,
    hidden: Hidden = 128,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> int:
    """Try the remedies and show what each did. Returns the exit code."""
    with quiet(as_json), working("trying remedies on copies"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ThroughtimeWarning)  # a note of the diagnosis says the same
        from throughtime.prescription import prescribe as prescribe_for
        from throughtime.tasks import TASKS

        if names_a_file(target, TASKS):
            _refuse_options_of_a_task(context)
            problem, notes = _of_file(target, span, seed)
        else:
            problem, notes = _task(target, cell, length, hidden, seed), []
        found = prescribe_for(
            problem,
            span=span,
            remedies=names_of(remedies),
            keep_cell=keep_cell,
            most=most,
            updates=updates,
            seconds=seconds,
            seed=seed,
        )
    found = replace(found, notes=(*found.notes, *notes))
    show_prescription(found, report, as_json)
    return 0 if found.healthy else 1


def _task(name: str, cell: str, length: int | None, hidden: int, seed: int) -> Problem:
    from throughtime.tasks import make_task

    return make_task(name, cell=cell, length=length, hidden=hidden, seed=seed)


def _of_file(
    target: str, span: int | None, seed: int
) -> tuple[Problem | Callable[[], Problem], list[str]]:
    """What a file makes, its function run once, and notes about that.

    Only where a closure cannot be copied the function makes another pair for each remedy.
    """
    from throughtime.errors import InputError
    from throughtime.loading import Loaded, load_either
    from throughtime.prescription import from_pair
    from throughtime.prescription.pair import in_place, longest_lag
    from throughtime.randomness import randomness

    def loaded() -> Loaded | Problem:
        with randomness(seed):
            return load_either(target, seed)

    first = loaded()
    if not isinstance(first, Loaded):
        return first, []
    notes = [_ASSUMED] if span is None else []
    reach = longest_lag(first.model, first.closure, seed) if span is None else span
    try:
        return from_pair(first.model, first.closure, reach, plain(target)), notes
    except InputError as error:
        notes.append(f"{plain(error).partition(':')[0]}: the function was run for each remedy")

    def make() -> Problem:
        again = loaded()
        assert isinstance(again, Loaded), "it returned a pair before"
        return in_place(again.model, again.closure, reach, plain(target))

    return make, notes


def _refuse_options_of_a_task(context: typer.Context) -> None:
    for name in _OF_A_TASK:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise LoadError(
                f"give FILE.py:FUNCTION or --{name}, not both: the file makes the model"
            )
