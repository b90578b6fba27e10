"""The training loop: reproducible, bounded steps, and nothing left behind."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD
from training_problems import Counting, Rebinding, Stateful, running_sum

from throughtime.diagnosis import diagnose
from throughtime.errors import DivergedError, InputError, ThroughtimeWarning
from throughtime.problem import Problem, seeded
from throughtime.training import train


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
    with pytest.raises(InputError, match="give a whole number of steps, from 1"):
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
    "make",
    [nn.Identity, partial(nn.Dropout, 0.3), Counting, Stateful, Rebinding],
    ids=["plain", "dropout", "buffer", "attributes", "another buffer"],
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
