"""One setting: trained once, gone on with after a stop, recorded whatever happened."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sweep_runs import ran, setting

from throughtime.problem import Problem
from throughtime.runs import RunDirectory
from throughtime.runs.lock import locked
from throughtime.trials import Setting, one
from throughtime.trials import setting as module
from throughtime.trials.one import claim_path, is_finished, run_path, run_trial


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def journal(folder: Path, asked: Setting) -> list[str]:
    path = run_path(folder, asked) / "journal.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def losses(folder: Path, asked: Setting) -> list[float]:
    history = RunDirectory.open(run_path(folder, asked)).history()
    return [line["loss"] for line in history]


def test_a_finished_setting_has_its_result(tmp_path: Path) -> None:
    result = ran(tmp_path, setting())
    assert (result["status"], result["updates"], len(result["curve"])) == ("done", 24, 24)


def test_a_solved_setting_ends_there_if_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("throughtime.problem.Criterion.met", lambda _self, _scores: True)
    result = ran(tmp_path, setting(until_solved=True))
    assert (result["status"], result["solved_at"], result["updates"]) == ("solved", 12, 12)


def test_a_finished_setting_is_never_trained_again(tmp_path: Path) -> None:
    first = ran(tmp_path, setting())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert ran(tmp_path, setting()) == first
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_stop_leaves_what_is_gone_on_with_to_the_same_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one, "_LOOK", -1.0)
    asked, halted = setting(), tmp_path / "halted"
    whole = ran(tmp_path / "whole", asked)
    monkeypatch.setattr(Path, "exists", stopping_after(13, Path.exists))
    assert run_trial(asked, str(halted), str(halted / "stop")).status == "stopped"
    monkeypatch.undo()
    assert (len(journal(halted, asked)), claim_path(halted, asked).exists()) == (13, False)
    again = ran(halted, asked)
    assert losses(halted, asked) == losses(tmp_path / "whole", asked)
    assert [again[name] for name in ("loss", "scores")] == [whole[n] for n in ("loss", "scores")]


def stopping_after(steps: int, exists: Callable[..., bool]) -> Callable[..., bool]:
    """The sweep's stop appears after so many looks at it, one before the training among them."""
    looks = iter(range(steps))

    def look(path: Path, **more: Any) -> bool:
        return next(looks, None) is None if path.name == "stop" else exists(path, **more)

    return look


def test_nothing_is_begun_after_a_stop(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    assert run_trial(setting(), str(tmp_path), str(tmp_path / "stop")).status == "stopped"
    assert not (tmp_path / "runs").exists()


def test_what_another_process_holds_is_left_to_it(tmp_path: Path) -> None:
    asked = setting()
    (tmp_path / "runs").mkdir()
    with locked(claim_path(tmp_path, asked)):
        outcome = run_trial(asked, str(tmp_path), str(tmp_path / "stop"))
    assert outcome.status == "busy"
    assert f"is being written by process {os.getpid()}" in outcome.reason
    assert not run_path(tmp_path, asked).exists()


def test_the_claim_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    asked = setting()
    (tmp_path / "runs").mkdir()
    with locked(claim_path(tmp_path, asked)):
        told = json.loads(claim_path(tmp_path, asked).read_text())
    claim_path(tmp_path, asked).write_text(json.dumps({**told, "started": "another boot:1"}))
    assert ran(tmp_path, asked)["status"] == "done"


def test_a_setting_that_diverges_is_recorded_for_good(tmp_path: Path) -> None:
    asked = setting(cells=["relu-rnn"], lr=1e30)
    result = ran(tmp_path, asked)
    assert (result["status"], result["updates"] < 24) == ("diverged", True)
    assert len(result["reason"].splitlines()) == 1
    assert is_finished(result)
    before = journal(tmp_path, asked)
    ran(tmp_path, asked)
    assert journal(tmp_path, asked) == before


FAULTS = [
    ({"remedies": ["chrono"]}, "has no gate that keeps its state"),
    ({"lengths": [3]}, "length is 3, and must be at least 10 for the adding problem"),
    ({"variant": "twice"}, "adding: unknown variant 'twice'"),
]


@pytest.mark.parametrize(("change", "reason"), FAULTS, ids=[str(one) for one, _ in FAULTS])
def test_a_setting_that_cannot_be_is_recorded_with_the_reason(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    result = ran(tmp_path, setting(**change))
    assert (result["status"], is_finished(result)) == ("failed", False)
    assert reason in result["reason"]


@pytest.mark.parametrize("error", [ValueError("one\ntwo"), MemoryError(), KeyError("x")])
def test_whatever_a_task_raises_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(_name: str, **_settings: Any) -> Problem:
        raise error

    monkeypatch.setattr(module, "make_task", broken)
    result = ran(tmp_path, setting())
    said = f"{type(error).__name__}: {str(error).replace(chr(10), ' ')}".removesuffix(": ")
    assert (result["status"], result["reason"]) == ("failed", said)


def test_a_failed_setting_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_name: str, **_settings: Any) -> Problem:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(module, "make_task", broken)
        ran(tmp_path, setting())
    assert ran(tmp_path, setting())["status"] == "done"


def test_a_damaged_run_fails_alone(tmp_path: Path) -> None:
    asked = setting()
    run_path(tmp_path, asked).mkdir(parents=True)
    (run_path(tmp_path, asked) / "manifest.json").write_text("{")
    outcome = run_trial(asked, str(tmp_path), str(tmp_path / "stop"))
    assert (outcome.status, "manifest" in outcome.reason) == ("failed", True)


def test_a_directory_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    outcome = run_trial(setting(), str(tmp_path), str(tmp_path / "stop"))
    assert outcome.status == "failed"


# Pairs


@pytest.mark.parametrize("other", ["clip", "forget-bias", "orthogonal"])
def test_remedies_read_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    seen: dict[str, list[torch.Tensor]] = {}
    make = module.make_task

    def spied(name: str, **settings: Any) -> Problem:
        problem = make(name, **settings)

        def loss(model: torch.nn.Module, batch: Any) -> torch.Tensor:
            seen.setdefault(remedy, []).append(batch[0])
            return problem.loss(model, batch)

        return Problem(**{**vars(problem), "loss": loss})

    monkeypatch.setattr(module, "make_task", spied)
    for remedy in ("none", other):
        ran(tmp_path, setting(cells=["lstm"], remedies=[remedy], steps=5))
    assert torch.equal(torch.stack(seen["none"]), torch.stack(seen[other]))


def test_clipping_begins_with_the_same_weights(tmp_path: Path) -> None:
    first = {}
    for remedy in ("none", "clip"):
        asked = setting(remedies=[remedy], steps=2, clip=1e-9)
        ran(tmp_path, asked)
        first[remedy] = losses(tmp_path, asked)[0]
    assert first["none"] == first["clip"]


def test_it_is_the_training_of_the_command_train(tmp_path: Path) -> None:
    """The same task, cell, length and seed: the same losses to the last bit."""
    from throughtime.remedies import INITIALISATIONS
    from throughtime.tasks import make_task
    from throughtime.training import train

    asked = setting(cells=["lstm"], remedies=["orthogonal+clip"], seeds=[3], steps=6)
    ran(tmp_path, asked)
    problem = make_task("adding", cell="lstm", length=10, hidden=4, batch=4, seed=3)
    draw = torch.Generator().manual_seed(3)
    INITIALISATIONS["orthogonal"](problem.model, problem.span, draw)
    assert losses(tmp_path, asked) == train(problem, 6, seed=3, clip=1.0).losses
