"""``throughtime sweep`` as a process: killed, interrupted, shared by two, and gone on with."""

import csv
import json
import os
import signal
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sweep_runs import (
    PATIENCE,
    STEPS,
    SWEEP,
    assert_resumed,
    caught,
    grid_text,
    started,
    steps_of,
    under_way,
    until,
)

from throughtime.cli import main
from throughtime.runs.lock import locked
from throughtime.trials import make_grid
from throughtime.trials.study import SCHEMA

pytestmark = pytest.mark.usefixtures("ordinary_signals")

GRID = grid_text(["rnn"], ["none", "clip"])
ONCE = list(range(1, STEPS + 1))
LONG = 6 * STEPS  # for what must still be under way when a signal has made its way

Ran = Callable[..., SimpleNamespace]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "grid.toml").write_text(GRID)
    return tmp_path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Ran:
    """``throughtime sweep ARGUMENTS`` in this process: for what is refused."""

    def ran(*arguments: str) -> SimpleNamespace:
        code = main(["sweep", *arguments])
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return ran


def swept(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*SWEEP, "grid.toml", "--out", "out", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


def journals(folder: Path) -> dict[str, list[int]]:
    return {path.parent.name: steps_of(path.parent) for path in folder.glob("out/runs/*/*.jsonl")}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "out" / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@contextmanager
def sweeping(folder: Path, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A sweep under way that has come some way into a setting."""
    command = [*SWEEP, "grid.toml", "--out", "out", *arguments]
    with started(*command, folder=folder, **options) as process:
        yield process


def test_a_sweep_from_beginning_to_end_and_again(folder: Path) -> None:
    first = swept("--jobs", "2")
    assert (first.returncode, journals(folder)) == (0, dict.fromkeys(journals(folder), ONCE))
    assert "4 settings" in first.stdout
    assert "trials 4/4" in first.stderr
    table = (folder / "out" / "results.csv").read_bytes()
    again = swept("--json")
    told = json.loads(again.stdout)
    assert (told["settings"], len(told["rows"]), told["files"][0]) == (4, 4, "results.csv")
    assert (folder / "out" / "results.csv").read_bytes() == table
    assert journals(folder) == dict.fromkeys(journals(folder), ONCE)


def test_a_killed_process_is_replaced_and_nothing_is_lost(folder: Path) -> None:
    with sweeping(folder, "--jobs", "2", "--quiet") as process:
        _, victim = until(lambda: caught(folder / "out"), "a setting")
        os.kill(victim, signal.SIGKILL)
        _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, "")
    assert [row["updates"] for row in rows(folder)] == [str(STEPS)] * 4
    assert any(steps != ONCE for steps in journals(folder).values())
    for steps in journals(folder).values():
        assert_resumed(steps)


@pytest.mark.parametrize(
    ("sent", "whole_group", "code", "said"),
    [
        (signal.SIGINT, True, 130, "interrupted"),
        (signal.SIGINT, False, 130, "interrupted"),
        (signal.SIGTERM, False, 143, "terminated"),
        (signal.SIGHUP, True, 129, "hung up"),
    ],
    ids=["Ctrl-C", "SIGINT", "SIGTERM", "SIGHUP"],
)
def test_an_interrupted_sweep_goes_on(
    folder: Path, sent: signal.Signals, whole_group: bool, code: int, said: str
) -> None:
    one = GRID.replace(f"steps = {STEPS}", f"steps = {LONG}").replace("[0, 1]", "[0]")
    (folder / "grid.toml").write_text(one.replace('["none", "clip"]', '["none"]'))
    with sweeping(folder, "--jobs", "1", "--quiet", start_new_session=True) as process:
        ((run, pid),) = until(lambda: under_way(folder / "out"), "a setting").items()
        (os.killpg if whole_group else os.kill)(process.pid, sent)
        printed, complaint = process.communicate(timeout=PATIENCE)
    assert (process.returncode, printed, complaint) == (code, "", f"throughtime: {said}\n")
    assert not alive(pid)
    assert not list(folder.glob("out/runs/*.lock"))
    assert not list(folder.glob("out/stop-*"))
    assert len(steps_of(run)) < LONG
    assert swept("--jobs", "1").returncode == 0
    for steps in journals(folder).values():
        assert_resumed(steps, last=LONG)


def test_a_killed_sweep_takes_its_workers_with_it(folder: Path) -> None:
    with sweeping(folder, "--jobs", "1", "--quiet") as process:
        ((_, worker),) = until(lambda: under_way(folder / "out"), "a setting").items()
        process.kill()
        until(lambda: not alive(worker), "the end of the worker")
    assert swept("--jobs", "1").returncode == 0
    for steps in journals(folder).values():
        assert_resumed(steps)


def workers_of(session: int) -> list[int]:
    """The processes of a session that joblib has just started, whatever they do yet."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "stat").read_text().rpartition(")")[2].split()
            is_worker = b"popen_loky" in (entry / "cmdline").read_bytes()
            found += [int(entry.name)] * (is_worker and int(words[3]) == session)
    return found


def test_workers_that_still_start_end_with_a_killed_sweep(folder: Path) -> None:
    with sweeping(folder, "--jobs", "1", "--quiet", start_new_session=True) as process:
        (worker,) = until(lambda: workers_of(process.pid), "a worker")
        process.kill()
        until(lambda: not alive(worker), "the end of the worker")
    assert swept("--jobs", "1").returncode == 0


def test_ctrl_c_while_workers_start_is_one_line(folder: Path) -> None:
    with sweeping(folder, "--jobs", "2", "--quiet", start_new_session=True) as process:
        until(lambda: workers_of(process.pid), "a worker")
        os.killpg(process.pid, signal.SIGINT)
        printed, complaint = process.communicate(timeout=PATIENCE)
    assert (process.returncode, printed, complaint) == (130, "", "throughtime: interrupted\n")


def test_a_quiet_sweep_says_who_holds_what_it_waits_for(folder: Path) -> None:
    one = grid_text(["rnn"], ["none"]).replace("[0, 1]", "[0]")
    (folder / "grid.toml").write_text(one)
    key = make_grid(tomllib.loads(one)).settings[0].key
    (folder / "out" / "runs").mkdir(parents=True)
    (folder / "out" / "sweep.json").write_text(json.dumps({"schema": SCHEMA}))
    with (
        locked(folder / "out" / "runs" / f"{key}.lock"),
        sweeping(folder, "--jobs", "1", "--quiet") as process,
    ):
        assert process.stderr is not None
        line = process.stderr.readline()
    assert line.startswith(f"{key}: busy: ")
    assert f"is being written by process {os.getpid()} on " in line


def test_two_sweeps_in_one_directory_share_the_work(folder: Path) -> None:
    with sweeping(folder, "--jobs", "1") as first, sweeping(folder, "--jobs", "1") as second:
        ended = [
            process.communicate(timeout=PATIENCE) and process.returncode
            for process in (first, second)
        ]
    assert ended == [0, 0]
    assert journals(folder) == dict.fromkeys(journals(folder), ONCE)
    assert [row["updates"] for row in rows(folder)] == [str(STEPS)] * 4


def test_a_setting_that_fails_does_not_end_the_sweep(folder: Path) -> None:
    (folder / "grid.toml").write_text(GRID.replace('"clip"]', '"chrono"]'))
    ran = swept("--jobs", "1", "--json")
    told = json.loads(ran.stdout)
    assert (ran.returncode, told["counts"]) == (1, {"done": 2, "failed": 2})
    assert {bool(row["reason"]) for row in told["rows"] if row["status"] == "failed"} == {True}
    assert "no gate that keeps its state" in ran.stderr


# What is refused, in one line


REFUSED = [
    (("nothing.toml", "--out", "out"), 2, "nothing.toml cannot be read: No such file"),
    (("grid.toml", "--out", "full"), 2, "full holds other files: name a new directory"),
    (("grid.toml", "--out", "grid.toml"), 2, "grid.toml cannot hold a sweep (File exists)"),
    (("grid.toml", "--out", "newer"), 2, "has schema 99, and this version of throughtime knows 2"),
    (("grid.toml", "--out", "out", "--jobs", "0"), 2, "0 is out of range"),
    (
        ("grid.toml", "--out", "out", "--jobs", "1", "--cluster", "tcp://h:1"), 2,
        "give jobs or a cluster, not both",
    ),
    (("grid.toml", "--out", "out", "--cluster", "h"), 2, "'h' is no address of a Dask scheduler"),
]  # fmt: skip  # rows of a table


@pytest.mark.parametrize(("arguments", "code", "said"), REFUSED, ids=[one[2] for one in REFUSED])
def test_what_cannot_be_is_refused(
    folder: Path, run: Ran, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").write_text("mine")
    (folder / "newer").mkdir()
    (folder / "newer" / "sweep.json").write_text('{"schema": 99}')
    ran = run(*arguments)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (code, "", 1)
    assert said in ran.err


def test_a_broken_grid_is_refused_before_anything_is_made(folder: Path, run: Ran) -> None:
    (folder / "grid.toml").write_text(GRID + "sed = 1\n")
    ran = run("grid.toml", "--out", "out")
    said = "throughtime: grid.toml: unknown key 'sed'; did you mean 'seeds'? "
    assert (ran.code, ran.err.startswith(said), (folder / "out").exists()) == (2, True, False)


def test_the_help_is_plain(run: Ran) -> None:
    ran = run("--help")
    assert (ran.code, ran.out.isascii(), max(map(len, ran.out.splitlines())) <= 80) == (
        0,
        True,
        True,
    )
