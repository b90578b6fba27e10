"""The training loop: reproducible, bounded steps, and nothing left behind."""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice, repeat
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD
from training_problems import Counting, Pair, carry, running_sum, windows

from throughtime.diagnosis import diagnose
from throughtime.errors import DivergedError, InputError, ThroughtimeWarning
from throughtime.problem import Criterion, Problem, seeded
from throughtime.training import Plateau, train


def regression(*layers: nn.Module, scale: float = 1.0, rate: float = 0.1) -> Problem:
    """Learn the sum of three numbers."""
    with seeded(0):
        model = nn.Sequential(nn.Linear(3, 4), *layers, nn.Linear(4, 1))

    def batches(seed: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield scale * torch.randn(8, 3, generator=generator)

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        return (model(batch).squeeze(1) - batch.sum(dim=1)).square().mean()

    return Problem("regression", model, batches, loss, span=1, optimizer=partial(SGD, lr=rate))


def test_the_loss_falls() -> None:
    losses = train(regression(), 100).losses
    assert losses[-1] < losses[0] / 10


@pytest.mark.parametrize("layers", [(), (nn.Dropout(0.5),)], ids=["plain", "dropout"])
def test_the_same_seed_gives_the_same_losses(layers: tuple[nn.Module, ...]) -> None:
    first, second = (train(regression(*layers), 20, seed=5) for _ in range(2))
    assert first.losses == second.losses


@pytest.mark.parametrize("layers", [(), (nn.Dropout(0.5),)], ids=["plain", "dropout"])
def test_another_seed_gives_others(layers: tuple[nn.Module, ...]) -> None:
    first, second = (train(regression(*layers), 20, seed=seed) for seed in (5, 6))
    assert first.losses != second.losses


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    train(regression(nn.Dropout(0.5)), 3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_global_random_state_has_no_say() -> None:
    first = train(regression(nn.Dropout(0.5)), 5).losses
    with torch.random.fork_rng():
        torch.rand(7)
        assert train(regression(nn.Dropout(0.5)), 5).losses == first


def test_no_step_is_longer_than_the_clip_allows() -> None:
    problem = regression(scale=100.0, rate=1.0)
    before = [parameter.detach().clone() for parameter in problem.model.parameters()]
    train(problem, 1, clip=0.5)
    steps = [a.detach() - b for a, b in zip(problem.model.parameters(), before, strict=True)]
    assert torch.cat([step.flatten() for step in steps]).norm().item() == pytest.approx(0.5)


def test_a_gradient_whose_square_no_float32_holds_is_clipped_as_any_other() -> None:
    def grown(_: nn.Module, make_loss: Callable[[], Tensor]) -> Tensor:
        loss = make_loss()
        (1e24 * loss).backward()
        return loss

    def moved(problem: Problem) -> Tensor:
        before = [parameter.detach().clone() for parameter in problem.model.parameters()]
        train(problem, 1, clip=0.5)
        steps = [a.detach() - b for a, b in zip(problem.model.parameters(), before, strict=True)]
        return torch.cat([step.flatten() for step in steps])

    huge, expected = moved(replace(regression(), backward=grown)), moved(regression(scale=100.0))
    assert huge.norm().item() == pytest.approx(expected.norm().item())


def test_frozen_parameters_stay() -> None:
    problem = regression()
    weight = problem.model[0].weight.requires_grad_(False)
    before = weight.clone()
    train(problem, 3)
    assert torch.equal(weight, before)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_put_back(training: bool) -> None:
    problem = regression()
    problem.model.train(training)
    train(problem, 2)
    assert problem.model.training is training


def test_every_step_is_reported_with_its_loss() -> None:
    seen: list[tuple[int, float]] = []
    done = train(regression(), 4, on_step=lambda step, loss: seen.append((step, loss)))
    assert seen == list(enumerate(done.losses, start=1))


def test_true_from_on_step_ends_the_training() -> None:
    done = train(regression(), 50, on_step=lambda step, _: step == 7)
    assert (done.steps, done.status) == (7, "stopped")


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 1e30])
def test_a_loss_that_is_no_number_stops_before_it_ruins_the_model(scale: float) -> None:
    problem = regression(scale=scale)
    with pytest.raises(DivergedError, match="regression: at step 1 the loss is"):
        train(problem, 5)
    assert all(parameter.isfinite().all() for parameter in problem.model.parameters())


