"""Resumed is uninterrupted, bit for bit; and what cannot be resumed is refused."""

import json
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from run_states import resealed
from torch.optim import SGD
from training_problems import PROBLEMS, Deck, running_sum

from throughtime.errors import InputError, RunError, StorageError, ThroughtimeWarning
from throughtime.problem import Problem
from throughtime.runs import RunDirectory
from throughtime.training import Plateau, Training, train

STEPS = 14


class Pulled(BaseException):
    """The plug."""


def pull_the_plug(at: int) -> Callable[[int, float], None]:
    def on_step(step: int, _loss: float) -> None:
        if step == at:
            raise Pulled

    return on_step


def broken_off(problem: Problem, run: Path, at: int, **how: object) -> None:
    with pytest.raises(Pulled):
        train(problem, STEPS, run=run, on_step=pull_the_plug(at), checkpoint_every=4, **how)


def outcome(problem: Problem, done: Training) -> dict[str, object]:
    """All that must be the same to the last bit."""
    weights = {name: tensor.tolist() for name, tensor in problem.model.state_dict().items()}
    facts = done.to_dict()
    del facts["seconds"]
    return {**facts, "weights": weights}


HOW: dict[str, dict[str, object]] = {
    "plain": {},
    "cosine": {"schedule": "cosine"},
    "a schedule of one's own": {"schedule": lambda step: 1 / (1 + step)},
    "windows": {"window": 5},
    "looked at": {"measure_every": 3, "evaluate_every": 2},
}


@pytest.mark.parametrize("at", [7, 13], ids="broken off at {}".format)
@pytest.mark.parametrize("name", PROBLEMS)
def test_resumed_is_uninterrupted(name: str, at: int, tmp_path: Path) -> None:
    whole, resumed = PROBLEMS[name](), PROBLEMS[name]()
    expected = outcome(whole, train(whole, STEPS, seed=3))
    broken_off(PROBLEMS[name](), tmp_path / "run", at, seed=3)
    done = train(resumed, STEPS, seed=3, run=tmp_path / "run", resume=True)
    assert outcome(resumed, done) == expected


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_whatever_the_training_does(how: dict[str, object], tmp_path: Path) -> None:
    whole, resumed = running_sum(), running_sum()
    expected = outcome(whole, train(whole, STEPS, **how))
    broken_off(running_sum(), tmp_path / "run", 7, **how)
    broken_off(running_sum(seed=8), tmp_path / "run", 10, resume=True, **how)
    done = train(resumed, STEPS, run=tmp_path / "run", resume=True, **how)
    assert outcome(resumed, done) == expected


def test_more_steps_than_before(tmp_path: Path) -> None:
    whole, resumed = running_sum(), running_sum()
    expected = outcome(whole, train(whole, STEPS))
    train(running_sum(), 9, run=tmp_path / "run")
    done = train(resumed, STEPS, run=tmp_path / "run", resume=True)
    assert outcome(resumed, done)["weights"] == expected["weights"]
    assert done.losses == expected["losses"]


def test_what_is_done_stays_done(tmp_path: Path) -> None:
    problem = running_sum()
    first = outcome(problem, train(problem, STEPS, run=tmp_path / "run"))
    again = running_sum(seed=5)
    seen: list[int] = []
    done = train(
        again, STEPS, run=tmp_path / "run", resume=True, on_step=lambda step, _: seen.append(step)
    )
    assert outcome(again, done) == first
    assert not seen


@pytest.mark.parametrize(
    "stop", ["solved", Plateau(2), Plateau(2, "loss")], ids=["solved", "losses", "scores"]
)
def test_what_ended_early_ends_there_again(stop: object, tmp_path: Path) -> None:
    how = {"stop": stop, "evaluate_every": 1, "run": tmp_path / "run"}
    first = train(_easy(), 60, **how)
    assert first.steps < 60
    again = train(_easy(), 60, resume=True, **how)
    assert (again.steps, again.status) == (first.steps, first.status)


def _easy() -> Problem:
    problem = running_sum()
    assert problem.solved is not None
    return replace(
        problem, solved=replace(problem.solved, bound=10.0), optimizer=partial(SGD, lr=1e-9)
    )


def test_batches_with_a_state_are_not_drawn_again(tmp_path: Path) -> None:
    decks: list[Deck] = []

    def batches(seed: int) -> Deck:
        decks.append(Deck(seed))
        return decks[-1]

    problem = replace(running_sum(), batches=batches)
    train(problem, 10, run=tmp_path / "run")
    train(problem, 14, run=tmp_path / "run", resume=True)
    assert [deck.drawn for deck in decks] == [10, 4]


def test_without_a_checkpoint_it_begins(tmp_path: Path) -> None:
    broken_off(running_sum(), tmp_path / "run", 3)
    done = train(running_sum(), STEPS, run=tmp_path / "run", resume=True)
    assert done.losses == train(running_sum(), STEPS).losses


