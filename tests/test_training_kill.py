"""Trainings in processes of their own: killed, interrupted, resumed; to the same last bit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from throughtime.runs import RunDirectory

pytestmark = pytest.mark.usefixtures("ordinary_signals")

COMMAND = [sys.executable, "-m", "throughtime", "train"]
EVERY = 20  # steps between two checkpoints
TASK = "adding --length 40 --hidden 24 --steps 300 --schedule cosine --measure-every 150"
OWN = """
import random
import numpy as np
import torch
from torch import nn
import throughtime as tt

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(2, 16, num_layers=2, dropout=0.2)
        self.readout = nn.Linear(16, 1)

    def forward(self, x):
        return self.readout(self.recurrent(x)[0][-1]).squeeze(1)

def batches(seed):
    while True:
        x = torch.randn(20, 8, 2) + random.random()
        yield x, x[0, :, 0] + torch.from_numpy(np.random.rand(8)).float()

def loss(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()

def build():
    return tt.Problem("mine", Net(), batches, loss, span=19)
"""
OF_ONES_OWN = "own.py:build --steps 300 --lr 0.01"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    return tmp_path


def arguments(what: str, run: str) -> list[str]:
    more = ["--run", run, "--resume", "--checkpoint-every", str(EVERY), "--json", "--quiet"]
    return [*COMMAND, *what.split(), *more]


def train(what: str, run: str) -> dict[str, object]:
    ran = subprocess.run(arguments(what, run), capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    found: dict[str, object] = json.loads(ran.stdout)
    del found["seconds"], found["run"]
    return found


def started(what: str, run: str, until: Callable[[], bool]) -> "subprocess.Popen[str]":
    """A training, as soon as ``until`` holds."""
    process = subprocess.Popen(
        arguments(what, run), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not until():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.001)
    return process


def steps(run: str) -> int:
    """Lines in the journal: at least as many as there are steps."""
    journal = Path(run, "journal.jsonl")
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def reached(run: str, step: int) -> Callable[[], bool]:
    """The journal has so many steps more than now."""
    before = steps(run)
    return lambda: steps(run) >= before + step


def manifest_there() -> bool:
    return Path("run", "manifest.json").exists()


@pytest.mark.parametrize("what", [TASK, OF_ONES_OWN], ids=["task", "file"])
def test_kill_9_at_any_moment_changes_no_bit(what: str) -> None:
    expected = train(what, "whole")
    moments = [
        manifest_there,
        reached("run", 3),
        lambda: any(Path("run").glob(".throughtime-*.tmp")) or steps("run") > 150,  # while it saves
        lambda: steps("run") > 200,
    ]
    for moment in moments:
        process = started(what, "run", moment)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it had ended before"
        last = max([line["step"] for line in RunDirectory.open("run").history()], default=0)
        saved = max([one.step for one in RunDirectory.open("run").checkpoints], default=0)
        assert last - saved <= EVERY
    assert train(what, "run") == expected


@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung up"),
        (signal.SIGUSR1, 143, "terminated"),
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"],
)
def test_a_signal_waits_for_a_checkpoint(
    sent: signal.Signals, code: int, said: str, folder: Path
) -> None:
    process = started(TASK, "run", reached("run", 50))
    process.send_signal(sent)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    run = RunDirectory.open("run")
    last = run.history()[-1]["step"]
    assert (run.checkpoints[-1].step, run.manifest["status"]) == (last, "stopped")
    saved = f"step {last} of 300 is saved in {folder}/run"
    how = "the same command with --resume goes on from there"
    assert err == f"throughtime: {saved}: {how}\nthroughtime: {said}\n"
    if sent is signal.SIGTERM:
        assert train(TASK, "run")["loss"] == train(TASK, "whole")["loss"]


SCRIPT = """
import signal, sys
from training_problems import running_sum
from throughtime.training import train

seen = []
if "own" in sys.argv:
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))

def on_step(step, loss):
    if step == 5:
        signal.raise_signal(getattr(signal, sys.argv[1]))
        seen.append("the update went on")

try:
    done = train(running_sum(), 50, run="run", on_step=on_step)
finally:
    print(*seen, flush=True)
print(done.status, done.steps, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.parametrize(
    ("given", "code", "printed"),
    [
        (["SIGINT"], -signal.SIGINT, "the update went on\n"),
        (["SIGTERM"], -signal.SIGTERM, ""),
        (["SIGHUP"], -signal.SIGHUP, ""),
        (["SIGUSR1"], -signal.SIGTERM, ""),
        (["SIGTERM", "own"], 0, "the update went on 15\nstopped 5 True\n"),
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "own handler"],
)
def test_the_handlers_of_a_script_have_the_last_word(
    given: list[str], code: int, printed: str
) -> None:
    """As a process sees them: Python dies of the signal after a KeyboardInterrupt."""
    Path("script.py").write_text(SCRIPT)
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "script.py", *given]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert (ran.returncode, ran.stdout) == (code, printed), ran.stderr
    assert RunDirectory.open("run").checkpoints[-1].step == 5
