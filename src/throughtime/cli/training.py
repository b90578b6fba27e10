"""The command that trains: train."""

from __future__ import annotations

import hashlib
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from throughtime.cli import help  # noqa: A004  — it is the help
from throughtime.cli.app import app
from throughtime.cli.options import AsJson, Quiet, file_option, names_a_file, number_option
from throughtime.cli.output import quiet, working
from throughtime.cli.trained import show_training
from throughtime.errors import (
    DivergedError,
    LoadError,
    LostProcessError,
    ThroughtimeError,
    ThroughtimeWarning,
    is_stop,
    plain,
    unknown,
)

if TYPE_CHECKING:
    from throughtime.problem import Problem
    from throughtime.training import Training

_LOOKS = 20  # at the model over a whole training, where nothing else is asked for
_FEWEST, _MOST = 100, 200  # steps between two looks
_WITHOUT_END, _WITHOUT_WORD = 20_000, 2_000  # steps, where a problem says when it is solved or not


def _real_option(name: str, about: str) -> Any:
    """An option that takes a positive number, or 0 where it says what that means."""

    def checked(number: float | None) -> float | None:
        if number is None or 0 <= number < float("inf"):
            return number
        raise typer.BadParameter(f"{number} is out of range: give a number from 0")

    return typer.Option(name, metavar="X", help=about, callback=checked)


