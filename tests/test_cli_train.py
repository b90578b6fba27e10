"""``throughtime train``, in this process and in one of its own: answers, errors, progress."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from user_files import leaving_no_trace

from throughtime.cli import main
from throughtime.runs import RunDirectory
from throughtime.tasks import make_task
from throughtime.training import train

Ran = Callable[..., SimpleNamespace]
SMALL = "--hidden 8 --batch 4 --quiet"
ADDING = f"train adding --length 12 {SMALL}"
TEXT = "The cat sat on the mat, and the dog lay by the door. " * 60
OWN = """
import torch
from torch import nn
import throughtime as tt

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(2, 6)

    def forward(self, x):
        return self.recurrent(x)[0][-1].sum(-1)

def batches(seed):
    while True:
        x = torch.rand(9, 4, 2)
        yield x, x[0, :, 0]

def loss(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()

def build(**more):
    return tt.Problem("mine", Net(), batches, loss, span=8, **more)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    with leaving_no_trace(tmp_path), torch.random.fork_rng():
        yield tmp_path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Ran:
    """``throughtime ARGUMENTS``; the JSON it printed, if it is some."""

    def ran(arguments: str, *, own: str | None = None) -> SimpleNamespace:
        if own is not None:
            Path("own.py").write_text(own, encoding="utf-8")
        code = main(arguments.split())
        out, err = capfd.readouterr()
        facts: dict[str, Any] = json.loads(out) if "--json" in arguments and out else {}
        return SimpleNamespace(code=code, out=out, err=err, facts=facts)

    return ran


def test_the_answer_is_that_of_the_library(run: Ran) -> None:
    ran = run(f"{ADDING} --steps 5 --seed 3 --json --measure-every 2")
    problem = make_task("adding", length=12, hidden=8, batch=4, seed=3)
    done = train(problem, 5, seed=3, measure_every=2)
    told = {**done.to_dict(), "run": None, "span": 11, "problem": "adding 12"}
    told |= {"trivial_loss": problem.trivial_loss, "criterion": "loss below 0.01"}
    del told["losses"], told["norms"], told["evaluations"], told["seconds"], ran.facts["seconds"]
    assert (ran.code, ran.err, ran.facts) == (0, "", told)


TASKS = """
adding copy copy-ten temporal-order delayed-xor parity latch name-recall name-recall-ko words
characters digits digits-permuted
"""


@pytest.mark.parametrize("task", TASKS.split())
def test_every_task_trains(run: Ran, task: str) -> None:
    if task.startswith("digits"):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    ran = run(f"train {task} {SMALL} --cell gru --steps 2 --json")
    assert (ran.code, ran.facts["steps"], ran.facts["status"]) == (0, 2, "done"), ran.err
    assert ran.facts["scores"]


@pytest.mark.parametrize("more", ["", "--characters"], ids=["words", "characters"])
def test_a_text_of_ones_own(run: Ran, more: str) -> None:
    Path("book.txt").write_text(TEXT)
    arguments = f"train --text book.txt --length 10 {SMALL} --steps 3 --json --run run {more}"
    assert run(arguments).facts["steps"] == 3
    Path("book.txt").write_text(TEXT + "Another end.")
    other = run(f"{arguments} --resume")
    assert other.code == 2
    assert "was begun with text " in other.err


def test_a_problem_of_ones_own_from_any_seed(run: Ran) -> None:
    """Its file seeds nothing: ``--seed`` decides over its weights and its batches."""
    command = "train own.py:build --steps 3 --json --quiet --seed"
    losses = [run(f"{command} {seed}", own=OWN).facts["loss"] for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    "more",
    [
        "--window 5",
        "--lr 0.1",
        "--clip 0",
        "--initialisation orthogonal",
        "--forget-bias 2",
        "--schedule cosine",
        "--variant skip",
        "--cell gru",
        "--seed 4",
    ],
)
def test_an_option_makes_another_training(run: Ran, more: str) -> None:
    plain, other = (run(f"{ADDING} --steps 4 --json {one}").facts for one in ("", more))
    assert (plain["status"], other["status"]) == ("done", "done")
    assert plain["loss"] != other["loss"]


def test_resumed_is_uninterrupted(run: Ran) -> None:
    whole = run(f"{ADDING} --steps 9 --json --run whole").facts
    run(f"{ADDING} --steps 4 --json --run run")
    resumed = run(f"{ADDING} --steps 9 --json --run run --resume").facts
    for facts in (whole, resumed):
        del facts["seconds"], facts["run"], facts["horizons"]
    assert resumed == whole


EDITED = {
    "own.py:build": (OWN.replace(".square().mean()", ".square().mean() * 1000"), "text of own.py"),
    "own.py:other": (OWN + "\n\ndef other():\n    return build()\n", "file own.py:build"),
}


@pytest.mark.parametrize(
    ("target", "own", "said"), [(t, *e) for t, e in EDITED.items()], ids=EDITED
)
def test_an_edited_file_is_not_resumed(run: Ran, target: str, own: str, said: str) -> None:
    run("train own.py:build --steps 2 --run run --quiet", own=OWN)
    assert run("train own.py:build --steps 3 --run run --resume --quiet").code == 0
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    ran = run(f"train {target} --steps 4 --run run --resume --quiet", own=own)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert f"run was begun with {said}" in ran.err
    assert "goes on from there" not in ran.err
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == before


def test_people_are_told_what_came_of_it(run: Ran) -> None:
    out = run(f"{ADDING} --steps 6 --run run").out
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == "adding 12: not solved after 6 updates (loss below 0.01 on data kept apart)"
    expected = {
        "training loss": r"[\d.]+ over the last 6 batches; 0\.1667 for an answer that never .*",
        "held out": r"loss [\d.]+, correct [\d.]+",
        "horizon": r"\d+ steps, \d+ before training; the task looks 11 back",
        "clipped": r"\d+ % of the updates",
        "time": r"\d+ seconds",
        "run": r"run \(journal, and a checkpoint to go on from\)",
    }
    for line, (name, told) in zip(lines[1:], expected.items(), strict=True):
        assert re.fullmatch(rf"{name} +{told}", line)


def test_it_stops_once_solved(run: Ran) -> None:
    Path("own.py").write_text(
        OWN.replace("def build(", "def unused(") + "\n"
        "def build():\n"
        "    from throughtime.problem import Criterion\n"
        "    scores = iter([3.0, 2.0, 0.5])\n"
        "    return unused(evaluate=lambda model: {'loss': next(scores)},\n"
        "                  solved=Criterion('loss', 'below', 1.0))\n"
    )
    ran = run("train own.py:build --steps 50 --evaluate-every 4 --until-solved --quiet --json")
    assert (ran.facts["status"], ran.facts["solved_at"], ran.facts["steps"]) == ("solved", 12, 12)
    told = run("train own.py:build --steps 50 --evaluate-every 4 --until-solved --quiet").out
    assert told.startswith(
        "mine: solved at update 12 (loss below 1 on data kept apart); 12 of 50 updates made\n"
    )


# What goes wrong is one line

BAD: dict[str, str] = {
    "train": "nothing to train: give a task, FILE.py:FUNCTION or --text FILE",
    "train adding --text x": "give a task, FILE.py:FUNCTION or --text, not two of them",
    "train adding --characters": "--characters says how to read a text: give --text FILE as well",
    "train adding --cell gro": "unknown cell 'gro'; did you mean 'gru'? choose from: rnn, ",
    "train ading": "unknown task 'ading'; did you mean 'adding'? choose from: adding, ",
    "train adding --schedule x": "unknown schedule 'x'; choose from: constant, linear, ",
    "train adding --initialisation x": "unknown --initialisation 'x'; choose from: default, ",
    "train adding --length 1": "length is 1, and must be at least 10",
    "train adding --resume": "nothing to resume: name the run directory as well",
    "train adding --lr -1": "Invalid value for '--lr': -1.0 is out of range: give a number from 0",
    "train adding --lr nan": "Invalid value for '--lr': nan is out of range",
    "train adding --run file": "/file is not a directory: name another",
    "train own.py:none": "own.py: unknown function 'none'; choose from: batches, loss, build",
    "train own.py:build --hidden 3": "give FILE.py:FUNCTION or --hidden, not both",
    "train own.py:build --window 3": "mine cannot be cut through time: give its Problem windows=",
    "train own.py:build --until-solved": "mine does not say when it is solved",
    "train own.py:Net": "own.py:Net must return a throughtime.Problem to be trained; it returned",
    "train --text no.txt": "no.txt: no such file: check the path",
}


@pytest.mark.parametrize(("arguments", "said"), BAD.items(), ids=BAD)
def test_bad_input_is_one_line(run: Ran, arguments: str, said: str) -> None:
    Path("file").touch()
    ran = run(f"{arguments} --json --quiet --steps 2", own=OWN)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert said in ran.err


FAULTS = {
    "batches": ("x = torch.rand(9, 4, 2)", "x = torch.rand(9, 4, 'two')", "TypeError"),
    "loss": ("return (model", "return 1 / 0 + (model", "ZeroDivisionError: division by zero"),
    "exit": ("x = torch.rand(9, 4, 2)", "exit(3)", "it called exit(3)"),
    "model": ("self.recurrent(x)", "self.recurrent(x[0, 0, 0, 0])", "IndexError"),
}


@pytest.mark.parametrize(("old", "new", "said"), FAULTS.values(), ids=FAULTS)
def test_an_error_of_the_file_is_told_with_its_line(
    run: Ran, old: str, new: str, said: str
) -> None:
    own = OWN.replace(old, new)
    line = 1 + own[: own.index(new)].count("\n")
    ran = run("train own.py:build --steps 2 --json --quiet", own=own)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"throughtime: own.py:{line}: {said}")


