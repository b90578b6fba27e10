"""How a training is told to go: cut through time, scheduled, ended early; what is refused."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice, repeat
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD
from training_problems import Pair, carry, running_sum, windows

from throughtime.diagnosis import diagnose
from throughtime.errors import InputError
from throughtime.problem import Criterion, Problem
from throughtime.training import Plateau, train

# Truncated backpropagation


def by_hand(problem: Problem, steps: int, length: int) -> list[float]:
    """Pieces in a row, their state detached, one update for all of them."""
    optimizer, batches = problem.optimizer(problem.model.parameters()), problem.batches(0)
    losses = []
    for _ in range(steps):
        x, y = next(batches)
        state, parts = None, []
        optimizer.zero_grad()
        for a, b in zip(x.split(length), y.split(length), strict=True):
            scores, (h, c) = problem.model.run(a, state)
            state = h.detach(), c.detach()
            parts.append((scores - b).square().mean())
        loss = torch.stack(parts).mean()
        loss.backward()
        clip_grad_norm_(problem.model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_windows_carry_the_state_and_no_gradient() -> None:
    done = train(running_sum(), 8, window=4)
    assert done.losses == pytest.approx(by_hand(running_sum(), 8, 4), rel=1e-5)
    assert done.losses[0] == pytest.approx(train(running_sum(), 1).losses[0], rel=1e-6)
    assert done.losses[1:] != pytest.approx(train(running_sum(), 8).losses[1:], rel=1e-5)


def test_a_window_as_long_as_the_batch_cuts_nothing() -> None:
    assert train(running_sum(), 5, window=12).losses == train(running_sum(), 5).losses


def test_pieces_without_a_loss_are_walked_over() -> None:
    def carry_to_the_end(model: nn.Module, window: Pair, state: Any) -> tuple[Tensor | None, Any]:
        loss, state = carry(model, window, state)
        return (loss if window[1].abs().sum() else None), state

    def last_alone(batch: Pair, length: int) -> list[Pair]:
        pieces = list(windows(batch, length))
        return [*((x, 0 * y) for x, y in pieces[:-1]), pieces[-1]]

    problem = replace(running_sum(), windows=last_alone, carry=carry_to_the_end)
    model = running_sum().model
    x, y = next(problem.batches(0))
    expected = (model(x)[-4:] - y[-4:]).square().mean().item()
    assert train(problem, 1, window=4).losses == pytest.approx([expected])


def test_the_problem_says_how_it_is_trained() -> None:
    problem = replace(running_sum(), window=4, clip=0.1)
    assert train(problem, 5).losses == train(running_sum(), 5, window=4, clip=0.1).losses


def test_a_clipper_and_a_backward_pass_of_ones_own_may_do_nothing() -> None:
    def nothing(parameters: Sequence[nn.Parameter]) -> Tensor:
        return clip_grad_norm_(parameters, math.inf)

    def plainly(_: nn.Module, make_loss: Callable[[], Tensor]) -> Tensor:
        loss = make_loss()
        loss.backward()
        return loss

    for window in (None, 4):
        done = train(replace(running_sum(), clip=nothing, backward=plainly, window=window), 5)
        expected = train(running_sum(), 5, clip=None, window=window)
        assert (done.losses, done.clipped) == (expected.losses, 0.0)


def test_the_updates_that_a_clipper_changed_are_counted() -> None:
    def bounded(parameters: Sequence[nn.Parameter]) -> Tensor:
        return clip_grad_norm_(parameters, 0.8)

    expected = train(running_sum(), 30, clip=0.8).clipped_steps
    assert 0 < expected < 30
    assert train(replace(running_sum(), clip=bounded), 30).clipped_steps == expected


def test_what_is_diagnosed_is_cut_where_it_is_trained_so() -> None:
    found = diagnose(replace(running_sum(), window=4))
    assert "truncated" in [one.disease for one in found.findings]


def test_without_windows_the_state_goes_on_from_batch_to_batch() -> None:
    stream = replace(running_sum(), windows=None)
    first, second = islice(stream.batches(0), 2)
    frozen = replace(stream, optimizer=partial(SGD, lr=0.0))
    model = running_sum().model
    joined = model(torch.cat([first[0], second[0]]))[12:]
    expected = (joined - second[1]).square().mean().item()
    assert train(frozen, 2).losses[1] == pytest.approx(expected, rel=1e-5)


# Schedules, and early ends


RATES = {
    None: [0.01] * 4,
    "constant": [0.01] * 4,
    "linear": [0.01, 0.0075, 0.005, 0.0025],
    "cosine": [0.01 * math.cos(math.pi * k / 8) ** 2 for k in range(4)],
}


@pytest.mark.parametrize(("schedule", "expected"), RATES.items(), ids=RATES)
def test_the_learning_rate_of_each_update(schedule: str | None, expected: list[float]) -> None:
    assert rates(4, schedule=schedule) == pytest.approx(expected)


def test_a_function_of_the_updates_made_before() -> None:
    assert rates(3, schedule=lambda made: 2.0**made) == pytest.approx([0.01, 0.02, 0.04])


@pytest.mark.parametrize("name", ["warmup-linear", "warmup-cosine"])
def test_a_warm_up_rises_for_a_tenth_and_falls_to_nearly_nothing(name: str) -> None:
    seen = rates(40, schedule=name)
    assert seen[0] > 0
    assert seen[:5] == sorted(seen[:5])
    assert seen[4:] == sorted(seen[4:], reverse=True)
    assert max(seen) == seen[4] == pytest.approx(0.01)
    assert seen[-1] < 0.0004


def test_a_learning_rate_of_ones_own() -> None:
    assert rates(2, lr=0.5) == [0.5, 0.5]


def rates(steps: int, **how: Any) -> list[float]:
    """The learning rate that each update was made with."""
    made: list[SGD] = []

    def optimizer(parameters: Any) -> SGD:
        made.append(SGD(parameters, lr=0.01))
        return made[-1]

    seen: list[float] = []
    train(
        running_sum(),
        steps,
        optimizer=optimizer,
        on_step=lambda *_: seen.append(made[-1].param_groups[0]["lr"]),
        **how,
    )
    return seen


def solvable(bound: float) -> Problem:
    return replace(running_sum(), solved=Criterion("loss", "below", bound))


def test_solved_is_when_an_evaluation_says_so() -> None:
    scores = dict(train(running_sum(), 30, evaluate_every=10).evaluations)
    bound = (scores[10]["loss"] + scores[20]["loss"]) / 2
    assert scores[20]["loss"] < bound < scores[10]["loss"]
    going_on = train(solvable(bound), 30, evaluate_every=10)
    assert (going_on.solved_at, going_on.steps, going_on.status) == (20, 30, "done")
    ended = train(solvable(bound), 30, evaluate_every=10, stop="solved")
    assert (ended.solved_at, ended.steps, ended.status) == (20, 20, "solved")


def test_a_plateau_of_the_losses_ends_it() -> None:
    still = replace(running_sum(), optimizer=partial(SGD, lr=0.0))
    once = replace(still, batches=lambda seed: repeat(next(running_sum().batches(seed))))
    done = train(once, 50, stop=Plateau(5))
    assert (done.steps, done.status) == (10, "stopped")
    assert train(replace(once, optimizer=running_sum().optimizer), 20, stop=Plateau(5)).steps == 20


def test_a_plateau_of_a_score_ends_it() -> None:
    values = iter([5.0, 4.0, 3.0, 3.5, 3.0, 3.0, 2.0, 1.0])
    problem = replace(running_sum(), evaluate=lambda _model: {"loss": next(values)})
    done = train(problem, 16, evaluate_every=2, stop=Plateau(6, "loss"))
    assert (done.steps, done.status) == (12, "stopped")


def test_a_rule_of_ones_own_ends_it() -> None:
    assert train(running_sum(), 50, stop=lambda so_far: so_far.steps >= 3).steps == 3


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "steps": ({"steps": -1}, "steps is -1: give at least 0"),
    "window": ({"window": 0}, "window is 0: give a whole number"),
    "checkpoint": ({"checkpoint_every": 0}, "checkpoint_every is 0: give a whole number"),
    "clip": ({"clip": 0.0}, "clip is 0.0: give a norm above 0, or None to clip nothing"),
    "clip nan": ({"clip": float("nan")}, "clip is nan"),
    "lr": ({"lr": -0.1}, "lr is -0.1: give a learning rate of at least 0"),
    "schedule": ({"schedule": "cosinus"}, "unknown schedule 'cosinus'; did you mean 'cosine'"),
    "stop": ({"stop": "sovled"}, "stop is 'sovled': give None, 'solved' or a function"),
    "no look": ({"stop": "solved"}, "say how often to evaluate: evaluate_every=100"),
}


@pytest.mark.parametrize(("how", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_out_of_range_is_refused(how: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        train(running_sum(), **{"steps": 3, **how})


LACKING: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "windows": ({"windows": None}, {"window": 3}, "cannot be cut through time"),
    "carry": ({"carry": None}, {"window": 3}, "cannot be cut through time"),
    "evaluate": ({"evaluate": None}, {"evaluate_every": 3}, "cannot be evaluated"),
    "solved": (
        {"solved": None},
        {"evaluate_every": 3, "stop": "solved"},
        "does not say when it is solved",
    ),
}


@pytest.mark.parametrize(("without", "how", "said"), LACKING.values(), ids=LACKING)
def test_what_a_problem_has_not_got(
    without: dict[str, Any], how: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        train(replace(running_sum(), **without), 3, **how)


def test_batches_that_end_are_told() -> None:
    few = replace(running_sum(), batches=lambda seed: islice(running_sum().batches(seed), 4))
    with pytest.raises(InputError, match="its batches ended after 4 updates"):
        train(few, 9)


def test_a_model_without_parameters_to_train() -> None:
    problem = running_sum()
    problem.model.requires_grad_(False)
    with pytest.raises(InputError, match="no parameter of the model requires a gradient"):
        train(problem, 3)
