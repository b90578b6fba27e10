"""One writer at a time: who holds a lock, who may take it over, and who may not."""

import dataclasses
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from run_processes import forked, status_of

from throughtime.errors import InputError, RunError, ThroughtimeError
from throughtime.runs import RunDirectory, lock
from throughtime.runs.lock import Owner

FORKS = "ignore:.*fork.*:DeprecationWarning"
pytestmark = pytest.mark.filterwarnings(FORKS)  # pytest has threads; the child uses none of them


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run")


@pytest.fixture
def holder(run: RunDirectory) -> Iterator[int]:
    """The number of a process that holds the lock."""
    reading, writing = os.pipe()

    def hold() -> None:
        with run.lock():
            os.write(writing, b"1")
            signal.pause()

    child = forked(hold)
    os.read(reading, 1)
    yield child
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, signal.SIGKILL)
        status_of(child)


def test_a_second_writer_is_refused_and_told_who_the_first_is(
    run: RunDirectory, holder: int
) -> None:
    with pytest.raises(RunError, match=f"being written by process {holder} on "), run.lock():
        pass
    assert json.loads((run.path / "lock").read_text())["pid"] == holder


@pytest.mark.usefixtures("holder")
def test_who_only_reads_needs_no_lock(run: RunDirectory) -> None:
    assert RunDirectory.open(run.path).manifest == {"status": "created"}


def test_a_second_writer_in_the_same_process_is_refused(run: RunDirectory) -> None:
    other = RunDirectory.open(run.path, for_writing=True)
    with run.lock(), pytest.raises(RunError, match=f"process {os.getpid()}"), other.lock():
        pass
    with other.lock():
        other.append({"step": 1})
    assert not (run.path / "lock").exists()


@pytest.mark.parametrize("reaped", [True, False], ids=["gone", "not waited for yet"])
def test_the_lock_of_a_killed_process_is_taken_over(
    run: RunDirectory, holder: int, reaped: bool
) -> None:
    os.kill(holder, signal.SIGKILL)
    os.waitid(os.P_PID, holder, os.WEXITED | (0 if reaped else os.WNOWAIT))
    with run.lock():
        assert json.loads((run.path / "lock").read_text())["pid"] == os.getpid()


CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "another machine": (
        {"host": "elsewhere"},
        "locked by process .* on elsewhere since .*: if that process has ended, remove .*lock",
    ),
    "escapes": ({"host": "\x1b[31melsewhere\n"}, "on  .31melsewhere  since"),
    "pid is text": ({"pid": "1; rm"}, "names no process: remove it"),
    "pid is nothing": ({"pid": None}, "names no process: remove it"),
    "more than we know": ({"shell": "rm"}, "names no process: remove it"),
}


def claim(run: RunDirectory, **claims: Any) -> None:
    (run.path / "lock").write_text(json.dumps({**dataclasses.asdict(Owner.me()), **claims}))


@pytest.mark.parametrize(("claims", "reason"), CLAIMS.values(), ids=CLAIMS)
def test_a_lock_of_which_nothing_can_be_known_is_refused(
    run: RunDirectory, claims: dict[str, Any], reason: str
) -> None:
    claim(run, **claims)
    before = (run.path / "lock").read_bytes()
    with pytest.raises(RunError, match=reason), run.lock():
        pass
    assert (run.path / "lock").read_bytes() == before


DEAD: dict[str, dict[str, Any]] = {
    "no such process": {"pid": 2**22 + 1},
    "beyond all numbers": {"pid": 2**80, "started": ""},
    "its number is another's now": {"started": "some boot:1"},
    "before the machine was started again": {"started": f"another boot:{Owner.me().started}"},
}


@pytest.mark.parametrize("claims", DEAD.values(), ids=DEAD)
def test_a_lock_of_this_machine_whose_process_is_gone_is_taken_over(
    run: RunDirectory, claims: dict[str, Any]
) -> None:
    if not Path("/proc/self/stat").exists() and "started" in claims:
        pytest.skip("this system does not tell when a process started")
    claim(run, **claims)
    with run.lock():
        run.append({"step": 1})
    assert run.history() == [{"step": 1}]


