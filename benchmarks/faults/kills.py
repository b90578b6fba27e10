"""``python -m benchmarks.faults.kills [SEED [KILLS]]``: commands killed at random moments.

A parent, a worker or the whole process group gets SIGKILL, SIGTERM, SIGHUP or SIGINT, start-up
included; the same command follows until it comes to its end. What it then says is compared with the
same command that nobody killed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.faults.studies import STUDIES, Study, prepare
from benchmarks.tables import Table

ENDS = ("same", "refused", "wrong", "leaked", "hung", "traceback")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
VICTIMS = ("parent", "worker", "group")
_IN_A_ROW = 5  # kills of one study, before it may come to its end
_LATEST = 0.8  # of the time that a command takes: later it may have ended
_PATIENCE = 300.0  # seconds for a command to end, on a machine that does much else
_GRACE = 60.0  # seconds for all other processes to be gone: a worker may be importing torch


@dataclass
class Kill:
    """One signal, and what became of it."""

    study: str
    victim: str
    sent: signal.Signals
    after: float
    ends: set[str] = field(default_factory=set)
    told: str = ""


def run(seed: int, kills: int, report: Any = None) -> list[Kill]:
    """So many kills, drawn from the seed; ``report`` is called with each."""
    numbers, done = random.Random(seed), list[Kill]()
    for number in (signal.SIGINT, signal.SIGHUP):  # a job in the background would hand on deafness
        signal.signal(number, signal.SIG_DFL)
    with tempfile.TemporaryDirectory(prefix="throughtime-kills-") as place:
        expected = {}
        for study in STUDIES:
            began = time.monotonic()
            folder = prepare(Path(place, f"whole-{len(expected)}"))
            code, printed, said = _finished(study, folder)
            if code not in (0, 1) or said:
                raise RuntimeError(f"{study.name} ends with {code} when nobody kills it: {said}")
            expected[study] = study.result(folder, printed), time.monotonic() - began
        while len(done) < kills:
            study = numbers.choice(STUDIES)
            folder = prepare(Path(place, f"killed-{len(done)}"))
            these = _killed(study, folder, numbers, expected[study][1])
            _judge(study, folder, these, expected[study][0])
            done += these
            for one in these if report else ():
                report(one)
    return done


def table(done: Sequence[Kill]) -> Table:
    """What came of the kills, by study and victim."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for one in done:
        for key in ((one.study, one.victim), ("all", "")):
            counts.setdefault(key, Counter()).update(["kills", *one.ends])
    rows = sorted(counts.items(), key=lambda item: (item[0][0] == "all", item[0]))
    header = ("kills", *ENDS)
    return Table(
        "Commands that were killed",
        f"{len(done)} signals at random moments, start-up included; then the same command again.",
        ("study", "victim", *header),
        tuple((*key, *(str(found[name]) for name in header)) for key, found in rows),
        "Bar: 0 wrong, 0 leaked, 0 hung.",
    )


def _killed(study: Study, folder: Path, numbers: random.Random, whole: float) -> list[Kill]:
    """Kill a study several times, each time at another moment of its life."""
    these = []
    for _ in range(numbers.randint(1, _IN_A_ROW)):
        victims = VICTIMS if study.name in ("sweep", "treat") else ("parent", "group")
        sent, victim = numbers.choice(SIGNALS), numbers.choice(victims)
        one = Kill(study.name, victim, sent, numbers.uniform(0, _LATEST * whole))
        these.append(one)
        with _started(study, folder) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(one.after)
            _send(one, process, numbers)
            _, said, _ = _ended(process, one)
        one.told = said.strip()
        if "Traceback" in said and "throughtime" in said:  # Python's own start-up is not ours
            one.ends.add("traceback")
    return these


def _send(one: Kill, process: subprocess.Popen[str], numbers: random.Random) -> None:
    workers = sorted(pid for pid in _group(process.pid) if pid != process.pid)
    with suppress(ProcessLookupError):
        if one.victim == "group":
            os.killpg(process.pid, one.sent)
        elif one.victim == "worker" and workers:
            os.kill(numbers.choice(workers), one.sent)
        else:
            process.send_signal(one.sent)


def _ended(process: subprocess.Popen[str], one: Kill | None) -> tuple[str, str, int]:
    """What it said, once it and all of its processes are gone."""
    try:
        printed, said = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        if one is not None:
            one.ends.add("hung" if process.poll() is None else "leaked")
        _clear(process.pid)
        printed, said = process.communicate()
    end = time.monotonic() + _GRACE
    while _group(process.pid) and time.monotonic() < end:
        time.sleep(0.1)
    if _group(process.pid) and one is not None:
        one.ends.add("leaked")
    _clear(process.pid)
    return printed, said, process.returncode


def _judge(study: Study, folder: Path, these: Sequence[Kill], expected: Any) -> None:
    """Give the command until its end, and compare."""
    code, printed, said = _finished(study, folder)
    if code in (0, 1) and not said:
        end = "same" if study.result(folder, printed) == expected else "wrong"
    else:
        end = "hung" if code < 0 else "refused"
    for one in these:
        one.ends.add(end)
        one.told += f" | {said.strip()}" if said else ""


def _finished(study: Study, folder: Path) -> tuple[int, str, str]:
    with _started(study, folder) as process:
        printed, said, code = _ended(process, None)
    return code, printed, said


def _started(study: Study, folder: Path) -> subprocess.Popen[str]:
    """The command in a session of its own, by which all of its processes are known."""
    return subprocess.Popen(
        study.command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _group(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            words = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(words[3]) == session and words[0] not in "ZX":
                found.append(int(entry.name))
    return found


def _clear(session: int) -> None:
    for pid in _group(session):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def main() -> None:
    seed, kills = ([int(one) for one in sys.argv[1:]] + [0, 120][len(sys.argv) - 1 :])[:2]
    console = Console(width=140)

    def report(one: Kill) -> None:
        told = one.told[:300].replace("\n", " / ")
        line = f"{one.study}: {one.sent.name} to {one.victim} after {one.after:.1f} s: "
        console.print(line + f"{sorted(one.ends)} {told}", markup=False, soft_wrap=True)

    table(run(seed, kills, report)).show(console)


if __name__ == "__main__":
    main()
