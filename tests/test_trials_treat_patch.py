"""The patch: applied by ``patch`` and by ``git apply``, it gives the training of the trial."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from user_files import leaving_no_trace

from throughtime.loading import FromFile
from throughtime.problem import Problem
from throughtime.training import train
from throughtime.trials.treatment.paired import PairedTrial
from throughtime.trials.treatment.patch import Patch, patch_for

STEPS, SPAN = 6, 4
HEAD = """\
import torch
from torch import nn

import throughtime as tt


def batches(seed):
    draw = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(5, 2, 3, generator=draw)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 4)

    def forward(self, x):
        return self.rnn(x)[0][-1]


def loss(model, x):
    return (model(x) - x[0, :, :1]).square().mean()


def made(seed):
    torch.manual_seed(seed)
    return tt.Problem("one", Net(), batches, loss, span=4, clip=None)

"""
FORMS = {
    "one line": "def build(seed=0):\n    return made(seed)\n",
    "several lines": "def build(seed=0):\n    return made(\n        seed,  # of all\n    )\n",
    "several lines in brackets": "def build(seed):\n    return (\n        made(seed)\n    )\n",
    "a backslash": "def build(seed):\n    return \\\n        made(seed)\n",
    "no space": "def build(seed):\n    return(made(seed))\n",
    "a variable": "def build(seed):\n    one = made(seed)\n    return one  # at last\n",
    "a comment": "def build(seed):\n    return made(seed)  # ünï 모델\n",
    "letters of several bytes": "def build(seed):\n    return {'é': made}['é'](seed)  # é\n",
    "no newline at the end": "def build(seed):\n    return made(seed)",
    "a variable and no newline": "def build(seed):\n    one = made(seed)\n    return one",
    "tabs in a block": "def build(seed):\n\twith torch.no_grad():\n\t\treturn made(seed)\n",
    "a keyword": "def build(*, seed):\n    return made(seed)\n",
    "a function inside": (
        "def build(seed):\n    def inner():\n        return made(seed)\n    return inner()\n"
    ),
    "the name is taken": "def build(seed):\n    problem = 1\n    return made(seed + 0 * problem)\n",
    "a variable of the file": "ONE = made(0)\n\ndef build():\n    return ONE\n",
    "a global": "def build():\n    global ONE\n    ONE = made(0)\n    return ONE\n",
    "a decorator": "from functools import cache\n\n@cache\ndef build():\n    return made(0)\n",
    "an import in the middle": "def build(seed):\n    return made(seed)\n\nimport os\n",
    "it is imported already": (
        "from throughtime.prescription import treated\n\ndef build(seed):\n    return made(seed)\n"
    ),
    "lines as Windows ends them": "def build(seed):\r\n    return made(seed)\r\n",
    "a byte order mark": "\ufeff",
}
APPLY = {"patch": ["patch", "-p0", "--binary", "-s", "-i"], "git": ["git", "apply", "-p0"]}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with leaving_no_trace(tmp_path), torch.random.fork_rng():
        yield tmp_path


def written(form: str, name: str = "model.py") -> str:
    """The file of a form, named as the command line names it."""
    text = HEAD + FORMS[form].removeprefix("\ufeff")
    if form == "a byte order mark":
        text = "\ufeff" + HEAD + FORMS["one line"]
    if "\r" in text:
        text = text.replace("\r", "").replace("\n", "\r\n")
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(text.encode())
    return f"{name}:build"


def of_trial(target: str, remedy: str, seed: int) -> tuple[list[float], list[Tensor]]:
    """The losses, and the last weights, of a treated trial."""
    make = FromFile.of(target)
    trial = PairedTrial(
        make=make, subject="", source="", remedy=remedy, span=SPAN, seed=seed, steps=STEPS
    )
    return trained(trial.problem(), seed)


def trained(problem: Problem, seed: int) -> tuple[list[float], list[Tensor]]:
    done = train(problem, STEPS, seed=seed)
    return done.losses, [p.detach() for p in problem.model.parameters()]


def apply(found: Patch, how: str) -> None:
    assert found.diff is not None, found.reason
    Path("remedy.patch").write_bytes(found.diff.encode())
    if shutil.which(APPLY[how][0]) is None:
        pytest.skip(f"{how} is not installed")
    told = subprocess.run(
        [*APPLY[how], str(Path("remedy.patch").absolute())],
        cwd=found.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip  # what belongs together, on one line
    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.parametrize("form", FORMS)
def test_the_patched_file_gives_the_training_of_the_trial(form: str) -> None:
    target = written(form)
    wanted = of_trial(target, "orthogonal+clip", 0)
    apply(patch_for(target, "orthogonal+clip", SPAN, 0, Path.cwd()), "patch")
    losses, weights = trained(FromFile.of(target)(0), 0)
    assert losses == wanted[0]
    assert all(torch.equal(a, b) for a, b in zip(weights, wanted[1], strict=True))


@pytest.mark.parametrize(
    ("remedy", "seed"),
    [
        ("gru", 7),
        ("critical", 7),
        ("chrono", 0),
        ("chrono", 7),
        ("spectral-margin", 7),
        ("omega", 7),
        ("clip-states", 7),
        ("autoclip", 7),
    ],
)
def test_every_remedy_is_patched_in_for_every_seed(remedy: str, seed: int) -> None:
    target = written("several lines")
    wanted = of_trial(target, remedy, seed)
    apply(patch_for(target, remedy, SPAN, 0, Path.cwd()), "git")
    losses, weights = trained(FromFile.of(target)(seed), seed)
    assert losses == wanted[0]
    assert all(torch.equal(a, b) for a, b in zip(weights, wanted[1], strict=True))


@pytest.mark.parametrize("how", APPLY)
@pytest.mark.parametrize("name", ["deep down/my model.py", "ünï.py", "../beside/model.py"])
def test_a_file_of_any_name_is_patched(how: str, name: str) -> None:
    target = written("one line", name)
    before = Path(name).read_text()
    apply(patch_for(target, "chrono", SPAN, 0, Path.cwd()), how)
    assert Path(name).read_text() != before


def test_the_command_names_the_place() -> None:
    here = patch_for(written("one line"), "chrono", SPAN, 0, Path.cwd())
    there = patch_for(written("one line", "../a b/c.py"), "chrono", SPAN, 0, Path.cwd())
    assert here.command("out/remedy.patch") == "patch -p0 < out/remedy.patch"
    assert there.command("x y") == f"patch -p0 -d '{os.path.realpath('../a b')}' < 'x y'"


UNUSUAL = {
    "two returns": (
        "def build(seed):\n    if seed:\n        return made(seed)\n    return made(0)\n",
        "build returns from 2 places",
    ),
    "a lambda": (
        "build = lambda seed: made(seed)\n",
        "build is no function that is defined by def",
    ),
    "a partial": (
        "import functools\nbuild = functools.partial(made, 0)\n",
        "build is no function that is defined by def",
    ),
    "a decorator": (
        "def other(f):\n    return f\n\n@other\ndef build(seed):\n    return made(seed)\n",
        "build is decorated by other",
    ),
    "one line": (
        "def build(seed): return made(seed)\n",
        "the return of build shares its line with something else",
    ),
    "a semicolon": (
        "def build(seed):\n    return made(seed); x = 1\n",
        "the return of build shares its line with something else",
    ),
    "defined twice": (
        "def build():\n    return made(0)\ndef build():\n    return made(1)\n",
        "build is not defined exactly once at the top of the file",
    ),
    "in a block": (
        "if True:\n    def build():\n        return made(0)\n",
        "build is no function that is defined by def",
    ),
    "the name of the verb": (
        "treated = 1\ndef build():\n    return made(0)\n",
        "the file calls something else treated",
    ),
    "the verb as a variable": (
        "def build():\n    treated = made(0)\n    return treated\n",
        "build gives treated another value",
    ),
    "another seed": (
        "def build(seed):\n    seed = seed + 1\n    return made(seed)\n",
        "build gives seed another value",
    ),
}


@pytest.mark.parametrize("form", UNUSUAL)
def test_what_is_unusual_is_told_with_the_lines_to_add(form: str) -> None:
    text, reason = UNUSUAL[form]
    Path("model.py").write_text(HEAD + text)
    found = patch_for("model.py:build", "chrono", SPAN, 5, Path.cwd())
    assert (found.diff, found.reason) == (None, reason)
    assert found.lines[0] == "from throughtime.prescription import treated"
    assert found.lines[-1].startswith('problem = treated(problem, "chrono", span=4, seed=')


def test_a_file_in_other_letters_is_told() -> None:
    Path("model.py").write_bytes(
        b"# coding: latin-1\n# \xe9\n" + (HEAD + FORMS["one line"]).encode()
    )
    found = patch_for("model.py:build", "chrono", SPAN, 0, Path.cwd())
    assert (found.diff, found.reason) == (None, "the file is not written in UTF-8")


def test_the_patch_says_what_it_does() -> None:
    found = patch_for(written("one line"), "orthogonal+clip", SPAN, 0, Path.cwd())
    assert found.diff is not None
    added = [line[1:] for line in found.diff.splitlines() if line[0] == "+" and line[:3] != "+++"]
    assert [line.strip() for line in added if "    #" not in line] == [
        "from throughtime.prescription import treated",
        "problem = made(seed)",
        'problem = treated(problem, "orthogonal+clip", span=4, seed=seed)',
        "return problem",
    ]
    assert ("    # clip: " in found.diff, "Saxe" in found.diff) == (True, True)
    assert max(map(len, added)) <= 88
