"""``throughtime treat``: from a user's file to the verdict and the patch, and what it refuses."""

import html
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_trials_treat import Here
from user_files import leaving_no_trace, model

from throughtime.cli import main
from throughtime.trials import study

RECALL = """
import torch
from torch import nn

import throughtime as tt


class Echo(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(2, 8)
        self.readout = nn.Linear(8, 1)

    def forward(self, x):
        return self.readout(self.rnn(x)[0][-1]).squeeze(-1)


def pairs(draw):
    x = torch.randn(9, 8, 2, generator=draw)
    return x, x[0, :, 0]


def batches(seed):
    draw = torch.Generator().manual_seed(seed)
    while True:
        yield pairs(draw)


def loss(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()


def build(seed=0):
    torch.manual_seed(seed)
    model = Echo()
    {before}
    optimizer = lambda parameters: torch.optim.Adam(parameters, lr={lr})
    return tt.Problem("echo", model, batches, loss, span=8, optimizer=optimizer)
"""
Ran = Callable[..., SimpleNamespace]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    write()
    with leaving_no_trace(tmp_path):
        yield tmp_path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Ran]:
    """``throughtime treat ARGUMENTS``, all trials in this process."""

    @contextmanager
    def of_this_process(*_arguments: Any) -> Iterator[Here]:
        yield Here()

    def ran(*arguments: str) -> SimpleNamespace:
        code = main(["treat", *arguments])
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    threads = torch.get_num_threads()
    monkeypatch.setattr(study, "_workers", of_this_process)
    yield ran
    torch.set_num_threads(threads)


def write(before: str = "nn.init.zeros_(model.rnn.weight_hh_l0)", lr: float = 1e-2) -> None:
    Path("recall.py").write_text(RECALL.replace("{before}", before).replace("{lr}", str(lr)))


SMALL = ("recall.py:build", "--steps", "80", "--seeds", "5", "--quiet", "--remedies")


def test_it_ends_with_the_patch_to_apply(run: Ran) -> None:
    ran = run(*SMALL, "orthogonal")
    place = Path("treatments", "recall-build")
    patch = (place / "remedy.patch").read_text()
    assert (ran.code, ran.err) == (0, "")
    assert "orthogonal helped: training loss at the end" in ran.out
    assert ran.out.endswith(f"patch -p0 < {place}/remedy.patch\n\n{patch}")
    assert html.escape(patch).replace("&quot;", "&#34;") in (place / "index.html").read_text()
    subprocess.run(["patch", "-p0", "-i", f"{place}/remedy.patch"], check=True, capture_output=True)
    assert "treated(problem" in Path("recall.py").read_text()


def test_as_json_it_is_one_object(run: Ran) -> None:
    ran = run(*SMALL, "orthogonal", "--json")
    told = json.loads(ran.out)
    assert (ran.code, told["answer"], told["best"]) == (0, "helped", "orthogonal")
    assert told["proven"] is True
    assert [arm["remedy"] for arm in told["arms"]] == ["none", "orthogonal"]


def test_where_none_helps_it_is_a_finding(run: Ran) -> None:
    write(lr=0.0)
    ran = run(*SMALL, "orthogonal")
    assert (ran.code, "orthogonal did not help" in ran.out, "patch" in ran.out) == (1, True, False)


def test_what_is_not_proven_is_no_help_and_has_no_patch(run: Ran) -> None:
    Path("treatments").mkdir()
    ran = run(*SMALL[:4], "3", *SMALL[5:], "orthogonal")
    assert (ran.code, "orthogonal is not proven to help" in ran.out) == (1, True)
    assert "3 seeds cannot give less than 0.12, 5 could give less than 0.05" in ran.out
    assert not (Path("treatments", "recall-build") / "remedy.patch").exists()


def test_where_it_cannot_patch_it_says_what_to_add(run: Ran) -> None:
    Path("recall.py").write_text(Path("recall.py").read_text() + "\n\nmade = lambda: build()\n")
    ran = run("recall.py:made", *SMALL[1:], "orthogonal")
    assert ran.code == 0
    assert "recall.py is not patched: made is no function that is defined by def" in ran.out
    assert ran.out.endswith('    problem = treated(problem, "orthogonal", span=8, seed=0)\n')


def test_seeds_that_the_function_ignores_are_told(run: Ran) -> None:
    text = Path("recall.py").read_text().replace("build(seed=0)", "build()")
    Path("recall.py").write_text(
        text.replace("manual_seed(seed)\n    model", "manual_seed(0)\n    model")
    )
    ran = run(*SMALL, "orthogonal")
    assert "The first weights are the same for every seed" in ran.out


def test_processes_of_its_own_give_the_same(run: Ran) -> None:
    here = json.loads(run(*SMALL, "orthogonal", "--json").out)
    command = [sys.executable, "-m", "throughtime", "treat", *SMALL, "orthogonal", "--json"]
    told = subprocess.run(
        [*command, "--jobs", "2", "--out", "elsewhere"], capture_output=True, text=True, check=True
    )
    there = json.loads(told.stdout)
    assert (there["arms"], told.stderr) == (here["arms"], "")


# What is refused, in one line

REFUSED = [
    (("nothing.py:build",), "there is no file nothing.py"),
    (("pair.py:build",), "returned (Net, function): return Problem(name, model, batches, loss"),
    (("recall.py:build", "--remedies", "aspirin"), "unknown remedy 'aspirin'"),
    (("recall.py:build", "--remedies", "chrono"), "has no gate that keeps its state"),
    (("recall.py:build", "--seeds", "0"), "0 is out of range"),
    (("recall.py:build", "--out", "full"), "full holds other files: name a new directory"),
    (("own.py:build",), "its loss does not depend on the model that it is given"),
]


def test_a_loss_that_runs_no_layer_is_told(run: Ran) -> None:
    away = "batches, lambda model, x: next(model.parameters()).sum(),"
    text = Path("recall.py").read_text().replace("batches, loss,", away)
    Path("recall.py").write_text(text)
    ran = run("recall.py:build", "--quiet")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "no recurrent layer of the model ran: is it this very model" in ran.err


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_be_is_refused(
    folder: Path, run: Ran, arguments: tuple[str, ...], said: str
) -> None:
    (folder / "pair.py").write_text(model())
    own = (
        Path("recall.py")
        .read_text()
        .replace("batches, loss,", "batches, lambda _, x: loss(model, x),")
    )
    (folder / "own.py").write_text(own)
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").write_text("mine")
    ran = run(*arguments)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert said in ran.err
    assert not (folder / "treatments").exists()