def test_with_nothing_there_it_begins(tmp_path: Path) -> None:
    done = train(running_sum(), 3, run=tmp_path / "run", resume=True)
    assert [line["step"] for line in RunDirectory.open(tmp_path / "run").history()] == [1, 2, 3]
    assert done.steps == 3


def test_the_journal_tells_each_update_and_what_was_seen(tmp_path: Path) -> None:
    done = train(
        running_sum(), 4, run=tmp_path / "run", evaluate_every=2, measure_every=4, clip=1.0
    )
    lines = RunDirectory.open(tmp_path / "run").history()
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    assert [line["loss"] for line in lines[1:]] == done.losses
    assert [line["step"] for line in lines if "scores" in line] == [2, 4]
    assert [line["step"] for line in lines if "horizon" in line] == [0, 4]
    assert sum(line["norm"] > 1.0 for line in lines[1:]) == done.clipped_steps


def test_the_manifest_tells_what_was_trained_and_how_it_ended(tmp_path: Path) -> None:
    train(running_sum(), 4, run=tmp_path / "run", settings={"task": "sum"})
    manifest = RunDirectory.open(tmp_path / "run").manifest
    assert manifest["status"] == "done"
    assert manifest["settings"] == {
        "problem": "running sum",
        "seed": 0,
        "optimizer": "Adam(lr=0.01, betas=(0.9, 0.999), eps=1e-08)",
        "schedule": None,
        "clip": 1.0,
        "window": None,
        "processes": 1,
        "task": "sum",
    }


OTHER: dict[str, tuple[dict[str, object], str]] = {
    "seed": ({"seed": 1}, "seed 0, and now it is 1"),
    "lr": (
        {"lr": 0.5},
        "optimizer Adam(lr=0.01, betas=(0.9, 0.999), eps=1e-08), and now it is Adam",
    ),
    "clip": ({"clip": None}, "clip 1.0, and now it is none"),
    "window": ({"window": 3}, "window none, and now it is 3"),
    "schedule": ({"schedule": "linear"}, "schedule none, and now it is linear"),
    "settings": ({"settings": {"cell": "gru"}}, "cell none, and now it is gru"),
}


@pytest.mark.parametrize(("how", "said"), OTHER.values(), ids=OTHER)
def test_another_training_is_no_resume(how: dict[str, object], said: str, tmp_path: Path) -> None:
    train(running_sum(), 4, run=tmp_path / "run")
    with pytest.raises(RunError) as caught:
        train(running_sum(), 8, run=tmp_path / "run", resume=True, **how)
    assert str(caught.value).startswith(f"{tmp_path}/run was begun with {said}")
    assert "\n" not in str(caught.value)


def test_a_schedule_over_more_steps_would_be_another_one(tmp_path: Path) -> None:
    train(running_sum(), 4, run=tmp_path / "run", schedule="cosine")
    with pytest.raises(RunError, match="the schedule cosine over steps 4, and now it is 8"):
        train(running_sum(), 8, run=tmp_path / "run", schedule="cosine", resume=True)


def test_fewer_steps_than_were_made(tmp_path: Path) -> None:
    train(running_sum(), 6, run=tmp_path / "run")
    with pytest.raises(RunError, match="has made 6 updates already: give at least as many steps"):
        train(running_sum(), 5, run=tmp_path / "run", resume=True)


def test_a_run_is_not_written_over(tmp_path: Path) -> None:
    train(running_sum(), 2, run=tmp_path / "run")
    with pytest.raises(RunError, match="already holds a training: resume it"):
        train(running_sum(), 2, run=tmp_path / "run")


def test_another_model_is_refused(tmp_path: Path) -> None:
    train(running_sum(), 2, run=tmp_path / "run")
    with pytest.raises(RunError, match=r"missing: recurrent\.weight_ih_l1"):
        train(running_sum(layers=2), 4, run=tmp_path / "run", resume=True)


