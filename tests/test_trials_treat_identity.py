"""What a function is to a treatment: the same text in every process, another one once edited."""

import functools
import subprocess
import sys
from types import FunctionType

import pytest

from throughtime.errors import InputError
from throughtime.trials.treatment.identity import described, digest

SOURCE = """
import torch
from torch import nn

RATE = 0.1
SIZES = {"hidden": 8, "names": {"b", "a"}}
X = torch.arange(6.0)


class Net(nn.Module):
    scale = 2

    def forward(self, x):
        return helper(x) * self.scale


def helper(x):
    return x + 1


def make(seed, *, cell="rnn"):
    inner = lambda x: x * RATE
    return Net(), inner, SIZES, X
"""
EDITS = {
    "a constant of its own": ('cell="rnn"', 'cell="lstm"'),
    "a number that it uses": ("RATE = 0.1", "RATE = 0.2"),
    "a dictionary": ('"hidden": 8', '"hidden": 9'),
    "data": ("arange(6.0)", "arange(7.0)"),
    "a helper of a method": ("x + 1", "x - 1"),
    "a method": ("* self.scale", "+ self.scale"),
    "an attribute of a class": ("scale = 2", "scale = 3"),
    "a function within it": ("x * RATE", "x / RATE"),
}


def made(source: str, name: str = "notebook") -> FunctionType:
    """The function of a source text, as a notebook defines it."""
    module = {"__name__": name}
    exec(compile(source, "cell", "exec"), module)  # noqa: S102  — as a notebook does
    return module["make"]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_function_is_another_one(edit: str) -> None:
    before, after = EDITS[edit]
    assert before in SOURCE
    assert described(made(SOURCE)) != described(made(SOURCE.replace(before, after)))


def test_comments_and_places_change_nothing() -> None:
    assert described(made(f"\n# a comment\n\n{SOURCE}")) == described(made(SOURCE))


def test_it_is_the_same_in_every_process() -> None:
    code = f"import {__name__} as here; print(here.described(here.made(here.SOURCE)))"
    elsewhere = {"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=elsewhere
    ).stdout
    assert said.strip() == described(made(SOURCE))


def test_values_that_are_held_count() -> None:
    def holding(value: object) -> object:
        def function() -> object:
            return value

        return function

    values: list[object] = [1, 2, "1", None, (1, 2), [1, 2], {"a": 1}, functools.partial(len, "a")]
    assert len({digest(holding(value)) for value in values}) == len(values)


def test_a_function_that_uses_itself_has_an_end() -> None:
    assert described(made("def make(seed):\n    return make(seed - 1)\n")).startswith(
        "notebook.make#"
    )


def test_a_lambda_is_refused() -> None:
    with pytest.raises(InputError, match="give a function that is made by def"):
        described(lambda seed: seed)
