"""One damaged run of a sweep is named and fails; the table and the page are made of the others."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from run_states import resealed
from sweep_runs import ran, setting

from throughtime.errors import InputError, RunError
from throughtime.trials import Setting, table
from throughtime.trials.engine import work_through
from throughtime.trials.one import Outcome, claim_path, result_of, run_path, run_trial
from throughtime.trials.page import page
from throughtime.trials.progress import Progress
from throughtime.trials.study import prepared
from throughtime.trials.treatment.plan import _remembered
from throughtime.trials.trial import Trial
from throughtime.trials.workers import Workers

SETTINGS = [setting(), setting(remedies=["clip"])]


class Here(Workers):
    """Runs every trial in this process, at once."""

    def submit(self, trial: Trial, folder: str, stop: str) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        future.set_result(run_trial(trial, folder, stop))
        return future

    def outcome(self, future: Future[Outcome]) -> Outcome:
        return future.result()


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    for one in SETTINGS:
        ran(folder, one)
    return folder


def swept(folder: Path) -> list[table.Row]:
    """The sweep again, its table and its page."""
    left = work_through(SETTINGS, folder, Here(), lambda *_: None)
    rows = table.rows(SETTINGS, folder, left)
    table.write_csv(rows, folder / "results.csv")
    table.write_parquet(rows, folder / "results.parquet")
    page(SETTINGS, folder, rows, [])
    return rows


def result(**changes: Any) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        found = json.loads((run / "manifest.json").read_text())["result"]
        resealed(run, result={**found, **changes})

    return change


def in_place_of(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).unlink()
        make(run / name)

    return change


def another_run(run: Path) -> None:
    shutil.rmtree(run)
    shutil.copytree(run_path(run.parent.parent, SETTINGS[1]), run)


def no_folder(run: Path) -> None:
    shutil.rmtree(run)
    os.mkfifo(run)


def empty_lock(run: Path) -> None:
    resealed(run, result={"status": "failed", "updates": 0, "loss": None, "curve": []})
    run.with_name(f"{run.name}.lock").touch()


def pipe_for_a_lock(run: Path) -> None:
    empty_lock(run)
    run.with_name(f"{run.name}.lock").unlink()
    os.mkfifo(run.with_name(f"{run.name}.lock"))


def unfinished(change: Callable[[Path], None]) -> Callable[[Path], None]:
    def changed(run: Path) -> None:
        found = json.loads((run / "manifest.json").read_text())
        del found["result"], found["sha256"]
        (run / "manifest.json").unlink()
        from throughtime.runs.sealed import seal

        (run / "manifest.json").write_text(seal(found, "the manifest"))
        change(run)

    return changed


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe for a manifest": (in_place_of("manifest.json", os.mkfifo), "named pipe"),
    "zeros for a manifest": (
        in_place_of("manifest.json", lambda path: path.symlink_to("/dev/zero")), "symbolic link"
    ),
    "half a manifest": (lambda run: os.truncate(run / "manifest.json", 300), "not a manifest"),
    "a pipe for a journal": (unfinished(in_place_of("journal.jsonl", os.mkfifo)), "named pipe"),
    "zeros for a journal": (
        unfinished(in_place_of("journal.jsonl", lambda path: path.symlink_to("/dev/zero"))),
        "symbolic link",
    ),
    "half a journal": (
        unfinished(lambda run: os.truncate(run / "journal.jsonl", 900)), "ends at line"
    ),
    "an empty lock": (empty_lock, "names no process"),
    "a pipe for a lock": (pipe_for_a_lock, "named pipe"),
    "another run": (another_run, "holds the run of another trial"),
    "a pipe for a run": (no_folder, "is not a directory"),
    "no result": (lambda run: resealed(run, result=None), "its result has the type NoneType"),
    "a list for a result": (lambda run: resealed(run, result=[1]), "has the type list"),
    "an empty result": (lambda run: resealed(run, result={}), "its result has no 'status'"),
    **{
        f"{name} = {value!r}": (result(**{name: value}), f"its result has '{name}' = ")
        for name, value in [
            ("status", "wibble"), ("status", ["done"]), ("updates", "24"), ("updates", True),
            ("updates", 2**70), ("loss", "0.5"), ("loss", [1.0]), ("scores", [1]),
            ("scores", {"loss": "0.5"}), ("solved_at", 1.5), ("span", "9"), ("horizon", -1),
            ("curve", 5), ("curve", [[1]]), ("curve", [["1", 2.0]]), ("seconds", None),
            ("criterion", 7), ("reason", {}), ("clipped", "x"), ("trivial_loss", False),
        ]
    },
}  # fmt: skip  # rows of a table


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_run_is_named_and_the_others_are_in_the_table(
    whole: Path, tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(whole, folder)
    damage(run_path(folder, SETTINGS[0]))
    Progress(SETTINGS, folder).described()
    rows = swept(folder)
    assert [row["status"] for row in rows] == ["failed", "done"]
    assert reason in rows[0]["reason"]
    assert rows[1]["loss"] == result_of(run_path(whole, SETTINGS[1]))["loss"]  # type: ignore[index]  # it has one


def test_nothing_is_written_into_the_run_of_another_trial(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(whole, folder)
    unfinished(lambda _: None)(run_path(folder, SETTINGS[1]))
    another_run(run_path(folder, SETTINGS[0]))
    before = {path: path.read_bytes() for path in run_path(folder, SETTINGS[0]).iterdir()}
    assert run_trial(SETTINGS[0], str(folder), str(folder / "stop")).status == "failed"
    assert {path: path.read_bytes() for path in run_path(folder, SETTINGS[0]).iterdir()} == before


def test_a_held_claim_is_waited_for_and_one_that_names_nobody_is_not(tmp_path: Path) -> None:
    asked: Setting = SETTINGS[0]
    claim = claim_path(tmp_path, asked)
    claim.parent.mkdir()
    claim.write_text("")
    outcome = run_trial(asked, str(tmp_path), str(tmp_path / "stop"))
    assert (outcome.status, str(claim) in outcome.reason) == ("failed", True)


def test_a_reason_that_utf_8_cannot_hold_goes_into_every_table(tmp_path: Path) -> None:
    left = {SETTINGS[0]: Outcome("failed", "no file \udcff.txt")}
    rows = table.rows(SETTINGS[:1], tmp_path, left)
    table.write_parquet(rows, tmp_path / "results.parquet")
    assert rows[0]["reason"] == "no file ?.txt"


@pytest.mark.parametrize("name", ["results.csv", "index.html"])
def test_where_a_result_cannot_go_is_found_before_any_training(tmp_path: Path, name: str) -> None:
    prepared(tmp_path / "out", "sweep.json", "a sweep")
    os.mkfifo(tmp_path / "out" / name)
    with pytest.raises(InputError, match=rf"{name} is a named pipe"):
        prepared(tmp_path / "out", "sweep.json", "a sweep", ["results.csv", "index.html"])


@pytest.mark.parametrize("text", ["", "{}", '{"remedies": ["clip"]}', "[" * 9999, "\0"])
def test_a_changed_prescription_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "prescribed.json").write_text(text)
    with pytest.raises(RunError, match=r"prescribed\.json is not what was prescribed .*: remove"):
        _remembered(tmp_path / "prescribed.json")