def test_a_broken_checkpoint_is_refused_with_what_to_do(tmp_path: Path) -> None:
    train(running_sum(), 4, run=tmp_path / "run", checkpoint_every=2)
    file = max((tmp_path / "run").glob("checkpoint-*"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(RunError, match="remove it to go on from step 2"):
        train(running_sum(), 8, run=tmp_path / "run", resume=True)
    file.unlink()
    done = train(running_sum(), 8, run=tmp_path / "run", resume=True)
    assert done.losses == train(running_sum(), 8).losses


def test_a_journal_that_lost_lines_is_refused(tmp_path: Path) -> None:
    train(running_sum(), 4, run=tmp_path / "run")
    journal = tmp_path / "run" / "journal.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(RunError, match=r"journal\.jsonl, line 1: its digest is not"):
        train(running_sum(), 8, run=tmp_path / "run", resume=True)


FOREIGN: dict[str, tuple[dict[str, object], str]] = {
    "no settings": ({"settings": None}, "does not say with which settings the run was begun"),
    "settings of another type": ({"settings": [1]}, "does not say with which settings"),
    "a text for the checkpoints": ({"checkpoints": ""}, "its list of checkpoints is broken"),
    "an object for the checkpoints": ({"checkpoints": {}}, "its list of checkpoints is broken"),
    "no checkpoints": ({"checkpoints": []}, "names none of the 2 checkpoints that lie beside it"),
}


@pytest.mark.parametrize(("changes", "said"), FOREIGN.values(), ids=FOREIGN)
def test_a_manifest_that_forgets_is_refused_and_nothing_is_removed(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    train(running_sum(), 4, run=tmp_path / "run", checkpoint_every=2)
    resealed(tmp_path / "run", **changes)
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(RunError, match=said):
        train(running_sum(), 8, run=tmp_path / "run", resume=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_an_earlier_manifest_does_not_cost_the_checkpoints(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(running_sum(), 2, run=run)
    early = (run / "manifest.json").read_bytes()
    train(running_sum(), 6, run=run, resume=True, checkpoint_every=2)
    (run / "manifest.json").write_bytes(early)
    before = {path: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(RunError, match="names none of the 2 checkpoints that lie beside it"):
        train(running_sum(), 8, run=run, resume=True)
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_every_flipped_bit_of_a_manifest_is_refused(tmp_path: Path) -> None:
    train(running_sum(), 4, run=tmp_path / "run", checkpoint_every=2)
    path = tmp_path / "run" / "manifest.json"
    whole = path.read_bytes()
    accepted = []
    for bit in range(8 * len(whole)):
        path.write_bytes(flipped(whole, bit))
        with suppress(RunError):
            RunDirectory.open(tmp_path / "run")
            accepted.append(bit)
    assert accepted == []


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("taken", ["checkpoint-*", "journal.jsonl", "manifest.json"])
def test_a_file_of_another_seeds_run_is_not_taken_over(taken: str, tmp_path: Path) -> None:
    for seed in (0, 1):
        train(running_sum(), 4, seed=seed, run=tmp_path / str(seed))
    (own,), (other,) = ((tmp_path / seed).glob(taken) for seed in "01")
    own.write_bytes(other.read_bytes())
    with pytest.raises(RunError, match=str(tmp_path / "0")):
        train(running_sum(), 8, run=tmp_path / "0", resume=True)


STATES = [{}, {"counters": 1}, {"counters": {"wibble": 1}}, {"counters": {}, "model": {}}]


@pytest.mark.parametrize("state", STATES, ids=str)
def test_what_is_not_the_state_of_a_training_is_refused(
    state: dict[str, object], tmp_path: Path
) -> None:
    with RunDirectory.create(tmp_path / "run", {"settings": {}}).lock() as run:
        run.save(state, 0)
    begun = train(running_sum(), 0, run=tmp_path / "other")
    assert begun.steps == 0
    settings = RunDirectory.open(tmp_path / "other").manifest["settings"]
    with run.lock():
        run.update(settings=settings)
    with pytest.raises(RunError, match=r"step 0 is damaged, or not of this|state is not of this"):
        train(running_sum(), 2, run=run.path, resume=True)


def test_nothing_can_be_resumed_without_a_place() -> None:
    with pytest.raises(InputError, match="nothing to resume: name the run directory"):
        train(running_sum(), 2, resume=True)


def test_a_run_directory_of_ones_own(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", {"trial": 7})
    train(running_sum(), 2, run=run)
    assert RunDirectory.open(tmp_path / "run").manifest["trial"] == 7
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["steps"] == 2


@pytest.mark.parametrize("writing", ["append", "save", "update"])
def test_a_full_disk_does_not_end_the_training(
    writing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(running_sum(), STEPS).losses
    usual, calls = getattr(RunDirectory, writing), 0

    def full(self: RunDirectory, *arguments: object, **more: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise StorageError(OSError(28, "No space left on device"), self.path, 1234)
        usual(self, *arguments, **more)

    monkeypatch.setattr(RunDirectory, writing, full)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        done = train(running_sum(), STEPS, run=tmp_path / "run", checkpoint_every=4)
    assert (done.losses, done.status) == (expected, "done")
    assert [one.category for one in told] == [ThroughtimeWarning]
    assert "No space left on device: not written (1,234 bytes)" in done.unrecorded
    advice = "the training goes on, and is no longer recorded"
    assert str(told[0].message) == f"{done.unrecorded}: {advice}"
    monkeypatch.undo()
    again = train(running_sum(), STEPS, run=tmp_path / "run", resume=True)
    assert again.losses == expected


def test_what_a_checkpoint_cannot_hold_is_told_with_its_place(tmp_path: Path) -> None:

    class Strange(Deck):
        def state_dict(self) -> dict[str, object]:
            return {"position": object()}

    problem = replace(running_sum(), batches=Strange)
    with pytest.raises(RunError, match=r"state\['batches'\]\['position'\] is of type"):
        train(problem, 4, run=tmp_path / "run", checkpoint_every=2)


def test_the_global_random_states_are_left_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    broken_off(PROBLEMS["drawn by numpy"](), tmp_path / "run", 6)
    train(PROBLEMS["drawn by numpy"](), STEPS, run=tmp_path / "run", resume=True)
    assert torch.equal(before, torch.random.get_rng_state())