def test_a_training_that_diverges_is_a_finding(run: Ran) -> None:
    own = OWN.replace("return (model", "return 1e30 * (1e30 * model").replace("- batch[1])", ")")
    ran = run("train own.py:build --steps 2 --json --quiet --run run", own=own)
    facts = json.loads(ran.out)
    assert (ran.code, facts["status"], facts["steps"]) == (1, "diverged", 0)
    assert "mine: at step 1 the loss is inf" in facts["reason"]
    assert ran.err == f"throughtime: {facts['reason']}\n"
    assert RunDirectory.open("run").manifest["status"] == "diverged"


def test_json_has_standard_output_for_itself(run: Ran) -> None:
    ran = run("train own.py:build --steps 2 --json", own="print('hello')\n" + OWN)
    assert ran.facts["steps"] == 2
    assert ran.err.startswith("hello\nmine: 2 steps\nstep 1/2  loss ")
    assert ran.err.splitlines()[-1].startswith("step 2/2  loss ")


def test_what_cannot_be_measured_is_a_line_and_no_end(run: Ran) -> None:
    own = OWN.replace("nn.GRU(2, 6)", "nn.Linear(2, 6)").replace(
        "self.recurrent(x)[0]", "self.recurrent(x)"
    )
    ran = run("train own.py:build --steps 2 --json --quiet", own=own)
    assert (ran.code, ran.facts["horizon"]) == (0, None)
    assert ran.err.startswith("throughtime: the gradient flow of mine is not measured: ")
    assert ran.err.count("\n") == 1


