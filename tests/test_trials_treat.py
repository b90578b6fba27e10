"""Paired trials: what is paired, what is refused, what is never trained twice."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import treat_problems as problems

from throughtime import prescription
from throughtime.errors import InputError, RunError
from throughtime.prescription import treated
from throughtime.runs import RunDirectory
from throughtime.training import train
from throughtime.trials import Treated, study, treat
from throughtime.trials.one import Outcome, run_trial
from throughtime.trials.trial import Trial

STEPS = 40
BOUND = partial(problems.echo, bound=0.5)


class Here:
    """Workers that are this very process."""

    def __init__(self) -> None:
        self.asked: list[Trial] = []

    def submit(self, trial: Trial, folder: str, stop: str) -> Future[Outcome]:
        self.asked.append(trial)
        future: Future[Outcome] = Future()
        future.set_result(run_trial(trial, folder, stop))
        return future

    def outcome(self, future: Future[Outcome]) -> Outcome:
        return future.result()


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    workers = Here()

    @contextmanager
    def of_this_process(*_arguments: Any) -> Iterator[Here]:
        yield workers

    threads = torch.get_num_threads()
    monkeypatch.setattr(study, "_workers", of_this_process)
    yield workers
    torch.set_num_threads(threads)


def ran(folder: Path, make: Any = problems.echo, **change: Any) -> Treated:
    asked: dict[str, Any] = {
        "steps": STEPS,
        "seeds": 2,
        "remedies": ["orthogonal"],
        "measure": False,
    } | change
    return treat(make, folder=folder, evaluate_every=20, checkpoint_every=20, **asked)


def losses(folder: Path, remedy: str, seed: int) -> list[float]:
    (run,) = folder.glob(f"runs/echo-7-{remedy}-seed{seed}-*/")
    return [line["loss"] for line in RunDirectory.open(run).history() if "loss" in line]


# Pairs


@pytest.mark.parametrize("remedy", ["none", "orthogonal"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_trial_is_the_training_of_the_treated_problem(
    tmp_path: Path, remedy: str, seed: int
) -> None:
    ran(tmp_path)
    alone = train(treated(problems.echo(seed), remedy, problems.SPAN - 1, seed), STEPS, seed=seed)
    assert losses(tmp_path, remedy, seed) == alone.losses


def test_all_arms_have_the_same_first_weights(tmp_path: Path, here: Here) -> None:
    ran(tmp_path, remedies=["clip"], make=problems.unclipped)
    first = [trial.problem().model.state_dict() for trial in here.asked if trial.seed == 0]
    assert all(torch.equal(first[0][name], first[1][name]) for name in first[0])


def test_there_is_a_trial_for_each_seed_of_each_arm(tmp_path: Path, here: Here) -> None:
    done = ran(tmp_path, seeds=[3, 5], remedies=["orthogonal", "identity"])
    asked = [(trial.remedy, trial.seed) for trial in here.asked]
    arms = ["none", "orthogonal", "identity"]
    assert asked == [(arm, seed) for seed in (3, 5) for arm in arms]
    assert [[end.seed for end in arm.ends] for arm in done.arms] == [[3, 5]] * 3


# Nothing twice


def test_what_is_finished_is_not_trained_again(tmp_path: Path, here: Here) -> None:
    first = ran(tmp_path)
    here.asked.clear()
    assert (ran(tmp_path), here.asked) == (first, [])


def test_more_seeds_and_remedies_are_added_to_what_is_there(tmp_path: Path, here: Here) -> None:
    ran(tmp_path)
    here.asked.clear()
    ran(tmp_path, seeds=3, remedies=["orthogonal", "identity"])
    asked = {(trial.remedy, trial.seed) for trial in here.asked}
    assert asked == {("none", 2), ("orthogonal", 2), *(("identity", seed) for seed in range(3))}


def test_the_prescription_is_asked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [arm.remedy for arm in ran(tmp_path, remedies=None, steps=2).arms]

    def never(*_arguments: Any, **_more: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(prescription, "prescribe", never)
    assert [arm.remedy for arm in ran(tmp_path, remedies=None, steps=2).arms] == names
    assert len(names) in range(2, 5)


def test_the_cell_can_be_kept(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"remedies": None, "steps": 2, "keep_cell": True}
    names = [part for arm in ran(tmp_path, **asked).arms for part in arm.remedy.split("+")]
    treatments = prescription.TREATMENTS
    assert not [name for name in names if name in treatments and treatments[name].slot == "cell"]
    assert len(names) > 1


# What cannot be

REFUSED = [
    ({"remedies": ["aspirin"]}, "unknown remedy 'aspirin'"),
    ({"remedies": ["chrono"]}, "has no gate that keeps its state"),
    ({"remedies": ["none"]}, "none is no remedy"),
    ({"seeds": 0}, "there is no seed"),
    ({"seeds": [1, 1]}, "give each once"),
    ({"steps": 0}, "steps is 0"),
    ({"span": 0}, "span is 0"),
    ({"make": problems.unsteady}, "no two trials are a pair"),
    ({"make": lambda _seed: problems.echo(0)}, "give a function that is made by def"),
]


@pytest.mark.parametrize(("change", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_be_is_refused_before_anything_is_made(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        ran(tmp_path / "new", **change)
    assert not (tmp_path / "new").exists()


def test_the_directory_of_a_sweep_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text('{"schema": 1}')
    with pytest.raises(RunError, match="holds other files"):
        ran(tmp_path)


# Seeds that mean little


def test_seeds_that_share_their_weights_are_told(tmp_path: Path) -> None:
    done = ran(tmp_path, problems.same_weights)
    assert [note[:49] for note in done.notes] == [
        "The first weights are the same for every seed, so"
    ]


def test_seeds_that_are_one_training_count_once(tmp_path: Path) -> None:
    done = ran(tmp_path, problems.same_training, seeds=3)
    change = done.arm("orthogonal").loss_change
    assert change is not None
    assert (len(change.differences), change.p, len(done.notes)) == (1, 0.5, 1)


# Ends


def test_a_trial_that_diverges_counts_as_the_worst_of_all(tmp_path: Path) -> None:
    done = ran(tmp_path, problems.exploding, remedies=["clip"], seeds=5)
    before, after = done.arms
    assert (before.diverged, before.loss, after.diverged) == (5, float("inf"), 0)
    assert (done.answer, done.best, "against diverged" in done.verdict) == ("helped", "clip", True)


def test_the_result_is_written_beside_the_runs(tmp_path: Path) -> None:
    done = ran(tmp_path, BOUND)
    told = json.loads((tmp_path / "result.json").read_text())
    assert told == json.loads(json.dumps(done.to_dict()))


def test_the_page_shows_every_pair(tmp_path: Path) -> None:
    ran(tmp_path, BOUND, seeds=3, remedies=["orthogonal", "identity"])
    html = (tmp_path / "index.html").read_text()
    labels = re.findall(r'aria-label="seed (\d): 1 (?:un)?solved', html)
    assert labels == ["0", "1", "2"] * 2
    assert ("the untreated model, from the same seed" in html, str(tmp_path) in html) == (
        True,
        False,
    )


def test_where_nothing_is_prescribed_only_the_untreated_model_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = SimpleNamespace(options=())
    monkeypatch.setattr(prescription, "prescribe", lambda *_arguments, **_more: nothing)
    done = ran(tmp_path, remedies=None)
    assert ([arm.remedy for arm in done.arms], done.answer) == (["none"], "none")
    assert done.notes[-1].startswith("Nothing was prescribed")
