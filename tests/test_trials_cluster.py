"""A sweep on a real Dask cluster: a scheduler and two workers here, one of them killed."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sweep_runs import (
    CHECKPOINT,
    PATIENCE,
    STEPS,
    SWEEP,
    assert_resumed,
    caught,
    grid_text,
    setting,
    started,
    steps_of,
    until,
)

from throughtime.errors import InputError, MissingExtraError
from throughtime.runs import RunDirectory
from throughtime.trials.one import run_trial_as
from throughtime.trials.versions import versions_here
from throughtime.trials.workers import ClusterError, _check_workers, cluster

pytest.importorskip("distributed", reason="distributed is not installed")

pytestmark = pytest.mark.usefixtures("ordinary_signals")

GRID = grid_text(["rnn", "gru"], ["none", "clip"])


@contextmanager
def scheduler(folder: Path) -> Iterator[str]:
    """The address of a scheduler of our own."""
    told = folder / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    options = ["--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(told)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def address() -> str:
        with suppress(OSError, json.JSONDecodeError):  # it is not written in one piece
            return str(json.loads(told.read_text())["address"])
        return ""

    with started(*command, *options, folder=folder, **quiet):
        yield until(address, "the scheduler")


@contextmanager
def worker(address: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker with one thread, without a nanny that would start it again."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address]
    options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with started(*command, *options, folder=folder, **quiet) as process:
        yield process


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is left after a sweep of which one worker was killed with kill −9, and what was seen."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "grid.toml").write_text(GRID)
    out = folder / "out"
    with ExitStack() as stack:
        address = stack.enter_context(scheduler(folder))
        victim, _ = (stack.enter_context(worker(address, folder)) for _ in range(2))
        command = [*SWEEP, "grid.toml", "--out", "out", "--cluster", address, "--json"]
        sweep = stack.enter_context(started(*command, folder=folder))

        struck, _ = until(lambda: caught(out, victim.pid), "a setting of the victim")
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
        reached = len(steps_of(struck))
        printed, said = sweep.communicate(timeout=PATIENCE)
    assert printed, said
    return {
        "code": sweep.returncode, "json": json.loads(printed), "said": said, "out": out,
        "struck": struck, "reached": reached,
    }  # fmt: skip  # rows of a table


def test_the_sweep_ends_well(killed: dict[str, Any]) -> None:
    assert (killed["code"], killed["json"]["settings"]) == (0, 8)


def test_the_worker_was_killed_in_the_middle(killed: dict[str, Any]) -> None:
    assert 2 * CHECKPOINT < killed["reached"] < STEPS


def test_every_setting_is_finished(killed: dict[str, Any]) -> None:
    made = {run.name: RunDirectory.open(run).load() for run in runs(killed["out"])}
    assert {name: found and found[0] for name, found in made.items()} == dict.fromkeys(made, STEPS)


def runs(out: Path) -> list[Path]:
    found = [path for path in (out / "runs").iterdir() if path.is_dir()]
    assert len(found) == 8
    return found


def test_the_table_is_complete(killed: dict[str, Any]) -> None:
    with (killed["out"] / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} == {f"runs/{run.name}" for run in runs(killed["out"])}
    assert {(row["status"] in {"done", "solved"}, row["updates"]) for row in rows} == {
        (True, str(STEPS))
    }


def test_only_the_steps_since_the_last_checkpoint_were_made_again(killed: dict[str, Any]) -> None:
    """Every other journal counts from 1 to the end, once."""
    once = list(range(1, STEPS + 1))
    again = {run.name: steps_of(run) for run in runs(killed["out"]) if steps_of(run) != once}
    assert list(again) == [killed["struck"].name]
    assert_resumed(again[killed["struck"].name], times=1)


def test_nothing_is_left_lying_about(killed: dict[str, Any]) -> None:
    names = {path.name for path in killed["out"].iterdir()}
    assert names - {"results.parquet"} == {"runs", "sweep.json", "results.csv", "index.html"}
    assert not list(killed["out"].glob("runs/*.lock"))


def test_ctrl_c_stops_the_workers_as_well(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(GRID)
    with ExitStack() as stack:
        address = stack.enter_context(scheduler(tmp_path))
        stack.enter_context(worker(address, tmp_path))
        command = [*SWEEP, "grid.toml", "--out", "out", "--cluster", address, "--quiet"]
        sweep = stack.enter_context(started(*command, folder=tmp_path))
        until(lambda: list(tmp_path.glob("out/runs/*/journal.jsonl")), "a training")
        sweep.send_signal(signal.SIGINT)
        _, said = sweep.communicate(timeout=PATIENCE)
        made = {run: steps_of(run) for run in tmp_path.glob("out/runs/*/")}
        locks = list(tmp_path.glob("out/runs/*.lock"))
        time.sleep(1)
        later = {run: steps_of(run) for run in tmp_path.glob("out/runs/*/")}
    assert (sweep.returncode, said, locks) == (130, "throughtime: interrupted\n", [])
    assert later == made


def test_a_lost_scheduler_is_told(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(GRID)
    with ExitStack() as stack:
        lost = stack.enter_context(ExitStack())
        address = lost.enter_context(scheduler(tmp_path))
        stack.enter_context(worker(address, tmp_path))
        command = [*SWEEP, "grid.toml", "--out", "out", "--cluster", address, "--quiet"]
        sweep = stack.enter_context(started(*command, folder=tmp_path))
        until(lambda: list(tmp_path.glob("out/runs/*/journal.jsonl")), "a training")
        lost.close()
        _, said = sweep.communicate(timeout=PATIENCE)
    advice = "start it, and the same command goes on"
    assert (sweep.returncode, said) == (
        3,
        f"throughtime: the Dask scheduler is gone: {advice}\n",
    )


# What cannot be used


def refused(folder: Path, address: str) -> tuple[int, str]:
    (folder / "grid.toml").write_text(GRID)
    command = [*SWEEP, "grid.toml", "--out", "out", "--cluster", address]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.stdout == ""
    return ran.returncode, ran.stderr


def test_a_scheduler_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    code, said = refused(tmp_path, address)
    assert (code, said) == (
        3,
        f"throughtime: no Dask scheduler answers at {address}: start one, or check the address\n",
    )


def test_a_cluster_without_workers_is_told(tmp_path: Path) -> None:
    with scheduler(tmp_path) as address:
        code, said = refused(tmp_path, address)
    advice = f"start one with  dask worker {address} --nthreads 1"
    assert (code, said) == (3, f"throughtime: the cluster has no worker: {advice}\n")


class OneWorker:
    """A client whose only worker says that it has these versions."""

    def __init__(self, **versions: str) -> None:
        self.versions = {**versions_here(), **versions}

    def wait_for_workers(self, _number: int, timeout: float) -> None:
        pass

    def run(self, function: Any, *arguments: Any) -> dict[str, Any]:
        return {"tcp://w": self.versions if function is versions_here else function(*arguments)}


@pytest.mark.parametrize("package", ["throughtime", "torch"])
def test_a_worker_of_another_version_is_refused_with_both(tmp_path: Path, package: str) -> None:
    client, here = OneWorker(**{package: "0.0.9"}), versions_here()[package]
    said = f"the worker tcp://w has {package} 0.0.9, and here it is {here}: install the same"
    with pytest.raises(ClusterError, match=re.escape(said)):
        _check_workers(client, "tcp://s", tmp_path)
    assert list(tmp_path.iterdir()) == []
    _check_workers(OneWorker(), "tcp://s", tmp_path)


def test_so_is_one_that_joins_later(tmp_path: Path) -> None:
    study = {**versions_here(), "torch": "1.0"}
    outcome = run_trial_as(study, setting(), str(tmp_path), str(tmp_path / "stop"))
    assert (outcome.status, "and here it is 1.0" in outcome.reason) == ("failed", True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["", "wibble", "ftp://127.0.0.1:1", "tcp://127.0.0.1:x\n"])
def test_what_is_no_address_is_told(tmp_path: Path, address: str) -> None:
    with (
        pytest.raises(InputError, match=r"is no address of a Dask scheduler: give tcp://HOST:PORT"),
        cluster(address, tmp_path),
    ):
        pass


def test_a_missing_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError) as caught, cluster("tcp://127.0.0.1:1", tmp_path):
        pass
    assert str(caught.value) == ("distributed is not installed: run  pip install distributed")
