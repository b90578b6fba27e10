"""Exit codes that do not lie: whatever a file raises or calls, and whatever the system lacks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from user_files import closure, leaving_no_trace, model

from throughtime.cli import main
from throughtime.findings import Diagnosis

COMMAND = [sys.executable, "-m", "throughtime"]
UNREADABLE = "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "object":
    monkeypatch.chdir(tmp_path)
    with leaving_no_trace(tmp_path):
        yield tmp_path


def throughtime(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([*COMMAND, *arguments], check=False, text=True, **streams)


LEAVES = {
    "CancelledError": ("import asyncio; raise asyncio.CancelledError", "CancelledError"),
    "pytest.skip": ("import pytest; pytest.skip('no data')", "Skipped: no data"),
    "a kind of Ctrl-C": ("raise type('Own', (KeyboardInterrupt,), {})('x')", "Own: x"),
    "GeneratorExit": ("raise GeneratorExit", "GeneratorExit"),
    "no text": (UNREADABLE, "Odd: no text, its __str__ raised ZeroDivisionError"),
    "exit": ("raise SystemExit(0)", "it called exit(0)"),
    "os._exit": ("import os; os._exit(0)", "it called os._exit(0)"),
    "exec": ("import os; os.execlp('true', 'true')", "it called os.execv('/"),
    "a parent that leaves": ("import os; os.fork() and os._exit(0)", "it called os._exit(0)"),
}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(("body", "said"), LEAVES.values(), ids=LEAVES)
def test_what_a_file_raises_or_calls_is_one_line_with_its_place(
    body: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("model.py").write_text(closure(body))
    code = main(["diagnose", "model.py:build"])
    out, err = capfd.readouterr()
    line = closure(body).splitlines().index(f"        {body}") + 1
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"throughtime: model.py:{line}: {said}"), err


@pytest.mark.parametrize("call", ["os.fork()", "import atexit; atexit.register(os._exit, 0)"])
def test_the_answer_is_given_once_and_kept(call: str) -> None:
    Path("model.py").write_text(f"import os\n{model()}{call}\n")
    ran = throughtime("diagnose", "model.py:build", "--json", "--span", "1000")
    found = Diagnosis.from_json(ran.stdout)
    assert (ran.returncode, ran.stderr) == (int(found.verdict != "healthy"), "")
    assert ran.returncode == 1


BROKEN = {"raises": "raise RuntimeError('broken')", "is empty": "", "exits": "raise SystemExit(0)"}


@pytest.mark.parametrize("command", ["diagnose --cell rnn", "train adding", "treat model.py:build"])
@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_torch_that_cannot_be_imported_is_the_environment(text: str, command: str) -> None:
    Path("torch.py").write_text(text)
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    ran = throughtime(*command.split(), env={**os.environ, "PYTHONPATH": path})
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (3, "", 1)
    assert ran.stderr.startswith("throughtime: torch cannot be imported (")


def test_a_memory_limit_is_the_environment() -> None:
    limited = f"ulimit -v 300000; exec {' '.join(COMMAND)} diagnose --cell rnn"
    ran = subprocess.run(limited, shell=True, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (3, "", 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-"])
def test_a_standard_error_that_takes_nothing_changes_no_exit_code(redirected: str) -> None:
    noise = "import sys\nprint('x' * 9999)\nprint('y' * 9999, file=sys.stderr)\n"
    Path("model.py").write_text(model() + noise)
    train = "train adding --length 10 --hidden 4 --steps 3"
    for command, code in (("diagnose model.py:build --json --span 1", 0), (train, 0), ("x", 2)):
        ran = subprocess.run(
            f"{' '.join(COMMAND)} {command} {redirected}",
            shell=True, stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip  # one call
        assert (ran.returncode, "Traceback" in ran.stdout) == (code, False), command


FROZEN = """
import throughtime as tt
def frozen():
    model, x = made()
    def batches(seed):
        while True:
            yield x
    return tt.Problem("frozen", model.requires_grad_(False), batches, lambda m, x: m(x), span=11)
"""


@pytest.mark.parametrize("command", ["train", "treat", "treat --remedies clip"])
def test_a_frozen_model_is_refused(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    Path("model.py").write_text(model() + FROZEN)
    name, *more = command.split()
    code = main([name, "model.py:frozen", "--steps", "3", "--quiet", *more])
    out, err = capfd.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no parameter of the model requires a gradient" in err


def test_a_language_model_that_diverges_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    how = "--hidden 4 --batch 4 --length 20 --steps 12 --lr 1e6 --clip 0 --evaluate-every 2"
    code = main(["train", "words", "--cell", "rnn", *how.split(), "--json", "--quiet"])
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert (code, found["status"], err) == (1, "diverged", f"throughtime: {found['reason']}\n")


DRAWN = """
import random
import numpy as np
import torch
from torch import nn

def build(**more):
    layer = nn.LSTM(3, 8)
    with torch.no_grad():
        layer.bias_ih_l0[8:16] = random.choice([6.0, -2.0]) + np.random.rand() / 100
        layer.weight_hh_l0 *= 0.1
    return layer, lambda: layer(torch.randn(40, 4, 3))[0][-1].square().mean()

def seeded(seed=0):
    layer = nn.LSTM(3, 8)
    torch.nn.init.constant_(layer.bias_ih_l0, float(seed))
    return layer, lambda: layer(torch.ones(9, 1, 3))[0][-1].square().mean()
"""


def diagnosed(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Diagnosis]:
    code = main(["diagnose", *arguments, "--json"])
    return code, Diagnosis.from_json(capfd.readouterr().out)


def test_a_file_is_diagnosed_from_a_seed(capfd: pytest.CaptureFixture[str]) -> None:
    Path("model.py").write_text(DRAWN)
    first, again = (diagnosed(capfd, "model.py:build", "--seed", "3") for _ in range(2))
    assert first == again
    assert first[1].run["seed"] == 3
    given = {diagnosed(capfd, "model.py:seeded", "--seed", seed)[1].rate for seed in "012"}
    assert len(given) == 3


def test_a_verdict_that_depends_on_the_draw_is_not_healthy(
    capfd: pytest.CaptureFixture[str],
) -> None:
    Path("model.py").write_text(DRAWN)
    alone = {
        str(s): diagnosed(capfd, "model.py:build", "--seed", str(s))[1].verdict for s in range(4)
    }
    assert set(alone.values()) == {"healthy", "vanishing"}
    code, found = diagnosed(capfd, "model.py:build", "--seeds", "4")
    assert (code, found.verdict, found.run["verdict_by_seed"]) == (1, "vanishing", alone)
    assert alone[str(found.run["seed"])] == "vanishing"
    assert found.notes[0].startswith("The verdict depends on the random draw: ")


def test_verdicts_that_agree_are_said_to(capfd: pytest.CaptureFixture[str]) -> None:
    Path("model.py").write_text(model())
    _, found = diagnosed(capfd, "model.py:build", "--seeds", "3", "--span", "1")
    assert found.notes[0] == f"The verdict is {found.verdict} for all 3 seeds."
