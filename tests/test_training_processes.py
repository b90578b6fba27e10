"""One training over several processes: the same losses, one record, and no survivor that waits."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from throughtime.errors import InputError
from throughtime.runs import RunDirectory
from throughtime.training.processes import share_of_tensors

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--"]
TASK = "train adding --length 30 --hidden 16 --batch 20 --quiet --json --lr 0.01"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def run(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def losses(name: str) -> list[float]:
    return [line["loss"] for line in RunDirectory.open(name).history() if line["step"]]


def test_two_processes_have_the_losses_of_one_and_resume() -> None:
    task = ["throughtime", *TASK.split()]
    run(sys.executable, "-m", *task, "--steps", "30", "--run", "one")
    run(*TORCHRUN, *task, "--steps", "14", "--run", "two")
    printed = run(*TORCHRUN, *task, "--steps", "30", "--run", "two", "--resume")
    assert printed.count("\n") == 1, "one process alone prints"
    assert losses("two") == pytest.approx(losses("one"), rel=1e-5)


# A script in two processes: what it prints, and how each of them ends.

SCRIPT = """
import datetime, os, signal, sys, time
import torch
from torch import nn
from throughtime.errors import ThroughtimeError
from throughtime.training import joined, train
from training_problems import running_sum

rank = int(os.environ["RANK"])
{before}
try:
    with joined(datetime.timedelta(seconds=int(sys.argv[1]))):
        problem = running_sum(nn.Dropout(0.2))
        done = train(problem, 8, run="run", checkpoint_every=3, **dict({how}))
        total = sum(float(p.double().sum()) for p in problem.model.parameters())
        print(done.losses[-1], total, done.steps, done.status, done.scores)
except ThroughtimeError as error:
    print(error)
    sys.stdout.flush()
    os._exit(error.exit_code)
"""


def two(before: str = "", how: str = "", patience: int = 60) -> list[tuple[int, str]]:
    """Exit code and printed lines of both processes."""
    Path("script.py").write_text(SCRIPT.format(before=before, how=how))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "script.py", str(patience)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **common, "PYTHONPATH": path, "RANK": str(rank)},
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=200)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, printed, strict=True)]


def test_all_processes_hold_the_same_model_whatever_they_began_with() -> None:
    """Other initial weights, other dropout masks, one training."""
    (code, first), (_, second) = two(before="torch.manual_seed(rank)", how="evaluate_every=2")
    assert code == 0
    assert first == second


def test_one_that_ends_early_ends_all() -> None:
    """The first alone decides: the second is asked nothing."""
    both = two(how="on_step=lambda step, loss: step == 5 and rank == 0")
    assert [(code, text.split()[2:4]) for code, text in both] == [(0, ["5", "stopped"])] * 2


AT_EXIT = """
import atexit
from pathlib import Path
atexit.register(lambda: print([name.read_text() for name in Path("/proc/self/task").glob("*/comm")
                               if "gloo" in name.read_text()]))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no list of threads without /proc")
def test_no_thread_of_the_group_outlives_it() -> None:
    """One that is at work while the interpreter ends aborts the process, whose result is lost."""
    both = two(AT_EXIT)
    assert [(code, text.splitlines()[-1]) for code, text in both] == [(0, "[]")] * 2


DIES = """
from throughtime.training.update import Updater
usual = Updater.__call__
def updated(self, step, batch):
    if step == 5 and rank == 1:
        {death}
    return usual(self, step, batch)
Updater.__call__ = updated
"""
LOST = re.compile(
    r"process 0 of 2: another process of this training has ended or does not answer: see what it "
    r"said; start again with --resume\n"
)


def test_one_that_is_killed_ends_all_with_one_clear_line() -> None:
    (code, said), (killed, _) = two(DIES.format(death="os.kill(os.getpid(), signal.SIGKILL)"))
    assert killed == -signal.SIGKILL
    assert code == 3
    assert LOST.fullmatch(said)
    assert RunDirectory.open("run").checkpoints[-1].step == 3


def test_one_that_hangs_is_not_waited_for_longer_than_agreed() -> None:
    (code, said), _ = two(DIES.format(death="time.sleep(20); os._exit(0)"), patience=5)
    assert code == 3
    assert LOST.fullmatch(said)


def test_an_error_of_the_first_is_told_by_all() -> None:
    Path("run").mkdir()
    Path("run", "mine.txt").touch()
    both = two()
    said = f"{Path.cwd()}/run holds other files: name a new directory\n"
    assert both == [(2, said), (2, said)]


# Shares of a batch


def test_shares_are_of_the_batch_axis_and_add_up() -> None:
    x, y = torch.arange(24.0).view(3, 4, 2), torch.arange(4)
    shares = [share_of_tensors((x, y), rank, 2) for rank in range(2)]
    assert torch.equal(torch.cat([share[0] for share in shares], dim=1), x)
    assert torch.equal(torch.cat([share[1] for share in shares]), y)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ((torch.zeros(3, 5),), "a batch of 5 cannot be shared equally among 2 processes"),
        ((torch.zeros(()),), "a batch of 0 cannot"),
        ({"x": torch.zeros(3, 4)}, "a batch of type dict cannot be shared among 2 processes"),
    ],
    ids=["odd", "scalar", "dictionary"],
)
def test_what_cannot_be_shared_is_refused(batch: tuple[Tensor, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        share_of_tensors(batch, 1, 2)