Target = Annotated[str | None, typer.Argument(metavar="TASK|FILE.py:FUNCTION", hidden=True)]
CellName = Annotated[
    str, typer.Option("--cell", metavar="NAME", help="Recurrent layer: rnn, lstm, gru, ...")
]
Variant = Annotated[
    str | None, typer.Option("--variant", metavar="NAME", help="Variant of the task.")
]
Length = Annotated[int | None, number_option("--length", "Time steps of a sequence.")]
Hidden = Annotated[int, number_option("--hidden", "Hidden units.")]
Text = Annotated[Path | None, file_option("--text", "Learn to read this text.")]
Characters = Annotated[
    bool, typer.Option("--characters", help="... letter by letter, not word by word.")
]
Steps = Annotated[
    int | None,
    number_option("--steps", "Updates in all; default: until it is solved, 20,000 at most.", 0),
]
Seed = Annotated[int, number_option("--seed", "Seed of all that is random.", least=0)]
BatchSize = Annotated[int | None, number_option("--batch", "Sequences in a batch.")]
Rate = Annotated[float | None, _real_option("--lr", "Learning rate.")]
Schedule = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        metavar="NAME",
        help="Learning rate schedule: constant, linear, cosine, warmup-linear or warmup-cosine.",
    ),
]
Clip = Annotated[
    float | None,
    _real_option("--clip", "Largest gradient norm, 0: no limit; default: the problem's, or 1."),
]
Window = Annotated[
    int | None, number_option("--window", "Truncate backpropagation to so many steps.")
]
Initialisation = Annotated[
    str,
    typer.Option(
        "--initialisation",
        metavar="NAME",
        help="default, orthogonal, identity, chrono or forget-bias.",
    ),
]
ForgetBias = Annotated[
    float | None, typer.Option("--forget-bias", metavar="X", help="Bias of the forget gates.")
]
MeasureEvery = Annotated[
    int | None, number_option("--measure-every", "Steps between two measured horizons.", least=0)
]
EvaluateEvery = Annotated[
    int | None, number_option("--evaluate-every", "Steps between two evaluations.")
]
UntilSolved = Annotated[bool, typer.Option("--until-solved", help="Stop once it is solved.")]
RunDir = Annotated[
    Path | None,
    # torchrun takes a plain --run for an abbreviation of its own --run-path.
    typer.Option("--run", "--run-dir", metavar="DIR", help="Record into this directory."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from its last checkpoint.")]
CheckpointEvery = Annotated[
    int, number_option("--checkpoint-every", "Steps between two checkpoints.")
]


class Made(NamedTuple):
    """A problem, and what it was made of: what a resumed training must repeat."""

    problem: Problem
    settings: dict[str, Any]


@app.command(
    help=help.TRAIN,
    short_help="Train on a long-range task, a text, or a problem of yours.",
    epilog="Exit code: 0 done; 1 diverged; 2 bad usage or input; 3 the environment.",
)
def train(
    context: typer.Context,
    target: Target = None,
    variant: Variant = None,
    cell: CellName = "lstm",
    length: Length = None,
    hidden: Hidden = 128,
    text: Text = None,
    characters: Characters = False,
    steps: Steps = None,
    seed: Seed = 0,
    batch: BatchSize = None,
    lr: Rate = None,
    schedule: Schedule = None,
    clip: Clip = None,
    window: Window = None,
    initialisation: Initialisation = "default",
    forget_bias: ForgetBias = None,
    measure_every: MeasureEvery = None,
    evaluate_every: EvaluateEvery = None,
    until_solved: UntilSolved = False,
    run: RunDir = None,
    resume: Resume = False,
    checkpoint_every: CheckpointEvery = 100,
    no_progress: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make the problem, call ``train`` and show what came of it."""
    task = {"cell": cell, "variant": variant, "length": length, "hidden": hidden, "batch": batch}
    how = {
        "seed": seed,
        "lr": lr,
        "schedule": schedule,
        "clip": "own" if clip is None else clip or None,
        "window": window or "own",
        "run": None if run is None else run.absolute(),  # a user's file may chdir
        "resume": resume,
        "checkpoint_every": checkpoint_every,
        "progress": not no_progress,
    }
    with quiet(as_json), _warnings_in_one_line(), _usr1_as_sigterm():
        with working("loading torch"):
            made = _made(context, target, task, text, characters, seed)
            _initialise(made, initialisation, forget_bias, seed)
        if steps is None:
            until_solved = made.problem.solved is not None
            steps = _WITHOUT_END if until_solved else _WITHOUT_WORD
        seldom = min(max(_FEWEST, steps // _LOOKS), _MOST)
        if evaluate_every is None:
            evaluate_every = seldom if made.problem.evaluate is not None else 0
        how["measure_every"] = seldom if measure_every is None else measure_every
        how["evaluate_every"] = evaluate_every
        how["stop"] = "solved" if until_solved else None
        done, error = _train_to_an_end(made, steps, how)
    if done is not None and (as_json or error is None):
        show_training(done, made.problem, steps, run, as_json, error)
    if error is not None:
        raise error


def _made(
    context: typer.Context,
    target: str | None,
    task: dict[str, Any],
    text: Path | None,
    characters: bool,
    seed: int,
) -> Made:
    """The problem that the command line names."""
    if target is not None and text is not None:
        raise LoadError("give a task, FILE.py:FUNCTION or --text, not two of them")
    if characters and text is None:
        raise LoadError("--characters says how to read a text: give --text FILE as well")
    if target is None and text is None:
        raise LoadError("nothing to train: give a task, FILE.py:FUNCTION or --text FILE")
    from throughtime.tasks import TASKS, make_task, read_text

    if target is not None and names_a_file(target, TASKS):
        return _of_file(context, target, task, seed)

    name = target or ("characters" if characters else "words")
    given = {setting: value for setting, value in task.items() if value is not None}
    settings = {"task": name, **task}
    if text is not None:
        given["text"] = read_text(text)
        settings["text"] = hashlib.sha256(given["text"].encode("utf-8", "replace")).hexdigest()
    return Made(make_task(name, seed=seed, **given), settings)


def _of_file(context: typer.Context, target: str, task: dict[str, Any], seed: int) -> Made:
    """The problem that a user's file makes; what it draws from is seeded before."""
    for name in task:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise LoadError(
                f"give FILE.py:FUNCTION or --{name}, not both: the file makes the problem"
            )
    from throughtime.loading import FromFile, load_problem
    from throughtime.randomness import seed_everything

    name = Path(target).name
    digest = FromFile.of(target).digest
    seed_everything(seed)
    return Made(load_problem(target), {"file": name, f"text of {name.rpartition(':')[0]}": digest})


def _initialise(made: Made, name: str, forget_bias: float | None, seed: int) -> None:
    """Give the model other weights than its own, in place."""
    from torch import Generator

    from throughtime.remedies import INITIALISATIONS, forget_bias_

    if name not in INITIALISATIONS:
        raise LoadError(unknown("--initialisation", name, INITIALISATIONS))
    problem = made.problem
    INITIALISATIONS[name](problem.model, problem.span, Generator().manual_seed(seed))
    if forget_bias is not None:
        forget_bias_(problem.model, forget_bias)
    made.settings.update(initialisation=name, forget_bias=forget_bias)


def _train_to_an_end(
    made: Made, steps: int, how: dict[str, Any]
) -> tuple[Training | None, DivergedError | None]:
    """What came of the training, a good end or not."""
    try:
        return _train(made, steps, how), None
    except DivergedError as error:
        return error.training, error


def _train(made: Made, steps: int, how: dict[str, Any]) -> Training | None:
    """Train, alone or with the processes that torchrun started; None in all but the first."""
    from throughtime import training

    with training.joined() as processes:
        try:
            done = training.train(made.problem, steps, settings=made.settings, **how)
        except ThroughtimeError as error:
            # All of them fail alike, and the first one tells; but who was left alone tells himself.
            if processes.first or isinstance(error, (LostProcessError, LoadError)):
                raise
            raise typer.Exit(error.exit_code) from None
        except BaseException as error:
            if processes.first and is_stop(error):
                _tell_what_is_saved(how["run"], steps)
            raise
        return done if processes.first else None


def _tell_what_is_saved(run: Path | None, steps: int) -> None:
    """Before the word that it was interrupted: nothing is lost, and how to go on."""
    from throughtime.runs import RunDirectory

    if run is None or not RunDirectory.is_at(run):
        return
    saved = RunDirectory.open(run).checkpoints
    if saved:
        sys.stderr.write(
            f"throughtime: step {saved[-1].step} of {steps} is saved in {plain(run)}: the same "
            "command with --resume goes on from there\n"
        )


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Our own warnings without the line of code that gave them."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, ThroughtimeWarning):
            sys.stderr.write(f"throughtime: {plain(message)}\n")
        else:
            usual(message, category, *place, **more)

    with warnings.catch_warnings():
        usual, warnings.showwarning = warnings.showwarning, show
        warnings.simplefilter("always", ThroughtimeWarning)
        yield


@contextmanager
def _usr1_as_sigterm() -> Iterator[None]:
    """SLURM's warning ends the command as SIGTERM does, where that is ours to decide."""
    ours = signal.getsignal(signal.SIGTERM)
    if not callable(ours) or not hasattr(signal, "SIGUSR1"):
        yield
        return
    before = signal.signal(signal.SIGUSR1, ours)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)
