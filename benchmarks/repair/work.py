"""What is still to be done, and who does it: processes of one thread each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import NamedTuple

import torch

from benchmarks.repair.case import Case
from benchmarks.repair.learning import NONE
from benchmarks.repair.table import Record
from throughtime.errors import ThroughtimeWarning

CHOICES = 3


class Job(NamedTuple):
    """One training."""

    case: Case
    remedy: str
    repeat: int


def untreated(cases: Sequence[Case], repeats: int) -> Iterator[Job]:
    """Every case as it is: what decides whether it belongs to the suite."""
    for repeat in range(repeats):
        yield from (Job(case, NONE, repeat) for case in cases)


def treated(
    cases: Sequence[Case], prescribed: Sequence[Record], repeats: int, beyond: Sequence[str]
) -> Iterator[Job]:
    """The first three choices, repeat by repeat; then everything else where it is asked for.

    Args:
        cases: those that belong to the suite.
        prescribed: a record for each of them.
        repeats: trainings of each case with each of its first three remedies.
        beyond: names of the cases that are trained once with all other remedies as well.
    """
    ranked = {one["case"]: [option["remedy"] for option in one["options"]] for one in prescribed}
    for repeat in range(repeats):
        for case in cases:
            for remedy in ranked[case.name][:CHOICES]:
                yield Job(case, remedy, repeat)
    for case in cases:
        if case.name in beyond:
            for remedy in ranked[case.name][CHOICES:]:
                yield Job(case, remedy, 0)


def done(
    jobs: Sequence[tuple[object, ...]], do: Callable[..., Record], count: int
) -> Iterator[Record]:
    """The record of every job, ``do(*job)``, as they come."""
    start = get_context("spawn")  # a fork of a process that has threads of torch may hang
    with ProcessPoolExecutor(count, start, _alone) as pool:
        running = [pool.submit(do, *job) for job in jobs]
        for future in as_completed(running):
            yield future.result()


def _alone() -> None:
    """One thread for each process; a worker has no terminal to warn on."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ThroughtimeWarning)
