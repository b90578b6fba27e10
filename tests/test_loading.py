"""``FILE.py:FUNCTION``: what it may be, and one line for all that it may not."""

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn
from user_files import PREAMBLE, closure, leaving_no_trace, model

from throughtime.errors import LoadError
from throughtime.loading import FromFile, load, load_problem


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with leaving_no_trace(tmp_path), torch.random.fork_rng():
        yield tmp_path


def write(text: str, name: str = "model.py") -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    [
        "model.py",
        "in a folder/my model.py",
        "ünï 모델 [bold].py",
        "random.py",
        "__main__.py",
        "a:b.py",
    ],
)
def test_a_file_of_any_name_is_run(name: str) -> None:
    write(model(), name)
    loaded = load(f"{name}:build")
    assert isinstance(loaded.model, nn.Module)
    assert loaded.closure().shape == ()
    assert loaded.span is None


def test_a_module_of_the_same_name_stays_what_it_was() -> None:
    import random

    write(model(), "random.py")
    load("random.py:build")
    assert sys.modules["random"] is random


def test_a_problem_brings_its_span() -> None:
    write(
        f"{PREAMBLE}\nfrom throughtime import Problem\n"
        "def batches(seed):\n    yield made()[1]\n"
        "def loss(model, x):\n    return model(x)\n"
        "def build():\n    return Problem('p', made()[0], batches, loss, span=7)\n"
    )
    loaded = load("model.py:build")
    assert loaded.span == 7
    assert loaded.closure().shape == ()


def test_what_lies_beside_the_file_can_be_imported() -> None:
    write(model(), "project/networks.py")
    write("from networks import build\n", "project/main.py")
    assert load("project/main.py:build").closure().shape == ()


def test_what_it_defines_can_be_found_by_another_process() -> None:
    write(
        "import torch\nclass Data: pass\n"
        "def build():\n    return torch.nn.RNN(1, 1), lambda: Data()\n"
    )
    made = load("model.py:build").closure()
    assert type(pickle.loads(pickle.dumps(made))) is type(made)  # noqa: S301  — our own
    assert type(made).__module__ == "model"


class Bad(NamedTuple):
    text: str
    sentence: str
    target: str = "model.py:build"


WHAT = (
    "must return (model, closure) or (model, closure, lengths), a torch module and a function "
    "that returns the loss, or a "
    "throughtime.Problem; it returned"
)
EXAMPLE = "return model, lambda: criterion(model(x), y)"
BAD = {
    "no function": Bad("", "'model.py' names no function: write FILE.py:FUNCTION", "model.py"),
    "empty name": Bad("", "'model.py:' names no function: write FILE.py:FUNCTION", "model.py:"),
    "no file": Bad("", "':build' names no function: write FILE.py:FUNCTION", ":build"),
    "empty": Bad("", "'' names no function: write FILE.py:FUNCTION", ""),
    "missing": Bad("", "there is no file other.py: check the path", "other.py:build"),
    "escape": Bad("", "there is no file  [31m.py: check the path", "\x1b[31m.py:build"),
    "folder": Bad(
        "",
        ". is a directory: name a Python file in it, and its function: FILE.py:FUNCTION",
        ".:build",
    ),
    "device": Bad("", "/dev/null is not a Python file: name one that ends in .py", "/dev/null:f"),
    "defines none": Bad("x = 1", "model.py: unknown function 'x'; there is none", "model.py:x"),
    "offers": Bad(
        "def one(): ...\ndef _two(): ...\nfrom os.path import join\n",
        "model.py: unknown function 'build'; choose from: one",
    ),
    "offers many": Bad(
        "".join(f"def f{n}(): ...\n" for n in range(50)),
        "model.py: unknown function 'build'; choose from: "
        + ", ".join(f"f{n}" for n in range(40))
        + ", ...",
    ),
    "syntax": Bad("def build(:\n", "model.py:1: SyntaxError: invalid syntax"),
    "import": Bad("\nimport missing_here", "model.py:2: ModuleNotFoundError: No module named "
                  "'missing_here'"),
    "raises": Bad("def build():\n    raise ValueError('a\\nb')", "model.py:2: ValueError: a b"),
    "ANSI": Bad("raise ValueError('\\x1b[31mred')", "model.py:1: ValueError:  [31mred"),
    "silent": Bad("def build():\n    raise RuntimeError", "model.py:2: RuntimeError"),
    "deep": Bad("def f():\n    {}[1]\ndef build():\n    f()", "model.py:2: KeyError: 1"),
    "inside a library": Bad(
        "import json\ndef build():\n    json.loads('')",
        "model.py:3: JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
    ),
    "exits": Bad("import sys\nsys.exit(7)", "model.py:2: it called exit(7)"),
    "exits plainly": Bad("def build():\n    exit()", "model.py:2: it called exit()"),
    "argument": Bad(
        "def build(x): ...",
        "model.py: TypeError: build() missing 1 required positional argument: 'x'",
    ),
    "nothing": Bad(
        "def build(): ...",
        f"model.py:build {WHAT} None: is a return missing? End it with  {EXAMPLE}",
    ),
    "number": Bad("def build():\n    return 42", f"model.py:build {WHAT} something of type int"),
    "swapped": Bad(
        f"{model()}\ndef swapped():\n    return build()[::-1]\n",
        f"model.py:swapped {WHAT} (function, Net): the model comes first",
        "model.py:swapped",
    ),
    "four": Bad(
        f"{model()}\ndef four():\n    return (*build(), 3, 4)\n",
        f"model.py:four {WHAT} (Net, function, int, int)",
        "model.py:four",
    ),
    "three": Bad(
        f"{model()}\ndef three():\n    return (*build(), 3)\n",
        "model.py:three gives lengths as something of type int: give one whole number for each "
        "sequence of the batch, as a list or a tensor",
        "model.py:three",
    ),
}  # fmt: skip  # rows of a table


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_a_bad_target_is_told_in_one_line(case: Bad) -> None:
    write(case.text)
    with pytest.raises(LoadError) as caught:
        load(case.target)
    assert str(caught.value) == case.sentence


