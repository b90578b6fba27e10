"""A model and a closure in paired trials: what seeds mean there, and what is refused."""

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
from test_trials_treat import Here, here  # noqa: F401  — workers of this very process
from torch import Tensor, nn
from treat_problems import Echo

import throughtime as tt
from throughtime.errors import InputError
from throughtime.problem import seeded
from throughtime.runs import RunDirectory
from throughtime.trials.treatment.announcing import plan_lines, time_line
from throughtime.trials.treatment.of_pair import of_pair
from throughtime.trials.treatment.paired import PairedTrial

Closure = Callable[[], Tensor]
ASK: dict[str, Any] = {"steps": 6, "seeds": 2, "remedies": ["orthogonal"], "measure": False}


class Dropping(Echo):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.5, self.training))


def pair(kind: type[Echo] = Echo, *, draws: bool = True, more: str = "") -> tuple[Echo, Closure]:
    """A model, and a closure that draws its batch, or has one."""
    with seeded(0):
        model, fixed = kind(nn.RNN(2, 8)), torch.randn(9, 8, 2)

    def closure() -> Tensor:
        x = torch.randn(9, 8, 2) if draws else fixed
        loss = (model(x) - x[0, :, 0]).square().mean()
        if more == "backward":
            loss.backward()
        return fixed.mean() + model.readout.bias.detach().sum() if more == "away" else loss

    return model, closure


def losses(folder: Path, remedy: str, seed: int) -> list[float]:
    (run,) = folder.glob(f"runs/*-{remedy}-seed{seed}-*/")
    return [line["loss"] for line in RunDirectory.open(run).history() if "loss" in line]


def test_one_seed_is_one_pair_of_trainings_on_the_same_draws(tmp_path: Path) -> None:
    model, closure = pair()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tt.treat(model, closure, folder=tmp_path, **ASK)
    first = [losses(tmp_path, "none", seed) for seed in (0, 1)]
    assert first[0] != first[1]
    assert first == [alone(seed) for seed in (0, 1)]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def alone(seed: int) -> list[float]:
    """The untreated training of a pair: Adam, 1e-3, no clipping, every update seeded."""
    model, closure = pair()
    optimizer, seen = torch.optim.Adam(model.parameters(), lr=1e-3), []
    for step in range(ASK["steps"]):
        optimizer.zero_grad()
        with seeded(seed + 1_000_003 * step):
            loss = closure()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    return seen


def test_a_tuple_and_an_optimizer_are_taken(tmp_path: Path) -> None:
    still = partial(torch.optim.SGD, lr=0.0)
    done = tt.treat(pair(), folder=tmp_path, optimizer=still, span=5, **ASK)
    assert (done.span, [note[:34] for note in done.notes]) == (
        5,
        ["The seeds differ in what the closu"],
    )
    (run,) = tmp_path.glob("runs/*-none-seed0-*/")
    assert "SGD" in str(RunDirectory.open(run).manifest)


def test_where_dropout_alone_differs_that_is_said(tmp_path: Path) -> None:
    done = tt.treat(*pair(Dropping, draws=False), folder=tmp_path, **ASK)
    assert done.notes[-1].startswith("The seeds differ in dropout alone")


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "every pair the same": (
        lambda folder: tt.treat(*pair(draws=False), folder=folder, **ASK),
        "every pair would be one and the same training; give a function make",
    ),
    "backward": (
        lambda folder: tt.treat(*pair(more="backward"), folder=folder, **ASK),
        "the closure calls backward",
    ),
    "a model alone": (
        lambda folder: tt.treat(pair()[0], folder=folder, **ASK),
        "a model alone cannot be trained: give treat",
    ),
    "another model": (
        lambda folder: tt.treat(pair()[0], pair()[1], folder=folder, span=5, **ASK),
        "the closure does not run the model",
    ),
    "a problem": (
        lambda folder: tt.treat(of_pair(*pair(), 5, (0,), None)(0), folder=folder, **ASK),
        "takes a function for that, not a Problem: def make",
    ),
    "an optimizer for a problem": (
        lambda folder: tt.treat(len, folder=folder, optimizer=torch.optim.SGD, **ASK),
        "closure and optimizer go with a model",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path: Path, case: str) -> None:
    do, said = REFUSED[case]
    with pytest.raises(InputError, match=said) as error:
        do(tmp_path / "new")
    assert ("\n" in str(error.value), (tmp_path / "new").exists()) == (False, False)


def test_one_seed_of_a_fixed_closure_is_allowed_and_shows_nothing(tmp_path: Path) -> None:
    done = tt.treat(*pair(draws=False), folder=tmp_path, **(ASK | {"seeds": 1}))
    assert done.notes[-1] == "One seed shows nothing beyond itself."


def test_the_package_can_be_pickled() -> None:
    assert pickle.loads(cloudpickle.dumps(tt)) is tt  # noqa: S301  — our own


# What is said before it begins


def arms(seeds: list[int], remedies: list[str]) -> list[list[PairedTrial]]:
    made = of_pair(*pair(), 5, tuple(seeds), None)
    return [
        [
            PairedTrial(
                make=made, subject="echo", source="x", remedy=remedy, span=5, seed=seed, steps=1000
            )
            for seed in seeds
        ]
        for remedy in ("none", *remedies)
    ]


def test_the_plan_counts_trainings_seeds_and_remedies(tmp_path: Path) -> None:
    said = [*plan_lines(arms([*range(7)], ["orthogonal", "identity"]), tmp_path)]
    line = (
        "21 trainings of 1,000 updates each: untreated and with 2 remedies (orthogonal, identity), "
        "from 7 seeds (0 to 6)"
    )
    assert said == [line]


def test_seeds_that_are_too_few_are_told(tmp_path: Path) -> None:
    *_, said = plan_lines(arms([0, 3], ["orthogonal", "identity"]), tmp_path)
    assert said == "2 seeds cannot prove that a remedy helps: for 2 remedies give at least 6"


def test_the_time_is_that_of_all_updates_shared_by_the_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = "throughtime.trials.treatment.announcing._seconds"
    monkeypatch.setattr(timed, lambda trial: 0.1 if trial.remedy == "none" else 0.2)
    asked = arms([*range(7)], ["orthogonal"])
    said = time_line(asked, tmp_path, 2)
    assert said.startswith("about 18 minutes on 2 processes; an update takes 100 ms, 200 ms")
    assert time_line(asked, tmp_path, None).startswith("about 35 minutes of one process's work")
