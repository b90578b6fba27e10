"""``tt.treat`` as people call it: from a script, from a session, with a model and a closure."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

BEFORE = """
import json

import torch
from torch import nn

import throughtime as tt

RATE = 1e-2


class Echo(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(2, 8)
        self.readout = nn.Linear(8, 1)

    def forward(self, x):
        return self.readout(self.rnn(x)[0][-1]).squeeze(-1)


def drawn(draw=None):
    return torch.randn(9, 8, 2, generator=draw)


def batches(seed):
    draw = torch.Generator().manual_seed(seed)
    while True:
        yield drawn(draw)


def loss(model, x):
    return (model(x) - x[0, :, 0]).square().mean()


def make(seed):
    torch.manual_seed(seed)
    adam = lambda parameters: torch.optim.Adam(parameters, lr=RATE)
    return tt.Problem("echo", Echo(), batches, loss, span=8, optimizer=adam)


model = Echo()


def closure():
    return loss(model, drawn())


"""
ASK = 'steps=40, seeds=2, remedies=["orthogonal"], folder="out", jobs=2, progress=True'
TELL = """
print(json.dumps([[end.status for end in arm.ends] for arm in done.arms]))
print(json.dumps(done.notes))
"""
OFTEN = "from throughtime.trials import progress; progress._LOOK = 0.02"  # seconds
DONE = [["done"] * 2] * 2


def ran(folder: Path, what: str, *, first: str = "", typed: bool = False) -> SimpleNamespace:
    """A script that treats this, run; or typed into a session."""
    script = f"{BEFORE}{first}\ndone = tt.treat({what}, {ASK})\n{TELL}"
    (folder / "script.py").write_text(script)
    command = [sys.executable, *(["-"] if typed else ["script.py"])]
    done = subprocess.run(
        command, cwd=folder, input=script if typed else None, capture_output=True, text=True,
        check=False,
    )  # fmt: skip  # one call
    assert done.returncode == 0, done.stderr
    ends, notes = done.stdout.splitlines()
    return SimpleNamespace(ends=json.loads(ends), notes=json.loads(notes), err=done.stderr)


def test_a_function_that_mentions_tt_is_sent_to_the_workers(tmp_path: Path) -> None:
    done = ran(tmp_path, "make", first=OFTEN)
    assert done.ends == DONE
    lines = done.err.splitlines()
    assert lines[0].startswith("4 trainings of 40 updates each: untreated and with 1 remedy (orth")
    assert lines[0].endswith("from 2 seeds (0, 1)")
    assert lines[1] == "2 seeds cannot prove that a remedy helps: for 1 remedy give at least 5"
    assert lines[2].startswith("about 1 second on 2 processes; an update takes ")
    assert any(re.fullmatch(r"trials [123]/4, .*\d:\d\d left", line) for line in lines[3:])


def test_a_model_and_a_closure_of_a_session_are_treated(tmp_path: Path) -> None:
    done = ran(tmp_path, "model, closure", typed=True)
    assert done.ends == DONE
    assert [note[:46] for note in done.notes] == [
        "Trained by Adam with a learning rate of 1e-3, ",
        "No span was given: taken is the longest lag of",
        "The seeds differ in what the closure draws, it",
    ]