def test_a_name_that_no_file_can_have_is_told_in_one_line() -> None:
    with pytest.raises(LoadError, match=r"^x+\.py cannot be read \(.*\): check the path$"):
        load(f"{'x' * 300}.py:build")


def test_bytes_that_are_no_python() -> None:
    Path("model.py").write_bytes(b'x = "\xff"\n')
    with pytest.raises(LoadError, match=r"^model\.py:1: SyntaxError: \(unicode error\)"):
        load("model.py:build")


def test_an_error_in_another_file_of_the_user_is_told_with_that_file() -> None:
    write("def f():\n    return 1 / 0\n", "project/helper.py")
    write("from helper import f\nf()\n", "project/main.py")
    with pytest.raises(LoadError, match=r"^project/helper\.py:2: ZeroDivisionError: "):
        load("project/main.py:build")


def test_an_error_in_an_installed_library_is_told_with_the_line_that_called_it() -> None:
    write("def f():\n    return 1 / 0\n", "env/site-packages/library.py")
    write("import sys\nsys.path.append('env/site-packages')\nimport library\nlibrary.f()\n")
    with pytest.raises(LoadError, match=r"^model\.py:4: ZeroDivisionError: "):
        load("model.py:build")


@pytest.mark.parametrize("moves", ["", "import os; os.chdir('..'); "], ids=["stays", "moves"])
def test_an_error_in_the_closure_is_told_with_its_line(moves: str) -> None:
    text = closure(f"{moves}raise KeyError('k')")
    write(text)
    line = 1 + text[: text.index("raise")].count("\n")
    loaded = load("model.py:build")
    with pytest.raises(LoadError) as caught:
        loaded.closure()
    assert str(caught.value) == f"model.py:{line}: KeyError: 'k'"


@pytest.mark.parametrize(
    "error", ["MemoryError", 'RuntimeError("DefaultCPUAllocator: can\'t allocate memory")']
)
def test_no_memory_is_no_fault_of_the_file(error: str) -> None:
    write(f"raise {error}")
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        load("model.py:build")
    assert not isinstance(caught.value, LoadError)


