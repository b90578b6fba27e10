"""The commands, run in this process: exit codes, what goes where, one line for every error."""

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from command_line import Ran, own_folder, running
from rich.console import Console

from throughtime import errors
from throughtime.cli import help, looking  # noqa: A004  — it is the help
from throughtime.findings import Diagnosis
from throughtime.textbook.pages import PAGES

folder = pytest.fixture(own_folder, autouse=True)
run = pytest.fixture(running)


# Help

COMMANDS = ["demo", "diagnose", "train", "sweep", "reproduce", "textbook"]


def test_without_a_command_it_says_what_to_type(run: Ran) -> None:
    alone, asked = run(), run("--help")
    assert (alone.code, alone.err) == (0, "")
    assert alone.out == asked.out
    assert all(f"\n  {name} " in alone.out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("asked", ["--help", "-h"])
def test_every_command_explains_itself(run: Ran, command: str, asked: str) -> None:
    ran = run(command, asked)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: throughtime {command} [OPTIONS]")
    unclear = [word for word in ("<int", "<str", "x>=", "<path") if word in ran.out]
    assert not unclear


def test_the_help_fits_eighty_columns_of_ascii(run: Ran) -> None:
    for command in [[], *([name] for name in COMMANDS)]:
        text = run(*command, "--help").out
        assert text.isascii()
        assert max(map(len, text.splitlines())) <= 80


def test_the_version(run: Ran) -> None:
    ran = run("--version")
    assert (ran.code, ran.out.split()[0]) == (0, "throughtime")


def test_every_lesson_is_offered_and_explained() -> None:
    assert [lesson.value for lesson in looking.Lesson] == list(PAGES)
    explained = [line.split()[0] for line in help.TEXTBOOK.split("\b\n")[1].splitlines()]
    assert explained == list(PAGES)


# Bad usage

USAGE = {
    "diagnos": "No such command 'diagnos'. Did you mean 'diagnose'?",
    "diagnose --spam x": "No such option: --spam (Possible options: --span)",
    "diagnose --cell gro": "Invalid value for '--cell': unknown choice 'gro'; did you mean "
    "'gru'? choose from: rnn, lstm, gru",
    "diagnose --hidden 0": "Invalid value for '--hidden': 0 is out of range: give a number from 1 "
    "to 2^63-1",
    "diagnose --report .": "Invalid value for '--report': . is a directory: name a file in it",
    "demo --seed -1": "Invalid value for '--seed': -1 is out of range: give a number from 0 to "
    "2^63-1",
    "demo --report none/r.html": "Invalid value for '--report': there is no folder none: make it "
    "first",
    "textbook": "Missing argument 'LESSON'. Choose from: scalar, node, powers, nilpotent, lm, "
    "clip, lstm",
}  # fmt: skip  # rows of a table
INPUT = {
    "diagnose --json": "nothing to diagnose: give FILE.py:FUNCTION, or --cell rnn|lstm|gru",
    "diagnose model.py:build": "there is no file model.py: check the path",
    "diagnose model.py:build --hidden 3": "give FILE.py:FUNCTION or --hidden, not both: the file "
    "makes the model",
    "diagnose --cell gru --text none.txt": "none.txt: no such file: check the path",
}


@pytest.mark.parametrize(("line", "sentence"), USAGE.items(), ids=USAGE)
def test_bad_usage_is_one_line_that_names_the_help(run: Ran, line: str, sentence: str) -> None:
    first, *rest = line.split()
    ran = run(first, *rest)
    see = f"(see throughtime {first} --help)" if first in COMMANDS else "(see throughtime --help)"
    assert (ran.code, ran.out, ran.err) == (2, "", f"throughtime: {sentence} {see}\n")


@pytest.mark.parametrize(("line", "sentence"), INPUT.items(), ids=INPUT)
def test_bad_input_is_one_line(run: Ran, line: str, sentence: str) -> None:
    ran = run(*line.split())
    assert (ran.code, ran.out, ran.err) == (2, "", f"throughtime: {sentence}\n")


LONGER = "give a longer text or a shorter window"
TEXTS = {
    "empty": (b"", "text.txt: is empty: name a file with text in it"),
    "binary": (b"\0\1" * 500, "text.txt: is binary, not text: name a UTF-8 text file"),
    "latin": (b"caf\xe9 " * 500, "text.txt: is not UTF-8 (byte 3): save it as UTF-8 text"),
    "short": (
        b"a few words",
        "the text has 3 words and signs, fewer than 200: give a longer text",
    ),
    "shorter than a window": (
        b"one two three " * 80,
        f"the text has 216 words and signs here, and a window of 500 needs 501: {LONGER}",
    ),
}


@pytest.mark.parametrize(("content", "sentence"), TEXTS.values(), ids=TEXTS)
def test_a_bad_text_is_one_line(run: Ran, content: bytes, sentence: str) -> None:
    Path("text.txt").write_bytes(content)
    ran = run("diagnose", "--cell", "lstm", "--text", "text.txt", "--window", "500")
    assert (ran.code, ran.out, ran.err) == (2, "", f"throughtime: {sentence}\n")


# Demo and textbook


@pytest.fixture
def demo_runs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """How ``run_demo`` was called, in place of a minute of training."""
    import throughtime.demo

    calls: list[dict[str, Any]] = []

    def run_demo(console: Console, report: Path, **options: Any) -> SimpleNamespace:
        console.print("trained")
        calls.append({"report": report, **options})
        return SimpleNamespace(to_dict=lambda: {"seed": options["seed"]})

    monkeypatch.setattr(throughtime.demo, "run_demo", run_demo)
    return calls


def test_the_demo_takes_its_options(run: Ran, demo_runs: list[Any], folder: Path) -> None:
    ran = run("demo", "--report", "r.html", "--language", "ko", "--seed", "3")
    assert (ran.code, ran.out, ran.err) == (0, "trained\n", "")
    assert demo_runs == [{"report": folder / "r.html", "language": "ko", "seed": 3}]


@pytest.mark.usefixtures("demo_runs")
def test_the_demo_speaks_on_standard_error_under_json(run: Ran) -> None:
    ran = run("demo", "--json")
    assert (ran.code, json.loads(ran.out), ran.err) == (0, {"seed": 0}, "trained\n")


@pytest.mark.parametrize("lesson", PAGES)
def test_every_lesson_is_shown(run: Ran, lesson: str) -> None:
    page, data = run("textbook", lesson), run("textbook", lesson, "--json")
    assert (page.code, data.code, page.err + data.err) == (0, 0, "")
    assert json.loads(data.out)["title"] in page.out
    assert data.out.isascii()


# Errors from below, by what they are

RAISED = {
    "missing extra": (
        errors.MissingExtraError("wandb"),
        3,
        "wandb is not installed: run  pip install wandb",
    ),
    "disk": (
        OSError(errno.ENOSPC, "No space left on device", "r.html"),
        3,
        "r.html: No space left on device",
    ),
    "permission": (
        PermissionError(errno.EACCES, "Permission denied", "r.html"),
        2,
        "r.html: Permission denied",
    ),
    "name": (OSError(errno.ENAMETOOLONG, "File name too long"), 2, "File name too long"),
    "memory": (MemoryError(), 3, "out of memory: take fewer units, fewer steps or a smaller batch"),
    "memory of torch": (
        RuntimeError("can't allocate memory"),
        3,
        "out of memory: take fewer units, fewer steps or a smaller batch (can't allocate memory)",
    ),
    "memory of a GPU": (
        torch.OutOfMemoryError("CUDA out of memory"),
        3,
        "out of memory: take fewer units, fewer steps or a smaller batch (CUDA out of memory)",
    ),
    "reach": (errors.ReachError("not so far"), 1, "not so far"),
    "two lines": (errors.LoadError("one\ntwo"), 2, "one two"),
    "long": (errors.LoadError("x" * 5000), 2, f"{'x' * 1000} ... (--debug shows the rest)"),
    "unexpected": (
        ZeroDivisionError("division by zero"),
        2,
        "ZeroDivisionError: division by zero (--debug shows where)",
    ),
    "interrupt": (KeyboardInterrupt(), 130, "interrupted"),
}


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    def instead(error: BaseException) -> None:
        def diagnose_file(*_: object) -> Diagnosis:
            raise error

        monkeypatch.setattr(looking, "_diagnose_file", diagnose_file)

    return instead


@pytest.mark.parametrize(("error", "code", "sentence"), RAISED.values(), ids=RAISED)
def test_an_error_is_one_line_and_an_exit_code(
    run: Ran,
    raising: Callable[[BaseException], None],
    error: BaseException,
    code: int,
    sentence: str,
) -> None:
    raising(error)
    ran = run("diagnose", "model.py:build")
    assert (ran.code, ran.out, ran.err) == (code, "", f"throughtime: {sentence}\n")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_shows_the_traceback_and_keeps_the_code(run: Ran, place: int) -> None:
    arguments = ["diagnose", "model.py:build"]
    arguments.insert(place, "--debug")
    ran = run(*arguments, file="def build():\n    raise ValueError('deep')\n")
    first, *_, last = ran.err.splitlines()
    assert ran.code == 2
    assert first == "Traceback (most recent call last):"
    assert 'model.py", line 2, in build' in ran.err
    assert last == "throughtime: model.py:2: ValueError: deep"


def test_this_process_is_as_it_was(run: Ran) -> None:
    before = sys.stdout, sys.stderr, Path.cwd(), torch.is_grad_enabled()
    run("diagnose", "model.py:build", "--json", file="raise ValueError")
    assert (sys.stdout, sys.stderr, Path.cwd(), torch.is_grad_enabled()) == before
