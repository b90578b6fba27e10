"""A problem: what cannot be one, and functions that do not keep to it, are told in a sentence."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from prescribed_problems import Reader, batches, loss, reading
from torch import Tensor, nn

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


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            (Reader("gru"), "mine", batches, loss, 3),
            "its model is of type str: give a torch module",
        ),
        (("mine", Reader("gru"), [1], loss, 3), "batches is no function, and is called as batches"),
        (("mine", Reader("gru"), batches, None, 3), "loss is no function, and is called as loss"),
        (("mine", Reader("gru"), batches, loss, 3.0), "span is 3.0: give a whole number of steps"),
        (("mine", Reader("gru"), batches, loss, 0), "span is 0: give a whole number of steps"),
    ],
    ids=["another order", "batches", "loss", "a fraction", "no step"],
)
def test_what_is_no_problem_is_refused(fields: Any, said: str) -> None:
    with pytest.raises(tt.InputError, match=said):
        Problem(*fields)


LOSSES: dict[str, tuple[Any, str]] = {
    "a pair": (
        lambda m, b: (m(b[0]), loss(m, b)),
        r"loss\(model, batch\) must return .* a tuple whose first element is a tensor of shape",
    ),
    "a number": (lambda m, b: loss(m, b).item(), "one real number as a tensor, and returned float"),
    "one for each": (lambda m, b: m(b[0]) - b[1], r"and returned a tensor of shape \(4,\)"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LOSSES)
def test_what_is_no_loss_is_told(name: str, way: str) -> None:
    own, said = LOSSES[name]
    with pytest.raises(tt.InputError, match=said):
        WAYS[way](replace(reading("lstm"), loss=own))


def test_a_loss_that_goes_backwards_by_itself_is_told() -> None:
    def own(model: nn.Module, batch: Any) -> Tensor:
        found = loss(model, batch)
        found.backward()
        return found

    with pytest.raises(tt.InputError, match=r"called backward\(\): the training does that"):
        tt.train(replace(reading("lstm"), loss=own), 2)


@pytest.mark.parametrize("scores", [0.5, None, {"loss": "low"}, {"loss": torch.ones(2)}], ids=str)
def test_scores_without_a_name_or_a_number_are_told(scores: Any) -> None:
    problem = replace(reading("lstm"), evaluate=lambda _: scores)
    with pytest.raises(
        tt.InputError, match=r"evaluate\(model\) must return named numbers, such as"
    ):
        tt.train(problem, 2)
