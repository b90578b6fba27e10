"""Paired trials killed with kill −9, a worker or all: nothing is lost, nothing is done twice."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sweep_runs import (
    CHECKPOINT,
    PATIENCE,
    STEPS,
    assert_resumed,
    started,
    steps_of,
    under_way,
    until,
)
from test_cli_sweep import alive

TREAT = f"""
import treat_problems
from throughtime.trials import treat
treat(treat_problems.summing, steps={STEPS}, folder="out", seeds=2, remedies=["chrono"],
      evaluate_every={STEPS}, measure=False, checkpoint_every={CHECKPOINT}, jobs=1)
"""
COMMAND = [sys.executable, "-c", TREAT]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return tmp_path


@contextmanager
def treating(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A treatment that has come some way into a trial, and who works on that."""
    with started(*COMMAND, folder=folder) as process:
        ((_, worker), *_) = until(lambda: under_way(folder / "out"), "a trial").items()
        yield process, worker


def assert_complete(folder: Path) -> None:
    """Every trial was made to its end, and no step twice but those since a checkpoint."""
    runs = [path.parent for path in folder.glob("out/runs/*/journal.jsonl")]
    for run in runs:
        assert_resumed(steps_of(run))
    arms = json.loads((folder / "out" / "result.json").read_text())["arms"]
    assert (len(runs), [arm["remedy"] for arm in arms]) == (4, ["none", "chrono"])
    assert {end["updates"] for arm in arms for end in arm["ends"]} == {STEPS}


def test_a_killed_worker_is_replaced(folder: Path) -> None:
    with treating(folder) as (process, worker):
        os.kill(worker, signal.SIGKILL)
        _, complaint = process.communicate(timeout=PATIENCE)
    assert (process.returncode, complaint) == (0, "")
    assert_complete(folder)


def test_a_killed_treatment_goes_on_where_it_was(folder: Path) -> None:
    with treating(folder) as (process, worker):
        process.kill()
        until(lambda: not alive(worker), "the end of the worker")
    again = subprocess.run(COMMAND, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (again.returncode, again.stderr) == (0, "")
    assert_complete(folder)
