"""Thousands of damaged directories and texts, and what becomes of each: refused, same, wrong, …

``refused``: one error of throughtime's own, and nothing was removed or changed; of a study: the
damaged trial is named and failed, and all others are as they were. ``same``: the numbers are those
of the undamaged directory. ``wrong``: other numbers, or files that are gone. ``leaked``: an error
of another kind, or a whole study lost by one trial. ``hung``: no answer in time.
"""

import io
import json
import shutil
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Literal
from unittest.mock import patch

from rich.console import Console

from benchmarks.faults import damage, subjects
from throughtime.diagnosis import diagnose
from throughtime.errors import ThroughtimeError, ThroughtimeWarning
from throughtime.findings import Diagnosis
from throughtime.report.text import render_text
from throughtime.runs.sealed import seal
from throughtime.training import train
from throughtime.trials import Grid, sweep, treat
from throughtime.trials.one import Outcome, run_trial
from throughtime.trials.trial import Trial

Fate = Literal["refused", "same", "wrong", "leaked", "hung"]
FATES: tuple[Fate, ...] = ("refused", "same", "wrong", "leaked", "hung")
SHARES = {"run": 0.4, "sweep": 0.2, "treatment": 0.1, "diagnosis": 0.3}
PATIENCE = 60  # seconds
_VOLATILE = ("seconds", "folder")


class _HungError(BaseException):
    """No answer in time."""


class _WrongError(Exception):
    """An answer, and not the right one."""


class _RefusedError(Exception):
    """A study named the damaged trial, and kept the others."""


