"""The commands, run in this process: exit codes, what goes where, one line for every error."""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from user_files import closure, leaving_no_trace, model

from throughtime import errors
from throughtime.cli import help, looking, main  # noqa: A004  — it is the help
from throughtime.findings import Diagnosis
from throughtime.textbook.pages import PAGES

Ran = Callable[..., SimpleNamespace]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    with leaving_no_trace(tmp_path), torch.random.fork_rng():
        yield tmp_path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Ran:
    """``throughtime ARGUMENTS``, after writing ``model.py`` if a text for it is given."""

    def ran(*arguments: str, file: str | None = None) -> SimpleNamespace:
        if file is not None:
            Path("model.py").write_text(file, encoding="utf-8")
        code = main(arguments)
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return ran


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
    "diagnose --cell gro": "Invalid value for '--cell': 'gro' is not one of 'rnn', 'lstm', 'gru'",
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


# Diagnosis

VERDICTS = {
    "healthy": (model("T=3"), 0),
    "vanishing": (model("T=40"), 1),
    "one step": (model("T=1"), 0),
    "no sequence": (closure("return model(x[:, :0]).nan_to_num()"), 0),
    "NaN": (closure("return model(x * float('nan'))"), 1),
    "its own backward": (closure("loss = model(x); loss.backward(); return loss"), 1),
}


@pytest.mark.parametrize(("file", "code"), VERDICTS.values(), ids=VERDICTS)
def test_the_exit_code_tells_a_finding(run: Ran, file: str, code: int) -> None:
    ran = run("diagnose", "model.py:build", file=file)
    assert (ran.code, ran.err) == (code, "")
    assert ran.out


CLOSURES = {
    "vector": ("return x[0, 0]", "returned shape (3,)"),
    "None": ("model(x)", "returned NoneType"),
    "number": ("return model(x).item()", "returned float"),
    "no_grad": ("with torch.no_grad(): return model(x)", "no gradient reached layer 'rnn'"),
    "detached": ("return model(x).detach()", "no gradient reached layer 'rnn'"),
    "no layer": ("return x.mean()", "no recurrent layer of the model ran in the closure"),
    "raises": ("raise ValueError('no')", "ValueError: no"),
    "features": ("return model(x[..., :2])", "the last axis must be 3"),
    "no steps": ("return model(x[:0])", "got a sequence of 0 steps"),
    "type": ("return model(x.double())", "convert it with x.to(torch.float32)"),
    "in place": (
        "y = model.rnn(x)[0].sigmoid(); loss = y.square().sum(); y.mul_(2); return loss",
        "modified by an inplace operation",
    ),
}


@pytest.mark.parametrize(("body", "sentence"), CLOSURES.values(), ids=CLOSURES)
def test_a_bad_closure_is_one_line(run: Ran, body: str, sentence: str) -> None:
    ran = run("diagnose", "model.py:build", file=closure(body))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("throughtime: ")
    assert sentence in ran.err


def found_by(ran: SimpleNamespace) -> Diagnosis:
    return Diagnosis.from_json(ran.out)


def test_json_is_the_whole_diagnosis_and_nothing_else(run: Ran) -> None:
    prints = closure("print('noise'); __import__('os').write(1, b'raw\\n'); return model(x)")
    ran = run("diagnose", "model.py:build", "--json", file=prints)
    found = found_by(ran)
    assert ran.out == f"{found.to_json()}\n"
    assert found.run["source"] == "model.py:build"
    assert sorted(ran.err.split()) == ["noise", "raw"]


@pytest.mark.parametrize(("options", "span"), [([], 12), (["--span", "3"], 3)], ids=str)
def test_the_span_is_the_sequence_unless_it_is_given(
    run: Ran, options: list[str], span: int
) -> None:
    assert (
        found_by(run("diagnose", "model.py:build", "--json", *options, file=model())).span == span
    )


def test_a_span_beyond_the_capture_is_said_to_be(run: Ran) -> None:
    ran = run("diagnose", "model.py:build", "--json", "--span", str(2**62), file=model())
    found = found_by(ran)
    assert (ran.code, found.verdict, found.span) == (1, "vanishing", 2**62)
    assert "more than was captured" in found.sentence


@pytest.mark.parametrize(("options", "deep"), [([], False), (["--deep"], True)], ids=str)
def test_deep_measures_what_takes_longer(run: Ran, options: list[str], deep: bool) -> None:
    ran = run("diagnose", "model.py:build", "--json", *options, file=model("T=40"))
    names = {one.name for layer in found_by(ran).layers for one in layer.measurements}
    assert {"budget", "counterfactuals", "gain"} <= names
    assert ("lyapunov" in names, "eigenvalues" in names) == (deep, deep)


def test_the_answer_says_why(run: Ran) -> None:
    ran = run("diagnose", "model.py:build", file=model("T=40"))
    order = ["VANISHING", "Why", "Where the decades go", "What if", "rnn (LSTM)", "Gain by lag"]
    places = [ran.out.find(part) for part in order]
    assert -1 not in places
    assert places == sorted(places)


def test_the_answer_and_the_report_are_in_the_language_that_was_asked_for(run: Ran) -> None:
    ran = run(
        *("diagnose", "model.py:build", "--language", "ko", "--report", "r.html"),
        file=model("T=40"),
    )
    assert "기울기 소실" in ran.out
    assert "왜 그런가" in ran.out
    assert '<html lang="ko">' in Path("r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_cell_reads_a_text(run: Ran, cell: str) -> None:
    Path("text.txt").write_text("the cat sat on the mat and the dog did not " * 40)
    sizes = "--hidden", "8", "--window", "20", "--text", "text.txt", "--json"
    first, again, other = (
        found_by(run("diagnose", "--cell", cell, *sizes, "--seed", seed)) for seed in "112"
    )
    assert [layer.kind.lower() for layer in first.layers] == [cell]
    assert (first.span, first.run["steps"]) == (20, 20)
    assert "text.txt" in first.run["source"]
    assert first == again
    assert first.rate != other.rate


def test_a_warning_that_is_a_note_is_said_once(run: Ran) -> None:
    ran = run("diagnose", "model.py:build", file=closure("x[6:, 1] = 0; return model(x)"))
    assert ran.err == ""
    assert ran.out.count("stands still") == 1


def test_names_are_shown_as_they_are(run: Ran) -> None:
    name = "[bold]<script>\\x1b[31m"
    ran = run("diagnose", "model.py:build", file=model(f"name='{name}'"))
    assert "[bold]<script>" in ran.out
    assert "\x1b" not in ran.out


# The report


def test_the_report_is_written_and_named(run: Ran, folder: Path) -> None:
    moves = closure("__import__('os').chdir('/'); return model(x)")
    ran = run("diagnose", "model.py:build", "--report", "r.html", file=moves)
    assert ran.code == 1
    assert ran.out.endswith(f"The report is in {folder / 'r.html'}\n")
    assert (folder / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_report_that_cannot_be_written_does_not_cost_the_answer(run: Ran, folder: Path) -> None:
    os.mkfifo("pipe")
    ran = run("diagnose", "model.py:build", "--report", "pipe", "--json", file=model())
    assert (ran.code, found_by(ran).verdict) == (2, "vanishing")
    pipe = folder / "pipe"
    assert ran.err == f"throughtime: {pipe} is a named pipe: name a new file, or one to replace\n"


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
        errors.MissingExtraError("wandb", "watch"),
        3,
        'wandb is not installed: run  pip install "throughtime[watch]"',
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
