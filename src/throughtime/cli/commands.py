"""The commands and their options."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from throughtime.cli import help  # noqa: A004  — it is the help
from throughtime.cli.output import print_json, quiet, show, working
from throughtime.errors import LoadError, NothingRecordedError, ThroughtimeWarning, plain

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from throughtime.findings import Diagnosis

app = typer.Typer(
    name="throughtime",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Cell(StrEnum):
    """The recurrent layers that the command line can make."""

    RNN = "rnn"
    LSTM = "lstm"
    GRU = "gru"


class Lesson(StrEnum):
    """The pages of the textbook."""

    SCALAR = "scalar"
    NODE = "node"
    POWERS = "powers"
    NILPOTENT = "nilpotent"
    LM = "lm"
    CLIP = "clip"
    LSTM = "lstm"


class Language(StrEnum):
    """The languages of a report, and of the names to recall."""

    EN = "en"
    KO = "ko"


def _file(name: str, about: str, **more: Any) -> Any:
    return typer.Option(name, metavar="FILE", help=about, **more)


def _number(name: str, about: str, least: int = 1) -> Any:
    def checked(number: int | None) -> int | None:
        if number is None or least <= number < 2**63:
            return number
        raise typer.BadParameter(f"{number} is out of range: give a number from {least} to 2^63-1")

    return typer.Option(name, metavar="N", help=about, callback=checked)


def _report_place(report: Path | None) -> Path | None:
    """Refused before a minute of work, not after it; absolute, since users' code may chdir."""
    if report is None:
        return None
    if report.is_dir():
        raise typer.BadParameter(f"{plain(report)} is a directory: name a file in it")
    if not report.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {plain(report.parent)}: make it first")
    return report.absolute()


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"throughtime {version('throughtime')}")
        raise typer.Exit


AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")
]


@app.callback(invoke_without_command=True, help=help.ABOUT, epilog=help.EXIT_CODES)
def options(
    context: typer.Context,
    _debug: Annotated[
        bool, typer.Option("--debug", help="On an error show its traceback.")
    ] = False,
    _v: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Without a command, show the help. ``--debug`` is read by ``main``, wherever it stands."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(help=help.DEMO, short_help="Train on real text, and show how far back each sees.")
def demo(
    report: Annotated[
        Path, _file("--report", "Where to write the HTML report.", callback=_report_place)
    ] = Path("throughtime-demo.html"),
    language: Annotated[
        Language, typer.Option("--language", help="Language of the names to recall.")
    ] = Language.EN,
    seed: Annotated[int, _number("--seed", "Seed of all that is random.", least=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Call ``run_demo``."""
    with quiet(as_json):
        with working("loading torch"):
            from throughtime.demo import run_demo
        console = Console(stderr=as_json)
        # The demo shows its own progress where it prints to a terminal.
        with nullcontext() if console.is_terminal else working("training"):
            result = run_demo(console, report, language=language.value, seed=seed)
    if as_json:
        print_json(result.to_dict())


@app.command(help=help.TEXTBOOK, short_help="Show one page of the lecture's mathematics.")
def textbook(
    lesson: Annotated[Lesson, typer.Argument(metavar="LESSON", hidden=True)],
    as_json: AsJson = False,
) -> None:
    """Render a page."""
    from throughtime.textbook.pages import PAGES, render, to_dict

    page = PAGES[lesson.value]()
    if as_json:
        print_json(to_dict(page))
    else:
        render(page, Console())


@app.command(
    help=help.DIAGNOSE,
    short_help="Say how far back a model's gradient reaches.",
    epilog="Exit code: 0 healthy; 1 a finding; 2 bad usage or input.",
)
def diagnose(
    context: typer.Context,
    target: Annotated[str | None, typer.Argument(metavar="FILE.py:FUNCTION", hidden=True)] = None,
    span: Annotated[
        int | None,
        _number("--span", "How many steps back the task must see; default: the whole sequence."),
    ] = None,
    report: Annotated[
        Path | None, _file("--report", "Also write an HTML report.", callback=_report_place)
    ] = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also what takes longer: exponents, spectrum, memory, lags."),
    ] = False,
    language: Annotated[
        Language, typer.Option("--language", help="Language of the answer and of the report.")
    ] = Language.EN,
    as_json: AsJson = False,
    cell: Annotated[
        Cell | None, typer.Option("--cell", help="Without FILE.py: this layer.")
    ] = None,
    text: Annotated[
        Path | None, _file("--text", "... reading this text; default: Python's manual.")
    ] = None,
    hidden: Annotated[int, _number("--hidden", "... with so many units.")] = 128,
    window: Annotated[int, _number("--window", "... over so many words in a row.")] = 100,
    seed: Annotated[int, _number("--seed", "... with weights from this seed.", least=0)] = 0,
) -> int:
    """Capture one batch, diagnose it and show what was found. Returns the exit code."""
    with quiet(as_json), working("capturing one batch"):
        if target is not None:
            _refuse_options_of_the_cell(context)
            found = _diagnose_file(target, span, deep)
        elif cell is not None:
            found = _diagnose_cell(cell, text, hidden, window, seed, span, deep)
        else:
            raise LoadError("nothing to diagnose: give FILE.py:FUNCTION, or --cell rnn|lstm|gru")
    show(found, report, as_json, language.value)
    return 0 if found.verdict == "healthy" else 1


def _refuse_options_of_the_cell(context: typer.Context) -> None:
    for name in ("cell", "text", "hidden", "window", "seed"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise LoadError(
                f"give FILE.py:FUNCTION or --{name}, not both: the file makes the model"
            )


def _diagnose_file(target: str, span: int | None, deep: bool) -> Diagnosis:
    from throughtime.loading import load

    loaded = load(target)
    span = loaded.span if span is None else span
    return _diagnosed(loaded.model, loaded.closure, span, target, deep)


def _diagnose_cell(
    cell: Cell, text: Path | None, hidden: int, window: int, seed: int, span: int | None, deep: bool
) -> Diagnosis:
    from throughtime.tasks.corpus import read_text
    from throughtime.tasks.language_model import language_model

    words = None if text is None else read_text(text)
    problem = language_model(cell.value, text=words, hidden=hidden, window=window, seed=seed)
    source = f"{problem.name} on {text or 'the manual of Python'}"
    return _diagnosed(problem.model, problem.closure, span, source, deep)


def _diagnosed(
    model: Module, closure: Callable[[], Tensor], span: int | None, source: str, deep: bool
) -> Diagnosis:
    from throughtime.capture import observe
    from throughtime.diagnosis import diagnose as diagnose_trace

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ThroughtimeWarning)  # a note of the diagnosis says the same
        try:
            trace = observe(model, closure)
        except NothingRecordedError as error:
            raise LoadError(
                f"{source}: no recurrent layer of the model ran in the closure: does it run this "
                "very model? A recurrence of your own calls throughtime.mark(state, 'name') in "
                "every step"
            ) from error
    found = diagnose_trace(trace, span, deep=deep)
    return replace(found, run={"source": source, **found.run})
