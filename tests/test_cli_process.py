"""The command line as a process of its own: signals, pipes, locales, terminals, pure output."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from user_files import model

from throughtime.findings import Diagnosis

pytestmark = pytest.mark.usefixtures("ordinary_signals")

COMMAND = [sys.executable, "-m", "throughtime"]
PLAIN = {  # as on a machine where nobody set anything: ASCII, and no help from Python
    "PATH": os.environ["PATH"],
    "LC_ALL": "C",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONUTF8": "0",
}


def throughtime(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([*COMMAND, *arguments], check=False, **streams)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


STUCK = """
import time
def build():
    print("ready", flush=True)
    try:
        time.sleep(60)
    except Exception:
        pass
"""


@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung up"),
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_a_signal_ends_a_file_that_hangs(sent: signal.Signals, code: int, said: str) -> None:
    Path("model.py").write_text(STUCK)
    command = [*COMMAND, "diagnose", "model.py:build", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"ready\n"
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, b"", f"throughtime: {said}\n".encode())


NOISE = """
import atexit, ctypes, os, subprocess
def noisy():
    print("print")
    os.write(1, b"write\\n")
    subprocess.run(["echo", "child"])
    ctypes.CDLL(None).puts(b"buffered by C")
    atexit.register(print, "at exit")
    return build()
"""


def test_json_has_standard_output_for_itself() -> None:
    Path("model.py").write_text(model() + NOISE)
    ran = throughtime("diagnose", "model.py:noisy", "--json")
    assert f"{Diagnosis.from_json(ran.stdout.decode()).to_json()}\n" == ran.stdout.decode()
    noise = {"print", "write", "child", "buffered by C", "at exit"}
    assert set(ran.stderr.decode().splitlines()) == noise


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "JSON"])
def test_it_ends_quietly_when_nobody_reads(more: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        ran = throughtime("textbook", "scalar", *more, stdout=gone)
    assert (ran.returncode, ran.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_the_environment() -> None:
    with Path("/dev/full").open("wb") as full:
        ran = throughtime("textbook", "scalar", stdout=full)
    assert (ran.returncode, ran.stderr) == (3, b"throughtime: No space left on device\n")


def test_closed_streams_are_no_error() -> None:
    command = f"{' '.join(COMMAND)} textbook scalar >&- 2>&-"
    assert subprocess.run(command, shell=True, check=False).returncode == 0


def test_a_locale_without_letters_is_enough() -> None:
    shown = throughtime("textbook", "lstm", env=PLAIN)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert shown.stdout.isascii()
    refused = throughtime("demo", "--report", "없다/r.html", env=PLAIN)
    assert refused.returncode == 2
    assert refused.stderr.isascii()
    assert refused.stderr.count(b"\n") == 1


def test_a_letter_that_cannot_be_printed_becomes_a_question_mark(folder: Path) -> None:
    small = "--cell", "rnn", "--hidden", "4", "--window", "5", "--span", "1"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = throughtime("diagnose", *small, "--report", "보고.html", env=env)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.endswith(f"The report is in {folder}/??.html\n".encode())
    assert (folder / "보고.html").exists()


def on_a_terminal(*arguments: str) -> str:
    """What a command writes to a terminal on standard error, standard output being a file."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=theirs, env=env
    ) as process:
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 4096):
                written += piece
        except OSError:  # how a terminal says that its other end is closed
            pass
        process.wait()
    os.close(ours)
    return written.decode()


def test_a_terminal_shows_that_work_goes_on_and_is_left_clean() -> None:
    Path("model.py").write_text("import time; time.sleep(1)\n" + model())
    shown = on_a_terminal("diagnose", "model.py:build", "--report", "r.html")
    before_it = [drawn.strip()[-5:] for drawn in shown.split("capturing one batch")[:-1]]
    assert len(set(before_it)) > 2, "it does not move"
    assert "drawing the report" in shown
    assert shown.endswith("\x1b[2K"), "the last line is not erased"