# As a process of its own


def limited(limit: str, arguments: str) -> subprocess.CompletedProcess[str]:
    """In a shell that may write no file of more than so many blocks of 1 KiB."""
    command = f"ulimit -f {limit}; trap '' XFSZ; exec {sys.executable} -m throughtime {arguments}"
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=300
    )


def test_a_disk_that_fills_up_does_not_end_it() -> None:
    """The first checkpoint finds no room; a resume begins again."""
    task = "train adding --length 12 --hidden 64 --batch 4 --quiet --json --steps 6"
    full = limited("16", f"{task} --run run --checkpoint-every 3")
    assert full.returncode == 0, full.stderr
    assert full.stderr.count("\n") == 1
    assert re.match(
        r"throughtime: .*/run/.*: File too large: not written \([\d,]+ bytes\)", full.stderr
    )
    assert full.stderr.endswith(": the training goes on, and is no longer recorded\n")
    again = limited("unlimited", f"{task} --run run --resume")
    assert json.loads(again.stdout)["loss"] == json.loads(full.stdout)["loss"]
    assert full.stderr.startswith(f"throughtime: {json.loads(full.stdout)['unrecorded']}: ")
    assert json.loads(again.stdout)["unrecorded"] is None


def test_a_disk_that_filled_up_is_told_in_the_end() -> None:
    task = "train adding --length 12 --hidden 64 --batch 4 --quiet --steps 6"
    printed = limited("16", f"{task} --run run --checkpoint-every 3").stdout
    assert re.search(r"run +run \(not recorded to the end: .*File too large: not written", printed)


def test_a_terminal_shows_how_it_comes_on_and_is_left_clean() -> None:
    ours, theirs = pty.openpty()
    small = "train adding --length 12 --hidden 8 --batch 4 --steps 400 --measure-every 100"
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        [sys.executable, "-m", "throughtime", *small.split()],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=env,
    ) as process:
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 4096):
                written += piece
        except OSError:  # how a terminal says that its other end is closed
            pass
        process.wait()
    os.close(ours)
    shown = written.decode()
    assert re.search(
        r"\d+/400.*loss [\d.e+-]+  horizon \d+  clipped \d+ %  [\d.e+]+ steps/s", shown
    )
    assert shown.endswith("\x1b[2K"), "the last line is not erased"


HELP = """
import sys
from throughtime.cli import main
main(["train", "--help"])
print(*({"torch", "numpy", "matplotlib", "joblib"} & set(sys.modules)), file=sys.stderr)
"""


def test_help_loads_nothing_heavy() -> None:
    ran = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    assert ran.stderr == "\n"
