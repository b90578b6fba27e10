"""The commands that look: demo, textbook, diagnose."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from throughtime.cli import help  # noqa: A004  — it is the help
from throughtime.cli.app import app
from throughtime.cli.draws import diagnosed_by_seed
from throughtime.cli.options import AsJson, Cell, Language, file_option, number_option, report_place
from throughtime.cli.output import print_json, quiet, show, working
from throughtime.errors import LoadError, ThroughtimeWarning

if TYPE_CHECKING:
    from throughtime.findings import Diagnosis
    from throughtime.loading import Loaded


class Lesson(StrEnum):
    """The pages of the textbook."""

    SCALAR = "scalar"
    NODE = "node"
    POWERS = "powers"
    NILPOTENT = "nilpotent"
    LM = "lm"
    CLIP = "clip"
    LSTM = "lstm"


@app.command(help=help.DEMO, short_help="Train on real text, and show how far back each sees.")
def demo(
    report: Annotated[
        Path, file_option("--report", "Where to write the HTML report.", callback=report_place)
    ] = Path("throughtime-demo.html"),
    language: Annotated[
        Language, typer.Option("--language", help="Language of the names to recall.")
    ] = Language.EN,
    seed: Annotated[int, number_option("--seed", "Seed of all that is random.", least=0)] = 0,
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
    epilog="Exit code: 0 healthy, and nothing was found; 1 a finding, or unknown; 2 bad usage or "
    "input; 3 the environment (disk, memory, a missing package).",
)
def diagnose(
    context: typer.Context,
    target: Annotated[str | None, typer.Argument(metavar="FILE.py:FUNCTION", hidden=True)] = None,
    span: Annotated[
        int | None,
        number_option(
            "--span",
            "How many steps back the task must see; default: that of the problem, else T - 1, the "
            "longest lag.",
        ),
    ] = None,
    report: Annotated[
        Path | None, file_option("--report", "Also write an HTML report.", callback=report_place)
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
        Path | None, file_option("--text", "... reading this text; default: Python's manual.")
    ] = None,
    hidden: Annotated[int, number_option("--hidden", "... with so many units.")] = 128,
    window: Annotated[int, number_option("--window", "... over so many words in a row.")] = 100,
    seed: Annotated[int, number_option("--seed", "Seed of all that is random.", least=0)] = 0,
    seeds: Annotated[
        int | None, number_option("--seeds", "Diagnose as many seeds: do the verdicts agree?")
    ] = None,
) -> int:
    """Capture one batch, diagnose it and show what was found. Returns the exit code."""
    with quiet(as_json), working("capturing one batch"):
        if target is not None:
            _refuse_options_of_the_cell(context)
            diagnose_one = partial(_diagnose_file, target, span, deep)
        elif cell is not None:
            diagnose_one = partial(_diagnose_cell, cell, text, hidden, window, span, deep)
        else:
            raise LoadError("nothing to diagnose: give FILE.py:FUNCTION, or --cell rnn|lstm|gru")
        found = diagnosed_by_seed(diagnose_one, seed, seeds)
    show(found, report, as_json, language.value)
    return 0 if found.diseases == ("healthy",) else 1


def _refuse_options_of_the_cell(context: typer.Context) -> None:
    for name in ("cell", "text", "hidden", "window"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise LoadError(
                f"give FILE.py:FUNCTION or --{name}, not both: the file makes the model"
            )


def _diagnose_file(target: str, span: int | None, deep: bool, seed: int) -> Diagnosis:
    from throughtime.loading import load

    loaded = load(target, seed)
    span = loaded.span if span is None else span
    return _diagnosed(replace(loaded, span=span), target, deep)


def _diagnose_cell(
    cell: Cell, text: Path | None, hidden: int, window: int, span: int | None, deep: bool, seed: int
) -> Diagnosis:
    from throughtime.loading import Loaded
    from throughtime.tasks.corpus import read_text
    from throughtime.tasks.language_model import language_model

    words = None if text is None else read_text(text)
    problem = language_model(cell.value, text=words, hidden=hidden, window=window, seed=seed)
    source = f"{problem.name} on {text or 'the manual of Python'}"
    loaded = Loaded(problem.model, problem.closure, span, trivial_loss=problem.trivial_loss)
    return _diagnosed(loaded, source, deep)


def _diagnosed(loaded: Loaded, source: str, deep: bool) -> Diagnosis:
    from throughtime.diagnosis import diagnose_closure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ThroughtimeWarning)  # a note of the diagnosis says the same
        found = diagnose_closure(
            loaded.model,
            loaded.closure,
            loaded.span,
            deep=deep,
            lengths=loaded.lengths,
            trivial_loss=loaded.trivial_loss,
        )
    return replace(found, run={"source": source, **found.run})
