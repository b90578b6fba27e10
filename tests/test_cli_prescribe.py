"""``throughtime prescribe``: its answers, its errors, and how they look."""

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
from user_files import closure, leaving_no_trace
from user_files import model as user_model

from throughtime.cli import main
from throughtime.prescription import Prescription

Ran = Callable[..., SimpleNamespace]
QUICK = "--most 2 --updates 3"
TASK = "adding --cell rnn --length 20 --hidden 8 --most 3 --updates 2"
CELLS = ("janet", "gru", "lstm", "lru", "indrnn", "cornn", "lem", "mingru", "antisymmetric")
PROBLEM = """
import torch
from torch import nn
import throughtime as tt

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.LSTM(2, 6)])

    def forward(self, x):
        return self.layers[0](x)[0][-1].sum(-1)

NET = Net()

def batches(seed):
    while True:
        x = torch.rand(20, 4, 2)
        yield x, x[0, :, 0]

def loss(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()

def build():
    return tt.Problem("mine", Net(), batches, loss, span=19)

def kept():
    tt.remedies.chrono_(NET, t_max=100)
    return tt.Problem("kept", NET, batches, loss, span=19)

def foreign():
    return tt.Problem("foreign", NET, batches, lambda model, batch: loss(NET, batch), span=19)

def empty():
    return tt.Problem("empty", NET, lambda seed: iter(()), loss, span=19)

def broken():
    return tt.Problem("broken", NET, batches, lambda model, batch: 1 / 0, span=19)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    Path("own.py").write_text(PROBLEM, encoding="utf-8")
    with leaving_no_trace(tmp_path), torch.random.fork_rng():
        yield tmp_path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Ran:
    """``throughtime prescribe ARGUMENTS``; the JSON it printed, if it is some."""

    def ran(arguments: str, *, own: str | None = None) -> SimpleNamespace:
        if own is not None:
            Path("own.py").write_text(own, encoding="utf-8")
        code = main(["prescribe", *arguments.split()])
        out, err = capfd.readouterr()
        facts: dict[str, Any] = json.loads(out) if "--json" in arguments and out else {}
        return SimpleNamespace(code=code, out=out, err=err, facts=facts)

    return ran


def test_it_prints_the_verdict_the_ranking_and_the_lines_to_paste(run: Ran) -> None:
    ran = run(f"own.py:build {QUICK}")
    assert ran.code == 1
    assert ran.out.startswith("↓ VANISHING\n")
    assert re.search(r"^ +untreated +↓ vanishing", ran.out, re.MULTILINE)
    assert re.search(r"^1  chrono +✓ healthy +≥ 19", ran.out, re.MULTILINE)
    assert "    tt.remedies.chrono_(model.layers[0], t_max=19)\n" in ran.out
    assert "After 3 updates of each copy." in ran.out


def test_what_it_prints_fits_into_eighty_columns_but_for_code(run: Ran) -> None:
    lines = run(f"own.py:build {QUICK}").out.splitlines()
    assert [line for line in lines if len(line) > 80 and "tt.remedies" not in line] == []


def test_a_healthy_model_gets_nothing_and_exit_code_0(run: Ran) -> None:
    ran = run("own.py:kept")
    assert ran.code == 0
    assert "Nothing to prescribe" in ran.out


def test_json_is_the_prescription_and_all_that_is_printed(run: Ran) -> None:
    ran = run(f"own.py:build {QUICK} --json --span 10")
    assert ran.code == 1
    found = Prescription.from_json(ran.out)
    assert found.span == 10
    assert [option.name for option in found.options] == [
        option["name"] for option in ran.facts["options"]
    ]


def test_a_pair_of_model_and_closure_is_treated(run: Ran) -> None:
    ran = run(f"own.py:build {QUICK} --json", own=user_model("T=20"))
    found = Prescription.from_json(ran.out)
    assert ran.code == 1
    assert found.span == 19
    assert found.options[0].name == "chrono"
    assert found.options[0].verdict == "healthy"
    assert any(note.startswith("no --span given") for note in found.notes)


COUNTING = "    with open('calls', 'a') as calls:\n        calls.write('.')\n"
HELD = "(model(x) for _ in iter(int, 1)).__next__"  # a generator, which nobody can copy


@pytest.mark.parametrize(
    ("own", "runs"),
    [
        (PROBLEM.replace("def build():\n", f"def build():\n{COUNTING}"), 1),
        (user_model("T=20").replace("def build():\n", f"def build():\n{COUNTING}"), 1),
        (
            user_model("T=20")
            .replace("def build():\n", f"def build():\n{COUNTING}")
            .replace("lambda: model(x)", HELD),
            5,  # the first, the patient, the diagnosed, the untreated and the treated one
        ),
    ],
    ids=["problem", "pair", "pair that cannot be copied"],
)
def test_the_users_function_is_run_once(run: Ran, own: str, runs: int) -> None:
    ran = run("own.py:build --most 1 --updates 2 --json", own=own)
    assert ran.code == 1
    calls = len(Path("calls").read_text())
    assert calls == runs if runs == 1 else calls >= runs
    said = any("the function was run for each remedy" in note for note in ran.facts["notes"])
    assert said == (runs > 1)


def test_a_pair_that_is_made_anew_with_other_weights_is_told(run: Ran) -> None:
    own = user_model("T=20").replace(
        "torch.manual_seed(0)", "torch.manual_seed(int.from_bytes(__import__('os').urandom(4)))"
    )
    own = own.replace("lambda: model(x)", HELD)
    told = " ".join(run(f"own.py:build {QUICK}", own=own).out.split())
    assert "made other weights at each call" in told


def test_a_task_can_be_named(run: Ran) -> None:
    ran = run(f"adding --cell rnn --length 20 --hidden 8 {QUICK} --json")
    assert ran.code == 1
    assert ran.facts["span"] == 19


def test_remedies_can_be_named(run: Ran) -> None:
    ran = run(f"own.py:build {QUICK} --json --remedies orthogonal,chrono")
    assert {option["name"] for option in ran.facts["options"]} == {"orthogonal", "chrono"}


def test_the_cell_can_be_kept(run: Ran) -> None:
    named = {
        flag: [option["name"] for option in run(f"{TASK} {flag} --json").facts["options"]]
        for flag in ("", "--keep-cell")
    }
    assert "janet+chrono" in named[""]
    assert named["--keep-cell"]
    assert not [name for name in named["--keep-cell"] if name.startswith(CELLS)]


def test_the_report_has_the_ranking_and_the_code(run: Ran) -> None:
    ran = run(f"own.py:build {QUICK} --report page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    assert ran.out.endswith("The report is in " + str(Path("page.html").absolute()) + "\n")
    for part in ("Prescription", "untreated", "chrono_(model.layers[0], t_max=19)"):
        assert part in page


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("own.py:foreign", "its loss runs another model than the one that it is given"),
        ("own.py:empty", "empty: batches(0) gives no batch"),
        ("own.py:broken", "own.py:38: ZeroDivisionError"),
        ("own.py:nothing", "own.py: unknown function 'nothing'; choose from: batches"),
        ("own.py:build --cell rnn", "give FILE.py:FUNCTION or --cell, not both"),
        ("own.py:build --span 0", "0 is out of range"),
        ("own.py:build --report .", "is a directory: name a file in it"),
        ("addition", "unknown task 'addition'; did you mean 'adding'? choose from:"),
        ("", "Missing argument"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(run: Ran, arguments: str, told: str) -> None:
    ran = run(arguments)
    assert ran.code == 2
    assert told in ran.err
    assert ran.err.count("\n") == 1
    assert not ran.out


def test_a_model_without_a_recurrent_layer_is_told(run: Ran) -> None:
    own = closure("return next(model.parameters()).sum()")
    ran = run("own.py:build --span 5", own=own)
    assert ran.code == 2
    assert "no recurrent layer of the model ran" in ran.err


def test_without_a_terminal_there_are_no_escapes_and_with_one_there_is_colour() -> None:
    command = [sys.executable, "-m", "throughtime", "prescribe", "own.py:build", *QUICK.split()]
    settings = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    piped = subprocess.run(command, capture_output=True, env=settings, check=False)
    assert b"\x1b" not in piped.stdout
    theirs, ours = pty.openpty()
    with subprocess.Popen(command, stdout=ours, stderr=subprocess.DEVNULL, env=settings) as child:
        os.close(ours)
        shown = b"".join(_read(theirs))
    assert child.returncode == 1
    assert b"\x1b[1" in shown
    assert re.sub(rb"\x1b\[[\d;]*m", b"", shown).split()[:3] == piped.stdout.split()[:3]


def _read(descriptor: int) -> Iterator[bytes]:
    """All that comes, until the other side closes."""
    while True:
        try:
            part = os.read(descriptor, 4096)
        except OSError:
            return
        if not part:
            return
        yield part
