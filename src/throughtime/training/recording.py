"""A training in its run directory: settings, journal, checkpoints; and going on from there."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch

from throughtime.errors import (
    InputError,
    RunError,
    StorageError,
    ThroughtimeError,
    ThroughtimeWarning,
    out_of_memory,
    plain,
    said,
)
from throughtime.runs import RunDirectory
from throughtime.training.plan import Plan
from throughtime.training.result import Reach, Training
from throughtime.training.schedules import SCHEDULES

Settings = Mapping[str, Any]


class Recording:
    """What a training writes down. Where the disk is full it says so once, and writes no more.

    Attributes:
        on: whether it is still written to.
        ended: why it is written to no longer; empty while it is.
    """

    def __init__(self, run: RunDirectory | None) -> None:
        self._run = run
        self.on = run is not None
        self.ended = ""

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record to the journal."""
        self._try(lambda run: run.append(record))

    def save(self, state: Mapping[str, Any], step: int) -> None:
        """Make a checkpoint."""
        self._try(lambda run: run.save(state, step))

    def update(self, **facts: Any) -> None:
        """Set entries of the manifest."""
        self._try(lambda run: run.update(**facts))

    def _try(self, write: Callable[[RunDirectory], None]) -> None:
        if self._run is None or not self.on:
            return
        try:
            write(self._run)
        except StorageError as error:
            self.on = False
            self.ended = str(error)
            warnings.warn(
                f"{error}: the training goes on, and is no longer recorded",
                ThroughtimeWarning,
                stacklevel=2,
            )


@contextmanager
def opened(plan: Plan, settings: Settings) -> Iterator[RunDirectory | None]:
    """The run directory of a training, new or to be resumed, locked inside the block.

    Raises:
        RunError: there is a run and nobody asked to resume it; it was begun with other settings;
            it cannot be used.
        StorageError: the disk is full.
    """
    if plan.run is None:
        if plan.resume:
            raise InputError("nothing to resume: name the run directory as well")
        yield None
        return
    directory = plan.run if isinstance(plan.run, RunDirectory) else _at(plan.run)
    with directory.lock():
        _check(directory, plan, settings)
        yield directory


def begin(directory: RunDirectory, plan: Plan, settings: Settings) -> None:
    """Record that it is trained from now on: once all that is there could be read back."""
    directory.update(
        status="running",
        settings=settings,
        steps=plan.steps,
        throughtime=version("throughtime"),
        torch=torch.__version__,
    )


def record(so_far: Training) -> dict[str, Any]:
    """The line of the journal for the last update, and for what was seen after it."""
    step = so_far.steps
    line: dict[str, Any] = {"step": step}
    if step:
        line |= {"loss": so_far.loss, "norm": so_far.norms[-1]}
    if so_far.horizons and so_far.horizons[-1].step == step:
        line |= so_far.horizons[-1]._asdict()
    if so_far.evaluations and so_far.evaluations[-1][0] == step:
        line["scores"] = so_far.scores
    return line


def restored(directory: RunDirectory) -> tuple[dict[str, Any], Training] | None:
    """The last checkpoint, and what the training had done by then; None if there is none."""
    found = directory.load()
    if found is None:
        return None
    step, state = found
    with understood(f"{plain(directory.path)}: its checkpoint of step {step}"):
        so_far = Training(**state["counters"])
    for line in directory.history():
        at = line.get("step", math.inf)
        with understood(f"{plain(directory.path / 'journal.jsonl')}: the record of step {at}"):
            if at <= step:
                _retell(so_far, at, line)
    if so_far.steps != step:
        raise RunError(
            f"{plain(directory.path)}: its journal has {so_far.steps} of the {step} updates before "
            "its last checkpoint: name a new directory"
        )
    return state, so_far


@contextmanager
def understood(what: str) -> Iterator[None]:
    """One error that names what was damaged, for whatever Python says of it inside the block.

    Raises:
        RunError: something went wrong that is not an error of ours.
    """
    try:
        yield
    except ThroughtimeError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        reason = plain(f"{type(error).__name__}: {said(error)}")[:200]
        raise RunError(
            f"{what} is damaged, or not of this training ({reason}): name a new directory"
        ) from error


def _retell(so_far: Training, at: int, line: Mapping[str, Any]) -> None:
    """Add what a line of the journal says."""
    if "loss" in line:
        so_far.losses.append(line["loss"])
        so_far.norms.append(line["norm"])
    if "horizon" in line:
        so_far.horizons.append(Reach(at, line["horizon"], line["gain_at_span"]))
    if "scores" in line:
        so_far.evaluations.append((at, line["scores"]))


def _at(path: str | os.PathLike[str]) -> RunDirectory:
    there = RunDirectory.is_at(path)
    return RunDirectory.open(path, for_writing=True) if there else RunDirectory.create(path)


def _check(directory: RunDirectory, plan: Plan, settings: Settings) -> None:
    """Refuse to go on from a training that was another one."""
    manifest, where = directory.manifest, plain(directory.path)
    before = manifest.get("settings")
    if before is None and not _is_begun(directory):
        return
    if not isinstance(before, dict):
        raise RunError(
            f"{where}/manifest.json does not say with which settings the run was begun: put the "
            "manifest back as it was, or name a new directory"
        )
    if not plan.resume:
        raise RunError(
            f"{where} already holds a training: resume it (--resume), or name another directory"
        )
    now = json.loads(json.dumps(settings))  # as they are found again
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            raise _other(where, name, before.get(name), now.get(name))
    laid_out = plan.schedule in SCHEDULES and plan.schedule != "constant"
    if laid_out and manifest.get("steps") != plan.steps:
        name = f"the schedule {plan.schedule} over steps"
        raise _other(where, name, manifest.get("steps"), plan.steps)
    reached = max((one.step for one in directory.checkpoints), default=0)
    if plan.steps < reached:
        raise RunError(f"{where} has made {reached} updates already: give at least as many steps")


def _is_begun(directory: RunDirectory) -> bool:
    """Whether somebody has trained in it."""
    return bool(directory.checkpoints) or any("step" in one for one in directory.history())


def _other(where: str, name: str, before: object, now: object) -> RunError:
    told = [plain("none" if value is None else value) for value in (before, now)]
    return RunError(
        f"{where} was begun with {plain(name)} {told[0]}, and now it is {told[1]}: resume it with "
        "the same, or name a new directory"
    )