def test_a_closure_gives_the_loss_of_the_first_batch() -> None:
    problem = regression()
    expected = problem.loss(problem.model, next(problem.batches(0)))
    assert problem.closure().item() == expected.item()


@pytest.mark.parametrize("span", [0, -3])
def test_a_problem_must_look_back(span: int) -> None:
    with pytest.raises(InputError, match="at least 1"):
        replace(regression(), span=span)


def test_inside_a_seeded_block_the_seed_decides() -> None:
    with seeded(4):
        first = torch.rand(3)
    with seeded(4):
        assert torch.equal(torch.rand(3), first)


# What is recorded beside the losses


def test_the_share_of_clipped_updates() -> None:
    done = train(running_sum(), 10, clip=1.0)
    whole = train(running_sum(), 10, clip=1e-9)
    assert 0 < done.clipped < 1
    assert (whole.clipped, whole.clipped_steps) == (1.0, 10)


def test_none_clips_nothing() -> None:
    free = train(running_sum(), 10, clip=None)
    assert free.losses == train(running_sum(), 10, clip=1e9).losses
    assert free.losses != train(running_sum(), 10, clip=0.1).losses
    assert free.clipped == 0.0


@pytest.mark.parametrize(
    "make", [nn.Identity, partial(nn.Dropout, 0.3), Counting], ids=["plain", "dropout", "buffer"]
)
def test_looking_changes_no_bit(make: Callable[[], nn.Module]) -> None:
    """Neither random states nor gradients, buffers or modes are others afterwards."""
    plain = train(running_sum(make()), 12)
    looked = train(running_sum(make()), 12, measure_every=2, evaluate_every=3)
    assert looked.losses == plain.losses
    assert [one.step for one in looked.horizons] == [0, 2, 4, 6, 8, 10, 12]
    assert [step for step, _ in looked.evaluations] == [3, 6, 9, 12]


def test_the_horizon_is_that_of_the_diagnosis() -> None:
    problem = running_sum()
    found = diagnose(problem)
    first = train(problem, 1, measure_every=5).horizons[0]
    assert first == (0, found.horizon, found.layers[0].gain_at_span)


def test_the_span_is_asked_of_the_diagnosis() -> None:
    near, far = (train(running_sum(), 1, measure_every=9, span=k).horizons[0] for k in (1, 11))
    assert near.gain_at_span > far.gain_at_span


def test_what_cannot_be_measured_is_told_once() -> None:
    with pytest.warns(ThroughtimeWarning, match="gradient flow of regression is not") as told:
        done = train(regression(), 6, measure_every=2)
    assert len(told) == 1
    assert (done.steps, done.horizons) == (6, [])


def test_the_last_update_is_evaluated() -> None:
    problem = running_sum()
    done = train(problem, 5)
    assert [step for step, _ in done.evaluations] == [5]


def test_everything_as_json() -> None:
    done = train(running_sum(), 3, measure_every=1, evaluate_every=1)
    done.evaluations[-1][1]["loss"] = float("nan")
    told = json.loads(json.dumps(done.to_dict(), allow_nan=False))
    assert told["losses"] == done.losses
    assert (told["scores"], told["loss"]) == ({"loss": "nan"}, done.losses[-1])


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
    "window": ({"window": 0}, "window is 0: give at least 1"),
    "checkpoint": ({"checkpoint_every": 0}, "checkpoint_every is 0: give at least 1"),
    "clip": ({"clip": 0.0}, "clip is 0.0: give a norm above 0, or None to clip nothing"),
    "clip nan": ({"clip": float("nan")}, "clip is nan"),
    "lr": ({"lr": -0.1}, "lr is -0.1: give a learning rate of at least 0"),
    "schedule": ({"schedule": "cosinus"}, "'cosinus' is not known: choose one of constant, linear"),
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
