"""Kill −9 at any moment: the old checkpoint or the new one, never half, and nothing left behind."""

import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from run_processes import forked, killed_before_call, status_of
from run_states import OWN_FILES, assert_whole, names, numbered

from throughtime.errors import RunError
from throughtime.runs import RunDirectory

FORKS = "ignore:.*fork.*:DeprecationWarning"
pytestmark = pytest.mark.filterwarnings(FORKS)  # pytest has threads; the child uses none of them
KILLS = 24


def saving_for_ever(folder: Path) -> None:
    run = RunDirectory.open(folder, for_writing=True)
    with run.lock():
        found = run.load()
        for step in itertools.count(1 + (found[0] if found else 0)):
            run.append({"step": step, "loss": 1 / step})
            run.save(numbered(step), step)


def test_a_training_killed_at_random_moments_goes_on_from_a_whole_checkpoint(
    tmp_path: Path,
) -> None:
    run = RunDirectory.create(tmp_path / "run")
    moments = random.Random(0)
    reached = [0]
    for _ in range(KILLS):
        before = saves(run.path)
        child = forked(lambda: saving_for_ever(run.path))
        until(lambda before=before: saves(run.path) != before)
        time.sleep(moments.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        assert status_of(child) == -signal.SIGKILL
        reached.append(assert_whole(run, set(range(reached[-1] + 1, 10_000))))
        so_far = list(range(1, reached[-1] + 1))
        assert [line["step"] for line in run.history()] in (so_far, [*so_far, reached[-1] + 1])
    with run.lock():
        kept = {f"step {step}" for step in (reached[-1] - 1, reached[-1])}
        assert names(run.path) == {*OWN_FILES, "lock", *kept}


def saves(folder: Path) -> int:
    """Another number after every save: when the manifest was written."""
    return (folder / "manifest.json").stat().st_mtime_ns


def until(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not seen():
        assert time.monotonic() < deadline, "the child does nothing"
        time.sleep(0.0005)


@pytest.mark.parametrize("half", [False, True], ids=["before each call", "half a write"])
def test_killed_at_any_system_call_of_a_save_the_old_or_the_new_is_whole(
    tmp_path: Path, half: bool
) -> None:
    seen, lines = [], []
    for number in itertools.count():
        run = RunDirectory.create(tmp_path / str(number))
        with run.lock():
            for step in (1, 2):
                run.append({"step": step})
                run.save(numbered(step), step)

        def save(run: RunDirectory = run, number: int = number) -> None:
            start = killed_before_call(number, half)
            start()
            with run.lock():
                run.append({"step": 3})
                run.save(numbered(3), 3)

        ended = status_of(forked(save))
        assert ended in (0, -signal.SIGKILL)
        seen.append(assert_whole(RunDirectory.open(run.path), {2, 3}))
        lines.append([line["step"] for line in run.history()])
        with run.lock():  # the next start
            kept = {f"step {step}" for step in (seen[-1] - 1, seen[-1])}
            assert names(run.path) == {*OWN_FILES, "lock", *kept}
            run.append({"step": 4})
            run.save(numbered(4), 4)
        assert_whole(run, {4})
        assert [line["step"] for line in run.history()] in ([1, 2, 4], [1, 2, 3, 4])
        if ended == 0:
            break
    assert len(seen) > 25, "hardly a system call was seen"
    assert (seen, lines) == (sorted(seen), sorted(lines))
    assert {2, 3} == set(seen)


def test_killed_at_any_system_call_of_its_making_a_run_is_there_or_can_be_made(
    tmp_path: Path,
) -> None:
    made = []
    for number in itertools.count():
        folder = tmp_path / str(number)

        def create(folder: Path = folder, number: int = number) -> None:
            killed_before_call(number, half=True)()
            RunDirectory.create(folder, {"cell": "lstm"})

        ended = status_of(forked(create))
        made.append(RunDirectory.is_at(folder))
        run = RunDirectory.open(folder) if made[-1] else RunDirectory.create(folder)
        with run.lock():
            assert names(folder) == {"manifest.json", "lock"}
        if ended == 0:
            break
    assert set(made) == {False, True}


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    others = {
        "notes.txt",
        "report.html",
        ".throughtime-0123.tmp",
        ".throughtime-0123456789abcdef.tmp.bak",
        "checkpoint-000000000001.safetensors",
        "checkpoint-000000000001-0123456789abcdef (copy).safetensors",
        "model.pt",
    }
    for name in others:
        (run.path / name).write_text("mine")
    (run.path / ".throughtime-0123456789abcdef.tmp").mkdir()
    (run.path / "checkpoint-000000000001-0123456789abcdef.safetensors").symlink_to("notes.txt")
    ours = {
        ".throughtime-fedcba9876543210.tmp",
        "checkpoint-000000000009-fedcba9876543210.safetensors",
    }
    for name in ours:
        (run.path / name).write_text("half")
    before = {path.name for path in run.path.iterdir()}
    with run.lock():
        run.save(numbered(1), 1)
        left = {path.name for path in run.path.iterdir()}
    assert before - left == ours
    assert {(run.path / name).read_text() for name in others} == {"mine"}


def test_an_error_while_saving_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    with run.lock():
        run.save(numbered(1), 1)
        with pytest.raises(RunError, match=r"state\['bad'\]"):
            run.save({"bad": object()}, 2)
    assert_whole(run, {1})
