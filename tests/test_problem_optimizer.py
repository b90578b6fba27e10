"""The optimiser of a problem: what cannot be one is refused before any work."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from prescribed_problems import reading

import throughtime as tt
from throughtime.problem import Problem

REFUSED: dict[str, tuple[Any, str]] = {
    "one that calls the loss": (torch.optim.LBFGS, "LBFGS evaluates the loss several times a step"),
    "a pair": (lambda p: (torch.optim.SGD(p), None), r"returned something of type tuple, not a"),
    "nothing": (lambda _: None, r"reading: its optimizer\(parameters\) returned .* type NoneType"),
}
WAYS: dict[str, Callable[[Problem], object]] = {
    "train": lambda problem: tt.train(problem, 2),
    "prescribe": lambda problem: tt.prescribe(problem, updates=2, remedies=["chrono"]),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_optimiser_for_this_is_refused_in_a_sentence(name: str, way: str) -> None:
    make, sentence = REFUSED[name]
    with pytest.raises(tt.InputError, match=sentence):
        WAYS[way](replace(reading("lstm"), optimizer=make))
