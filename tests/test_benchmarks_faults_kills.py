"""The fuzz of kills: its table counts, and it knows a leak and a wrong result when it sees one."""

import random
import signal
import sys
from pathlib import Path

import pytest

from benchmarks.faults import kills
from benchmarks.faults.kills import Kill, table
from benchmarks.faults.studies import STUDIES, Study, prepare

LEAKING = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stderr=-3, stdout=-3)
time.sleep(60)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


def study(code: str) -> Study:
    class Coded(Study):
        @property
        def command(self) -> list[str]:
            return [sys.executable, "-c", code]

    return Coded("own", (), lambda _folder, printed: printed)


def test_the_table_counts_by_study_and_victim() -> None:
    done = [
        Kill("sweep", "worker", signal.SIGKILL, 0.1, {"same"}),
        Kill("sweep", "worker", signal.SIGTERM, 0.1, {"same", "leaked"}),
        Kill("train", "parent", signal.SIGHUP, 0.1, {"refused"}),
    ]
    assert table(done).rows == (
        ("sweep", "worker", "2", "2", "0", "0", "1", "0", "0"),
        ("train", "parent", "1", "0", "1", "0", "0", "0", "0"),
        ("all", "", "3", "2", "1", "0", "1", "0", "0"),
    )


@pytest.mark.parametrize(
    ("code", "end"), [(LEAKING, "leaked"), (STUBBORN, "hung")], ids=["leaked", "hung"]
)
def test_what_is_left_alive_is_seen(
    code: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kills, "_PATIENCE", 2.0)
    monkeypatch.setattr(kills, "_GRACE", 0.5)
    monkeypatch.setattr(kills, "SIGNALS", [signal.SIGTERM])
    monkeypatch.setattr(kills, "_IN_A_ROW", 1)
    (one,) = kills._killed(study(code), tmp_path, random.Random(0), 3.0)
    assert end in one.ends


@pytest.mark.parametrize(
    ("code", "end"),
    [("print(1)", "same"), ("print(2)", "wrong"), ("exit('no')", "refused")],
)
def test_a_result_is_compared(code: str, end: str, tmp_path: Path) -> None:
    one = Kill("own", "parent", signal.SIGKILL, 0.1)
    kills._judge(study(code), tmp_path, [one], "1\n")
    assert one.ends == {end}


def test_every_study_has_its_files(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "study")
    named = {word.partition(":")[0] for one in STUDIES for word in one.arguments}
    files = {word for word in named if word.endswith((".py", ".toml"))}
    assert files == {path.name for path in folder.iterdir()}
