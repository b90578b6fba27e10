"""One trial, in its own run directory: trained once, wherever it is asked for.

Beside the run directory lies its claim, a lock that is held from the first look to the recorded
result. The run's own lock is let go of when the training ends, a moment before its result is
written: nobody shall find the run in that moment and think that it is not finished.
"""

from __future__ import annotations

import math
import platform
import signal
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from throughtime.errors import (
    DivergedError,
    InputError,
    RunError,
    ThroughtimeError,
    ThroughtimeWarning,
    is_stop,
    plain,
    said,
)
from throughtime.files import read_plainly
from throughtime.problem import Problem
from throughtime.runs import RunDirectory
from throughtime.runs.lock import locked
from throughtime.runs.plain_json import from_json
from throughtime.training import Training, train
from throughtime.trials.curve import thinned
from throughtime.trials.recorded import Result, read_result
from throughtime.trials.trial import Trial
from throughtime.trials.versions import difference, versions_here

RUNS = "runs"
FINAL = ("solved", "done", "diverged")  # a failed trial is tried again by the next study
_LOOK = 0.5  # seconds between two looks whether the study was stopped

Status = Literal["solved", "done", "diverged", "failed", "busy", "stopped"]
_ONE_AT_A_TIME = threading.Lock()  # trainings of one process share torch's random state


class Outcome(NamedTuple):
    """How a worker left a trial.

    Attributes:
        status: ``solved``, ``done`` or ``diverged`` for good; ``failed``; ``busy`` where another
            process holds it; ``stopped`` where the study was.
        reason: one line about all but the first two.
    """

    status: Status
    reason: str = ""


class _StoppedError(Exception):
    """The study was stopped; what was trained since the last checkpoint is trained again."""


def run_trial(trial: Trial, folder: str, stop: str) -> Outcome:
    """Train a trial, or go on with it, unless it is finished; and record its result.

    Args:
        trial: what to train.
        folder: the study's directory.
        stop: a file; once it is there, the training ends.
    """
    torch.set_num_threads(1)
    with _ONE_AT_A_TIME, ExitStack() as stack:
        if Path(stop).exists():
            return Outcome("stopped")
        path = run_path(folder, trial)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(claim_path(folder, trial)))
        except RunError as error:
            status: Status = "busy" if _is_held(claim_path(folder, trial)) else "failed"
            return Outcome(status, plain(error))
        except (ThroughtimeError, OSError) as error:
            return Outcome("failed", _told(error))
        return _finish(trial, path, Path(stop))


def run_trial_as(versions: Mapping[str, str], trial: Trial, folder: str, stop: str) -> Outcome:
    """``run_trial`` on a worker that may have joined late, if it has the versions of the study."""
    if differs := difference(platform.node(), versions_here(), versions):
        return Outcome("failed", differs)
    return run_trial(trial, folder, stop)


def run_path(folder: str | Path, trial: Trial) -> Path:
    """The run directory of a trial."""
    return Path(folder) / RUNS / trial.key


def claim_path(folder: str | Path, trial: Trial) -> Path:
    """The lock of whoever runs a trial; it is there as long as that takes."""
    return Path(folder) / RUNS / f"{trial.key}.lock"


def result_of(path: Path) -> Result | None:
    """What a run directory says of its trial; None before there is a result.

    A run that cannot be read, or holds what is no result of its trial, has failed for that reason.
    """
    try:
        return read_result(path)
    except ThroughtimeError as error:
        return {"status": "failed", "reason": _told(error)}


def known_of(trial: Trial, folder: Path, left: Mapping[Any, Outcome]) -> Result | None:
    """What is known of a trial in the end: its result or, where that is not final, ``left``.

    Args:
        trial: of the study.
        folder: the study's directory.
        left: how its workers left the trials that had no final result.
    """
    found = result_of(run_path(folder, trial))
    if trial not in left or is_finished(found):
        return found
    return {**(found or {}), **left[trial]._asdict()}


def is_finished(result: Result | None) -> bool:
    """Whether a trial need never be run again."""
    return result is not None and result.get("status") in FINAL


