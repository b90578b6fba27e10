"""Small settings run in this process, and sweeps as processes that are watched and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from throughtime.trials import Setting, make_grid
from throughtime.trials.one import result_of, run_path, run_trial

T = TypeVar("T")

SWEEP = [sys.executable, "-m", "throughtime", "sweep"]
PATIENCE = 240.0  # seconds, on a machine that does much else
STEPS, CHECKPOINT = 300, 10
SMALL: dict[str, Any] = {
    "task": "adding", "cells": ["rnn"], "remedies": ["none"], "lengths": [10], "seeds": [0],
    "steps": 24, "hidden": 4, "batch": 4, "evaluate_every": 12, "measure_every": 0,
    "checkpoint_every": 5,
}  # fmt: skip  # rows of a table


def grid_text(cells: list[str], remedies: list[str]) -> str:
    """A grid of short trainings from two seeds, each long enough to be caught in the middle."""
    changed = {
        **SMALL, "cells": cells, "remedies": remedies, "seeds": [0, 1], "steps": STEPS,
        "evaluate_every": STEPS, "checkpoint_every": CHECKPOINT,
    }  # fmt: skip  # rows of a table
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in changed.items())


def setting(**change: Any) -> Setting:
    """The first setting of the small grid, changed."""
    return make_grid({**SMALL, **change}).settings[0]


def ran(folder: Path, asked: Setting) -> dict[str, Any]:
    """The result of a setting, after it was run here."""
    outcome = run_trial(asked, str(folder), str(folder / "stop"))
    result = result_of(run_path(folder, asked))
    assert result is not None
    assert outcome == (result["status"], result.get("reason", ""))
    return dict(result)


def until(found: Callable[[], T | None], what: str) -> T:
    """The first answer that is something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        answer = found()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


@contextmanager
def started(*command: str, folder: Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process in ``folder``, killed after the block."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    process = subprocess.Popen([*command], cwd=folder, **streams)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def steps_of(run: Path) -> list[int]:
    """The steps of a journal as they were written, those that were superseded among them."""
    journal = run / "journal.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("}")]


def under_way(out: Path) -> dict[Path, int]:
    """The runs that are some way from their beginning and from their end, and who runs each."""
    owners = {}
    for lock in out.glob("runs/*.lock"):
        run = lock.with_suffix("")
        if len(steps_of(run)) in range(2 * CHECKPOINT + 1, STEPS // 2):
            owners[run] = int(json.loads(lock.read_text())["pid"])
    return owners


def caught(out: Path, only: int | None = None) -> tuple[Path, int] | None:
    """A run between two checkpoints and its process, held still: work is lost if it dies now."""
    for run, pid in under_way(out).items():
        if only in {None, pid}:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.02)  # the signal is delivered some time after it was sent
            if run in under_way(out) and len(steps_of(run)) % CHECKPOINT:
                return run, pid
            os.kill(pid, signal.SIGCONT)
    return None


def assert_resumed(steps: list[int], times: int | None = None, last: int = STEPS) -> None:
    """Every step was made, and none twice but those since a checkpoint, ``times`` times."""
    backwards = [(a, b) for a, b in pairwise(steps) if b != a + 1]
    assert sorted(set(steps)) == list(range(1, last + 1))
    assert all((b - 1) % CHECKPOINT == 0 and a - b < CHECKPOINT for a, b in backwards)
    assert times is None or len(backwards) == times
