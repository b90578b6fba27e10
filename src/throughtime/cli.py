"""The command line: one command is one call of the library.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
Exit codes: 0 healthy or done; 1 a finding; 2 bad usage or input; 3 the environment; 130 and 143
after SIGINT and SIGTERM.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from throughtime.errors import LoadError, ThroughtimeError, plain

if TYPE_CHECKING:
    from throughtime.findings import Diagnosis
    from throughtime.loading import Loaded

app = typer.Typer(
    name="throughtime",
    help="See how far back through time the gradient of a recurrent network reaches.",
    no_args_is_help=True,
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
    LM = "lm"
    CLIP = "clip"
    LSTM = "lstm"


class Language(StrEnum):
    """The languages of the name-recall problem."""

    EN = "en"
    KO = "ko"


AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, nothing else.")
]
Report = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Also write a one-file HTML report.")
]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"throughtime {version('throughtime')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="On an error show the traceback.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """See how far back through time the gradient of a recurrent network reaches."""


@app.command()
def demo(
    report: Annotated[
        Path, typer.Option("--report", metavar="FILE", help="Where to write the HTML report.")
    ] = Path("throughtime-demo.html"),
    language: Annotated[
        Language, typer.Option("--language", help="Language of the name-recall problem.")
    ] = Language.EN,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train an Elman RNN and an LSTM on real text, and show how far back each of them sees."""
    from throughtime.demo import run_demo

    with _quiet(as_json):
        result = run_demo(_console(as_json), report, language=language.value, seed=seed)
    if as_json:
        _print_json(result.to_dict())


@app.command()
def textbook(
    lesson: Annotated[Lesson, typer.Argument(help="Which page.")],
    as_json: AsJson = False,
) -> None:
    """Show one page of the lecture's mathematics: a small table and a picture."""
    from throughtime.textbook.pages import PAGES, render, to_dict

    page = PAGES[lesson.value]()
    if as_json:
        _print_json(to_dict(page))
    else:
        render(page, Console())


@app.command()
def diagnose(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE.py:FUNCTION]",
            help="A function of yours that returns (model, closure), or a throughtime.Problem.",
        ),
    ] = None,
    span: Annotated[
        int | None, typer.Option("--span", min=1, help="How many steps back the task must see.")
    ] = None,
    report: Report = None,
    as_json: AsJson = False,
    cell: Annotated[
        Cell | None, typer.Option("--cell", help="Without a file: this layer, as torch makes it.")
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option("--text", metavar="FILE", help="... reading this text, word by word."),
    ] = None,
    hidden: Annotated[int, typer.Option("--hidden", min=1, help="... with this many units.")] = 128,
    window: Annotated[int, typer.Option("--window", min=1, help="... over so many steps.")] = 100,
    seed: Annotated[int, typer.Option("--seed", help="... initialised from this seed.")] = 0,
) -> None:
    """Say how far back the gradient of a model reaches, from one batch. Exit code 1: a finding."""
    with _quiet(as_json), _working("capturing one batch"):
        if target is not None:
            if cell is not None or text is not None:
                raise LoadError("give FILE.py:FUNCTION, or --cell with --text, not both")
            found = _diagnose_file(target, span)
        elif cell is None:
            raise LoadError("give FILE.py:FUNCTION, or --cell rnn|lstm|gru with --text FILE")
        else:
            found = _diagnose_cell(cell, text, hidden, window, seed, span)
    _show(found, report, as_json)
    raise typer.Exit(0 if found.verdict == "healthy" else 1)


def _diagnose_file(target: str, span: int | None) -> Diagnosis:
    from throughtime.loading import load

    loaded = load(target)
    return _diagnose_loaded(loaded, span)


def _diagnose_loaded(loaded: Loaded, span: int | None) -> Diagnosis:
    from dataclasses import replace

    from throughtime.capture import observe
    from throughtime.diagnosis import diagnose as diagnose_trace

    trace = observe(loaded.model, loaded.closure)
    found = diagnose_trace(trace, span or loaded.span)
    return replace(found, run={"source": loaded.source, **found.run})


def _diagnose_cell(
    cell: Cell, text: Path | None, hidden: int, window: int, seed: int, span: int | None
) -> Diagnosis:
    from throughtime.loading import Loaded
    from throughtime.tasks.corpus import read_text
    from throughtime.tasks.language_model import language_model

    words = None if text is None else read_text(text)
    problem = language_model(cell.value, text=words, hidden=hidden, window=window, seed=seed)
    source = f"{problem.name} on {text or 'the manual of Python'}"
    return _diagnose_loaded(Loaded(problem.model, problem.closure, problem.span, source), span)


def _show(found: Diagnosis, report: Path | None, as_json: bool) -> None:
    if report is not None:
        from throughtime.report import write_report

        write_report(found, report)
    if as_json:
        typer.echo(found.to_json(indent=2))
        return
    from throughtime.report.text import render_text

    render_text(found, Console())
    if report is not None:
        Console().print(f"The report is in {plain(report)}", markup=False, highlight=False)


def _print_json(data: object) -> None:
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def _console(as_json: bool) -> Console:
    return Console(stderr=as_json)


@contextmanager
def _quiet(as_json: bool) -> Iterator[None]:
    """Under ``--json`` whatever the user's code prints goes to standard error."""
    if not as_json:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def _working(what: str) -> Iterator[None]:
    """A moving sign of life on standard error, where that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(what, total=None)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; an error is one line on standard error."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app(arguments, prog_name="throughtime", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        if debug:
            raise
        message = getattr(error, "format_message", error.__str__)()
        return _fail(message.replace("Value error, ", ""), 2)
    except ThroughtimeError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader has gone; what Python still wants to flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, OSError) as error:
        if debug:
            raise
        full = isinstance(error, OSError) and error.errno not in (errno.ENOENT, errno.EACCES)
        return _fail(
            str(error) or "out of memory", 3 if full or isinstance(error, MemoryError) else 2
        )


def _terminate(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _fail(message: str, code: int) -> int:
    print(f"throughtime: {plain(message)}", file=sys.stderr)  # noqa: T201  — the one place
    return code
