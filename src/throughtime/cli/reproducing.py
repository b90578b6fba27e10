"""The command that gets published results again: reproduce."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from throughtime.cli import help  # noqa: A004  — it is the help
from throughtime.cli.app import app
from throughtime.cli.options import AsJson, number_option
from throughtime.cli.output import print_json, quiet, working
from throughtime.errors import InputError, counted, unknown

if TYPE_CHECKING:
    from throughtime.reproductions import Comparison, Reproduction, Result


@app.command(
    help=help.REPRODUCE,
    short_help="Get a published result again, and say whether it matches.",
    epilog="Exit code: 0 matched, or a list; 1 not matched; 2 bad usage or input.",
)
def reproduce(
    name: Annotated[str | None, typer.Argument(metavar="NAME", hidden=True)] = None,
    seed: Annotated[int | None, number_option("--seed", "The first seed.", least=0)] = None,
    seeds: Annotated[int, number_option("--seeds", "How many seeds, one after another.")] = 1,
    toy: Annotated[
        bool, typer.Option("--toy", help="In seconds: all of the machinery, no meaning.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """List all reproductions, or run one. Returns the exit code."""
    with quiet(as_json), working("loading torch"):
        from throughtime.reproductions import REPRODUCTIONS
    if name is None:
        _list(list(REPRODUCTIONS.values()), as_json)
        return 0
    if name not in REPRODUCTIONS:
        raise InputError(unknown("reproduction", name, REPRODUCTIONS))
    one = REPRODUCTIONS[name]
    shown = sys.stderr.isatty()
    with quiet(as_json):
        results = [one.run(s, toy=toy, progress=shown) for s in one.seeds(seed, seeds)]
    compared = one.compare(results)
    if as_json:
        ran = [result.to_dict() for result in results]
        print_json({**one.to_dict(), "toy": toy, "results": ran, **compared.to_dict()})
    else:
        _show(one, compared, results, toy)
    return 0 if toy or compared.matched else 1


def _list(every: list[Reproduction], as_json: bool) -> None:
    if as_json:
        print_json([one.to_dict() for one in every])
        return
    console = Console()
    for one in every:
        console.print(Text(one.name, "bold"), Text(one.title), sep="\n")
        lines = Table.grid(padding=(0, 2))
        lines.add_column(min_width=10)
        lines.add_column()
        for about, text in _described(one):
            lines.add_row(Text(f"  {about}"), Text(text))
        console.print(lines, "")


def _described(one: Reproduction) -> list[tuple[str, str]]:
    """What is said of a reproduction in the list, line by line."""
    from throughtime.reproductions import expectations

    settings = [("settings" if n == 0 else "", line) for n, line in enumerate(one.settings)]
    expected = [("expected" if n == 0 else "", line) for n, line in enumerate(expectations(one))]
    time = ("time", f"{_duration(one)} a seed")
    return [("paper", one.paper), ("claim", one.claim), *settings, *expected, time]


def _show(one: Reproduction, compared: Comparison, results: list[Result], toy: bool) -> None:
    from throughtime.reproductions import said, spread

    console = Console()
    console.print(Text(one.title, "bold"), Text(f"{one.paper}\n"), sep="\n")
    table = Table(box=box.SIMPLE_HEAD)
    for header in ("figure", "expected", "counts", f"ours ({_seeds(results)})", ""):
        table.add_column(header)
    for figure in one.figures:
        ours = spread(compared.values[figure.name])
        met = "" if toy else "yes" if figure not in compared.missed else "NO"
        cells = figure.name, said(figure.expected), figure.tolerance, ours, met
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    seconds = sum(compared.seconds)
    verdict = "toy size: these figures mean nothing" if toy else compared.verdict
    console.print(Text(f"{verdict}; {seconds:,.0f} s"))
    if one.remark and not toy:
        console.print(Text(one.remark))


def _duration(one: Reproduction) -> str:
    return "seconds" if one.minutes < 0.5 else f"about {counted(one.minutes, 'minute')}"


def _seeds(results: list[Result]) -> str:
    numbers = ", ".join(str(result.seed) for result in results)
    return f"seed {numbers}" if len(results) == 1 else f"seeds {numbers}"