@pytest.mark.parametrize("content", [b"", b"\0" * 9, b"[1]", b"[" * 100_000, b"{}"])
def test_what_is_no_lock_is_refused_not_guessed(run: RunDirectory, content: bytes) -> None:
    (run.path / "lock").write_bytes(content)
    with pytest.raises(RunError, match="lock names no process: remove it if nobody writes"):
        run.lock().__enter__()


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("manifest.json")]
)
def test_what_is_no_plain_file_is_no_lock(
    run: RunDirectory, make: Callable[[Path], object]
) -> None:
    make(run.path / "lock")
    with pytest.raises(InputError, match=r"lock is a (named pipe|directory|symbolic link)"):
        run.lock().__enter__()


def test_of_many_who_find_a_stale_lock_one_takes_it(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(run, pid=2**22 + 1)
    look = lock._refuse_owner
    # All would be between their look and their deed at once.
    monkeypatch.setattr(lock, "_refuse_owner", lambda path: (look(path), time.sleep(0.1)))
    answers, answer = os.pipe()
    stop, stopping = os.pipe()

    def take() -> None:
        os.close(stopping)
        try:
            with run.lock():
                os.write(answer, b"1")
                os.read(stop, 1)  # until the test is over
        except ThroughtimeError:
            os.write(answer, b"0")

    children = [forked(take) for _ in range(8)]
    said = b"".join(os.read(answers, 1) for _ in children)
    os.close(stopping)
    assert [status_of(child) for child in children] == [0] * 8
    assert sorted(said) == sorted(b"00000001")


@pytest.mark.parametrize(
    "write",
    [lambda run: run.append({}), lambda run: run.save({}, 1), lambda run: run.update(a=1)],
    ids=["append", "save", "update"],
)
def test_nothing_is_written_without_the_lock(
    run: RunDirectory, write: Callable[[RunDirectory], object]
) -> None:
    before = {path: path.read_bytes() for path in run.path.iterdir()}
    with pytest.raises(RunError, match="is not locked"):
        write(run)
    assert {path: path.read_bytes() for path in run.path.iterdir()} == before


def test_a_lock_that_another_took_meanwhile_is_not_removed(run: RunDirectory) -> None:
    with run.lock():
        claim(run, host="elsewhere")
    assert json.loads((run.path / "lock").read_text())["host"] == "elsewhere"


def test_a_fork_of_the_holder_does_not_hold_its_lock(run: RunDirectory) -> None:
    reading, writing = os.pipe()
    with run.lock():
        child = forked(lambda: (os.close(writing), os.read(reading, 1)))
    with RunDirectory.open(run.path, for_writing=True).lock():
        run.history()
    os.close(writing)
    assert status_of(child) == 0


@pytest.mark.parametrize("held", [True, False])
def test_where_a_number_means_nothing_the_systems_lock_decides(
    run: RunDirectory, held: bool
) -> None:
    claim(run, pid=os.getpid() if not held else 2**22 + 1, space="pid:[1]")
    with (run.path / "lock").open("rb") as file:
        if held:
            fcntl.flock(file, fcntl.LOCK_EX)
        expected = pytest.raises(RunError, match="is being written") if held else nullcontext()
        with expected, run.lock():
            pass


HOLD = """
import sys, signal
from throughtime.runs import RunDirectory
with RunDirectory.open(sys.argv[1], for_writing=True).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("own", [["--mount-proc"], []], ids=["its own /proc", "that of another"])
def test_another_container_of_this_machine_is_refused_while_it_writes(
    run: RunDirectory, own: list[str]
) -> None:
    apart = ["unshare", "--user", "--map-root-user", "--pid", "--fork", *own]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("no namespaces here")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*apart, sys.executable, "-c", HOLD, str(run.path)], **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match="is being written by process 1 on"), run.lock():
            pass
        kept = (run.path / "lock").read_bytes()
        process.communicate(timeout=60)
    (run.path / "lock").write_bytes(kept)  # as if it had been killed
    with run.lock():
        run.append({"step": 1})


def test_who_waits_for_long_says_for_whom(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lock, "_PATIENCE", 0.05)
    reading, writing = os.pipe()

    def hold() -> None:
        with lock.one_at_a_time(run.path):
            os.write(writing, b"1")
            time.sleep(1)

    child = forked(hold)
    os.read(reading, 1)
    with lock.one_at_a_time(run.path):
        told = capsys.readouterr().err
    assert status_of(child) == 0
    assert told.startswith(f"throughtime: waiting for process {child} on ")