def _finish(trial: Trial, path: Path, stop: Path) -> Outcome:
    try:
        found = read_result(path)
    except ThroughtimeError as error:  # nothing is trained or recorded in such a run
        return Outcome("failed", _told(error))
    if found is None or not is_finished(found):
        try:
            found = _result(trial, path, stop)
        except _StoppedError:
            return Outcome("stopped")
        try:
            _record(trial, path, found)
        except (ThroughtimeError, OSError) as error:
            return Outcome("failed", _told(error))
    return Outcome(found["status"], found.get("reason", ""))


def _result(trial: Trial, path: Path, stop: Path) -> Result:
    """Train, and tell how it went, whatever happened."""
    problem: Problem | None = None
    try:
        problem = trial.problem()
        return _solved_or_done(trial, problem, _train(trial, problem, path, stop))
    except _StoppedError:
        raise
    except DivergedError as error:
        return {**_known(problem), **_so_far(trial, path, "diverged", error)}
    except BaseException as error:  # a trial that fails does not end the others
        if is_stop(error) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            raise  # a worker is deaf to Ctrl-C: there it is the file's own
        return {**_known(problem), **_so_far(trial, path, "failed", error)}


def _train(trial: Trial, problem: Problem, path: Path, stop: Path) -> Training:
    last = time.monotonic()

    def look(_step: int, _loss: float) -> None:
        nonlocal last
        if time.monotonic() - last > _LOOK:
            last = time.monotonic()
            if stop.exists():
                raise _StoppedError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ThroughtimeWarning)  # a full disk fails in _record
        return train(
            problem,
            **trial.options(),
            run=path,
            resume=True,
            settings={"setting": trial.facts},
            on_step=look,
        )


def _known(problem: Problem | None) -> dict[str, Any]:
    if problem is None:
        return {}
    return {
        "span": problem.span,
        "trivial_loss": problem.trivial_loss,
        "criterion": None if problem.solved is None else str(problem.solved),
    }


def _solved_or_done(trial: Trial, problem: Problem, done: Training) -> Result:
    return {
        **_known(problem),
        "status": "done" if done.solved_at is None else "solved",
        "updates": done.steps,
        "loss": done.loss,
        "scores": done.scores,
        "solved_at": done.solved_at,
        "horizon": done.horizon,
        "solved": problem.solved.met(done.scores) if problem.solved and done.scores else None,
        "closing_loss": _closing(done.losses),
        "clipped": done.clipped if _clips(trial, problem) else None,
        "seconds": done.seconds,
        "curve": thinned(done.losses, trial.steps),
    }


def _closing(losses: Sequence[float]) -> float | None:
    """The mean of the last tenth of the training's losses."""
    last = losses[-math.ceil(len(losses) / 10) :]
    return math.fsum(last) / len(last) if last else None


def _clips(trial: Trial, problem: Problem) -> bool:
    return trial.options().get("clip", problem.clip) is not None


def _so_far(trial: Trial, path: Path, status: Status, error: BaseException) -> Result:
    """What is known of a training that came to no good end."""
    losses = []
    with suppress(ThroughtimeError):
        found = [one.get("loss") for one in RunDirectory.open(path).history()]
        losses = [loss for loss in found if isinstance(loss, int | float)]
    return {
        "status": status,
        "reason": _told(error),
        "updates": len(losses),
        "loss": losses[-1] if losses else None,
        "curve": thinned(losses, trial.steps),
    }


def _record(trial: Trial, path: Path, result: Result) -> None:
    there = RunDirectory.is_at(path)
    run = RunDirectory.open(path, for_writing=True) if there else RunDirectory.create(path)
    with run.lock():
        run.update(setting=trial.facts, result=result)


def _is_held(claim: Path) -> bool:
    """Whether a claim names a process, which will let go of it; one that does not never will."""
    try:
        return isinstance(from_json(read_plainly(claim)).get("pid"), int)
    except FileNotFoundError:
        return True  # it was let go of just now: ask again
    except (ThroughtimeError, OSError, ValueError):
        return False


def _told(error: BaseException) -> str:
    """An error in one line; of one that is not ours, its kind as well."""
    text = plain(said(error)).strip()
    if isinstance(error, ThroughtimeError | InputError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
