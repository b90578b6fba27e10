"""A model and a closure: the closure runs on any copy of the model, whatever it holds of it."""

import itertools
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from prescribed_problems import SPAN, B, I, Reader, T, state_of
from torch import Tensor, nn

import throughtime as tt
from throughtime.prescription import from_pair, prescribe, treated
from throughtime.problem import seeded

Closure = Callable[[], Tensor]

with seeded(0):
    MODEL = Reader("lstm")
    X = torch.randn(T, B, I)


def of_globals() -> Tensor:
    return helper()


def helper() -> Tensor:
    return MODEL(X).square().mean()


class Trainer:
    """Holds the model, as trainers do."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.parts = model, {"head": model.get_submodule("head")}

    def loss(self) -> Tensor:
        return self.model(X).square().mean()

    def penalised(self) -> Tensor:
        return self.loss() + self.parts["head"].weight.square().mean()


def default(model: nn.Module = MODEL) -> Tensor:
    return model(X).square().mean()


HEAD = MODEL.head.weight
CLOSURES: dict[str, Closure] = {
    "a global": of_globals,
    "a lambda": lambda: MODEL(X).square().mean(),
    "a method": Trainer(MODEL).loss,
    "a part in a dictionary": Trainer(MODEL).penalised,
    "a default": default,
    "a parameter": lambda: MODEL(X).square().mean() + HEAD.abs().sum(),
    "forward": partial(lambda run: run(X).square().mean(), MODEL.forward),
}


@pytest.mark.parametrize("held", CLOSURES)
def test_the_loss_of_a_copy_moves_the_copy_alone(held: str) -> None:
    problem = from_pair(MODEL, CLOSURES[held], SPAN)
    copy = treated(problem, "none", SPAN)
    loss = copy.closure()
    theirs = [one for one in MODEL.parameters() if one.requires_grad]
    ours = [one for one in copy.model.parameters() if one.requires_grad]
    reached = torch.autograd.grad(loss, [*theirs, *ours], allow_unused=True)
    assert all(gradient is None for gradient in reached[: len(theirs)])
    assert all(gradient is not None for gradient in reached[len(theirs) :])
    assert loss == problem.closure()


def test_a_part_that_the_closure_holds_is_the_treated_one() -> None:
    encoder = MODEL.encoder["rnn"]

    def closure() -> Tensor:
        return encoder(X)[0][-1].square().mean()

    found = prescribe(MODEL, closure, SPAN, updates=2, remedies=["janet", "chrono"])
    assert {option.name for option in found.options} == {"janet", "chrono"}


def test_model_and_closure_are_ranked_as_their_problem_and_left_alone() -> None:
    before = state_of(from_pair(MODEL, of_globals, SPAN))
    found = tt.prescribe(MODEL, of_globals, SPAN, updates=2, remedies=["chrono", "orthogonal"])
    assert [option.name for option in found.options] == ["chrono", "orthogonal"]
    after = state_of(from_pair(MODEL, of_globals, SPAN))
    assert all(
        torch.equal(before["weights"][name], after["weights"][name]) for name in after["weights"]
    )
    assert {name: before[name] for name in ("modes", "hooks")} == {
        name: after[name] for name in ("modes", "hooks")
    }


def test_every_copy_starts_from_the_state_of_the_closure_as_it_was_given() -> None:
    steps: list[int] = []

    def closure() -> Tensor:
        steps.append(1)
        return MODEL(X).square().mean() * len(steps)

    problem = from_pair(MODEL, closure, SPAN)
    first, second = (treated(problem, "none", SPAN) for _ in range(2))
    losses = [value(first.closure) for _ in range(3)]
    assert losses == pytest.approx([losses[0], 2 * losses[0], 3 * losses[0]])
    assert (value(second.closure), steps) == (pytest.approx(losses[0]), [])


def test_draws_are_those_of_the_seed() -> None:
    def closure() -> Tensor:
        return (MODEL(torch.randn(T, B, I)) - torch.rand(())).square().mean()

    problem = from_pair(MODEL, closure, SPAN)
    seeds = [*itertools.islice(problem.batches(0), 3)] * 2
    losses = [value(partial(problem.loss, problem.model, seed)) for seed in seeds]
    assert (len({*losses}), losses[:3]) == (3, losses[3:])


def value(loss: Callable[[], Tensor]) -> float:
    return float(loss().detach())


def holding(thing: Any) -> Closure:
    def closure() -> Tensor:
        assert thing is not None
        return MODEL(X).square().mean()

    return closure


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "generator": (lambda: from_pair(MODEL, holding(x for x in ()), 5), "cannot be copied"),
    "lock": (lambda: from_pair(MODEL, holding(threading.Lock()), 5), "cannot be copied"),
    "model alone": (lambda: prescribe(MODEL), "a model alone cannot be run"),
    "problem and closure": (
        lambda: prescribe(from_pair(MODEL, of_globals, SPAN), of_globals),
        "a closure goes with a model",
    ),
    "span twice": (
        lambda: prescribe(from_pair(MODEL, of_globals, SPAN), 5, 6),
        "the span is given twice: 5 and 6",
    ),
}  # fmt: skip  # rows of a table


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(case: str) -> None:
    do, said = REFUSED[case]
    with pytest.raises(tt.InputError, match=said) as error:
        do()
    assert "\n" not in str(error.value)