def test_an_interrupt_is_no_fault_of_the_file() -> None:
    write("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load("model.py:build")


def test_a_named_pipe_is_refused_before_it_blocks() -> None:
    os.mkfifo("pipe.py")
    with pytest.raises(LoadError, match=r"^pipe\.py is not a Python file"):
        load("pipe.py:build")


# Problems, to be trained

PROBLEM = f"""{PREAMBLE}
from throughtime import Problem

class Deck:
    def __init__(self, last=3):
        self.last, self.drawn = last, 0
    def __iter__(self):
        return self
    def __next__(self):
        if self.drawn == self.last:
            raise StopIteration
        self.drawn += 1
        return made()[1]
    def state_dict(self):
        return {{"drawn": self.drawn}}

def batches(seed):
    return Deck()
def loss(model, x):
    return model(x)
def build():
    return Problem("p", made()[0], batches, loss, span=7)
"""


def test_a_problem_works_as_the_file_made_it() -> None:
    write(PROBLEM)
    problem = load_problem("model.py:build")
    batches = problem.batches(0)
    drawn = list(batches)
    assert len(drawn) == 3
    assert batches.state_dict() == {"drawn": 3}
    assert problem.loss(problem.model, drawn[0]).shape == ()
    assert problem.evaluate is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("        self.drawn += 1", "        self.drawn += '1'"),
        ("    return model(x)", "    return model(x) + '1'"),
        ("    return Deck()", "    return Deck() + '1'"),
    ],
    ids=["a batch", "the loss", "the batches"],
)
def test_an_error_in_a_problem_is_told_with_its_line(old: str, new: str) -> None:
    text = PROBLEM.replace(old, new)
    write(text)
    problem = load_problem("model.py:build")
    line = 1 + text[: text.index(new)].count("\n")
    with pytest.raises(LoadError, match=rf"^model\.py:{line}: TypeError: "):
        problem.closure()


def test_a_model_alone_cannot_be_trained() -> None:
    write(model())
    with pytest.raises(LoadError, match=r"must return a throughtime\.Problem to be trained; it"):
        load_problem("model.py:build")


# A problem for any seed

WITH_SEED = """
import torch
from torch import nn
import throughtime as tt

def batches(seed):
    draw = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(5, 2, 3, generator=draw)

def loss(model, x):
    return model(x)[0].square().mean()

def build({arguments}):
    {first}
    return tt.Problem("one", nn.RNN(3, 4), batches, loss, span=4)
"""
SEEDED = {
    "an argument": ("seed=0", "torch.manual_seed(seed)"),
    "a keyword": ("*, seed", "torch.manual_seed(seed)"),
    "drawn from torch": ("", "pass"),
    "another argument": ("hidden=4", "pass"),
}


@pytest.mark.parametrize("form", SEEDED)
def test_a_seed_decides_over_the_weights_alone(form: str) -> None:
    arguments, first = SEEDED[form]
    write(WITH_SEED.format(arguments=arguments, first=first))
    make, before = FromFile.of("model.py:build"), torch.get_rng_state()
    made = [make(seed).model.weight_hh_l0 for seed in (3, 3, 4)]
    same = [torch.equal(made[0], other) for other in made[1:]]
    assert (same, torch.equal(torch.get_rng_state(), before)) == ([True, False], True)


def test_it_is_sent_to_another_process_and_told_apart_by_what_the_file_says() -> None:
    write(WITH_SEED.format(arguments="", first="pass"))
    make = FromFile.of("model.py:build")
    assert pickle.loads(pickle.dumps(make)) == make  # noqa: S301  — our own
    write(WITH_SEED.format(arguments="", first="torch.manual_seed(1)"))
    assert FromFile.of("model.py:build").digest != make.digest
    assert "/" not in repr(make)


def test_what_cannot_be_trained_is_told_what_to_return_instead() -> None:
    write(model())
    with pytest.raises(LoadError, match=r"returned \(Net, function\): return Problem\(name, model"):
        FromFile.of("model.py:build")(0)


def test_what_clips_and_remembers_is_left_as_it_is() -> None:
    text = WITH_SEED.format(arguments="", first="from throughtime.remedies import clipping")
    write(text.replace("span=4", "span=4, clip=clipping.AutoClip()"))
    assert hasattr(FromFile.of("model.py:build")(0).clip, "state_dict")