@dataclass
class Tally:
    """How many came to which end, and the faults among them in a line each."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, subject: str, what: str, fate: Fate, told: str) -> None:
        self.counts.setdefault(subject, Counter())[fate] += 1
        if fate not in ("refused", "same"):
            self.faults.append(f"{subject}: {what}: {fate}: {told}")

    @property
    def sound(self) -> bool:
        """Whether there is no fault."""
        return not self.faults


def run(seed: int, mutations: int) -> Tally:
    """Damage so many directories and texts, and tell what became of them."""
    tally, rng = Tally(), Random(seed)
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore", ThroughtimeWarning)
        specimens = _Specimens(Path(place))
        for subject, share in SHARES.items():
            for number in range(round(share * mutations)):
                once = Random(f"{seed} {subject} {number} {rng.random()}")
                what, answer = specimens.ask(subject, once)
                tally.add(subject, f"{number}, {what}", *judged(answer))
    return tally


def judged(answer: Callable[[], None]) -> tuple[Fate, str]:
    """The fate of one case, and what was said."""
    try:
        with _in_time():
            answer()
    except _HungError:
        return "hung", f"no answer in {PATIENCE} seconds"
    except _WrongError as error:
        return "wrong", str(error)
    except _RefusedError as error:
        return "refused", str(error)
    except ThroughtimeError as error:
        printable = str(error).isprintable()
        return ("refused" if printable else "leaked"), str(error)
    except Exception as error:  # noqa: BLE001  — that is what is looked for
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        return "leaked", f"{type(error).__name__}: {error} ({place})"
    return "same", ""


@contextmanager
def _in_time() -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise _HungError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class _Here:
    """Runs every trial of a study in this process, at once."""

    def submit(self, trial: Trial, folder: str, stop: str) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        future.set_result(run_trial(trial, folder, stop))
        return future

    def outcome(self, future: Future[Outcome]) -> Outcome:
        return future.result()


@contextmanager
def _here(_jobs: int) -> Iterator[_Here]:
    yield _Here()


class _Specimens:
    """Whole directories, made once, of which each case damages a copy."""

    def __init__(self, place: Path) -> None:
        self._place, self._copy = place, place / "copy"
        self._runs(place)
        self.sweep = self._swept(place / "sweep")
        _unfinish(next(iter(sorted((place / "sweep" / "runs").iterdir()))))
        self.treated = self._treated(place / "treatment")
        model = subjects.problem()
        self.diagnosis = json.loads(diagnose(model, 5).to_json())

    def _runs(self, place: Path) -> None:
        """A run, its own earlier states, and that of another seed."""
        train(subjects.problem(), 4, run=place / "before", checkpoint_every=4)
        shutil.copytree(place / "before", place / "run")
        train(
            subjects.problem(), subjects.STEPS, run=place / "run", resume=True, checkpoint_every=4
        )
        train(subjects.problem(1), subjects.STEPS, seed=1, run=place / "other", checkpoint_every=4)
        self.losses = train(subjects.problem(), subjects.MORE).losses

    def _swept(self, folder: Path) -> list[dict[str, Any]]:
        with patch("throughtime.trials.workers.processes", _here):
            done = sweep(Grid(subjects.settings()), folder, jobs=1)
        return [_steady(row) for row in done.rows]

    def _treated(self, folder: Path) -> dict[str, Any]:
        with patch("throughtime.trials.workers.processes", _here):
            done = treat(
                subjects.problem, steps=subjects.STEPS, folder=folder, seeds=subjects.SEEDS, jobs=1
            )
        return _steady(done.to_dict())

    def ask(self, subject: str, rng: Random) -> tuple[str, Callable[[], None]]:
        """What was damaged, and what is asked of it."""
        return {
            "run": self._a_run,
            "sweep": self._a_sweep,
            "treatment": self._a_treatment,
            "diagnosis": self._a_diagnosis,
        }[subject](rng)

    def _fresh(self, name: str) -> Path:
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._place / name, self._copy)
        return self._copy

    def _a_run(self, rng: Random) -> tuple[str, Callable[[], None]]:
        folder = self._fresh("run")
        others = [self._place / "other", self._place / "before"]
        what = rng.choice(damage.IN_A_RUN)(folder, rng, others)
        before = _content(folder)

        def answer() -> None:
            model = subjects.problem()
            try:
                done = train(model, subjects.MORE, run=folder, resume=True)
            except ThroughtimeError as error:
                if before != _content(folder):
                    raise _WrongError(f"it was refused, and changed: {error}") from error
                raise
            if done.losses != self.losses:
                raise _WrongError("other losses")

        return what, answer

    def _a_study(self, folder: Path, rng: Random) -> tuple[str, str]:
        """Damage one of its runs, or a file of its own; the name of the run, empty for none."""
        own = [path for path in folder.iterdir() if path.is_file() and path.suffix == ".json"]
        if rng.random() < 0.15:
            path = rng.choice(sorted(own))
            content = path.read_bytes()
            path.write_bytes(
                content[: rng.randrange(len(content))] + rng.choice([b"", b"\0", b"7"])
            )
            return f"{path.name} damaged", ""
        runs = sorted(path for path in (folder / "runs").iterdir() if path.is_dir())
        target = rng.choice(runs)
        if rng.random() < 0.1:
            return _claimed_or_gone(target, rng), target.name
        others = [path for path in runs if path != target]
        return rng.choice(damage.IN_A_RUN)(target, rng, others), target.name

    def _a_sweep(self, rng: Random) -> tuple[str, Callable[[], None]]:
        folder = self._fresh("sweep")
        what, target = self._a_study(folder, rng)

        def answer() -> None:
            try:
                rows = self._swept(folder)
            except ThroughtimeError as error:
                _refuse_loss_of_all(target, error)
                raise
            pairs = zip(rows, self.sweep, strict=True)
            different = [(row, whole) for row, whole in pairs if row != whole]
            _judge(different, target, lambda row: (row["run"], row["status"], row["reason"]))

        return what, answer

    def _a_treatment(self, rng: Random) -> tuple[str, Callable[[], None]]:
        folder = self._fresh("treatment")
        what, target = self._a_study(folder, rng)

        def answer() -> None:
            try:
                found = self._treated(folder)
            except ThroughtimeError as error:
                _refuse_loss_of_all(target, error)
                raise
            pairs = zip(_ends(found), _ends(self.treated), strict=True)
            different = [(end, whole) for end, whole in pairs if end != whole]
            _judge(different, target, lambda end: (end["run"], end["status"], end["reason"]))
            if found != self.treated:
                raise _WrongError("another verdict on the same ends")

        return what, answer

    def _a_diagnosis(self, rng: Random) -> tuple[str, Callable[[], None]]:
        data = json.loads(json.dumps(self.diagnosis))
        how = rng.choice(["mistyped", "a bit flipped", "truncated", "nested"])
        if how == "mistyped":
            damage.change(data, rng)
        elif how == "nested":
            data["run"]["deep"] = _nested(rng.choice([30, 100, 900]))
        content = bytearray(json.dumps(data).encode())
        if how == "a bit flipped":
            bit = rng.randrange(8 * len(content))
            content[bit // 8] ^= 1 << bit % 8
        elif how == "truncated":
            del content[rng.randrange(len(content)) :]
        text = content.decode("utf-8", "replace")

        def answer() -> None:
            try:
                found = Diagnosis.from_json(text)
            except ValueError as error:
                if not str(error).isprintable():
                    raise
                raise _RefusedError(str(error)) from error
            repr(found), str(found), found.causes, found.diseases
            for language in ("en", "ko"):
                render_text(found, Console(file=io.StringIO(), width=80), language)
            if Diagnosis.from_json(found.to_json()) != found:
                raise _WrongError("it does not come back as it was read")

        return how, answer


def _claimed_or_gone(run: Path, rng: Random) -> str:
    """The claim beside a run names nobody; or the run is no directory."""
    if rng.random() < 0.5:
        run.with_name(f"{run.name}.lock").write_text(rng.choice(["", "{}", "[]"]))
        return "a claim that names nobody"
    shutil.rmtree(run)
    run.write_text("a file")
    return "a file for a run"


def _judge(different: list[Any], target: str, said: Callable[[Any], tuple[str, str, str]]) -> None:
    """The damaged trial may have failed, with a reason; no other may differ."""
    for found, _ in different:
        run, status, reason = said(found)
        if not target or (target not in run and run not in target):
            raise _WrongError(f"{run}, which was not damaged, is another")
        if status != "failed" or not reason:
            raise _WrongError(f"the damaged trial is {status} with other numbers")
        raise _RefusedError(reason)


def _refuse_loss_of_all(target: str, error: Exception) -> None:
    if target:
        raise RuntimeError(f"one trial took the whole study down: {error}") from error


def _ends(treated: dict[str, Any]) -> list[dict[str, Any]]:
    """The ends of all arms; ``run`` is what its directory's name ends with, less its digest."""
    return [
        {**end, "run": f"-{arm['remedy']}-seed{end['seed']}-"}
        for arm in treated["arms"]
        for end in arm["ends"]
    ]


def _unfinish(run: Path) -> None:
    """As if the process had been killed after the last checkpoint, before the result."""
    found = json.loads((run / "manifest.json").read_text())
    del found["sha256"], found["result"]
    (run / "manifest.json").write_text(seal(found, "it"))


def _steady(facts: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from one time to the next."""
    return {name: value for name, value in facts.items() if name not in _VOLATILE}


def _content(folder: Path) -> dict[str, bytes]:
    """Every plain file of a run but its lock."""
    files = [path for path in folder.iterdir() if path.is_file() and not path.is_symlink()]
    return {path.name: path.read_bytes() for path in files if path.name != "lock"}


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value
