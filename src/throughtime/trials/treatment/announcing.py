"""What a treatment is about to do, and about how long that takes, before it begins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch

from throughtime.prescription.update import Trainee
from throughtime.randomness import randomness
from throughtime.trials.one import is_finished, result_of, run_path
from throughtime.trials.treatment.paired import PairedTrial
from throughtime.trials.treatment.statistics import LEVEL, seeds_needed, smallest_p

_UPDATES = 3  # that are timed; the quickest counts


def plan_lines(arms: Sequence[Sequence[PairedTrial]], folder: Path) -> Iterator[str]:
    """How many trainings of what, how many are there already, and what so few seeds cannot show."""
    names = [arm[0].remedy for arm in arms[1:]]
    seeds, steps = [trial.seed for trial in arms[0]], arms[0][0].steps
    number = len(arms) * len(seeds)
    remedies = f" and with {_count(len(names), 'remedy')} ({', '.join(names)})" if names else ""
    yield (
        f"{_count(number, 'training')} of {_count(steps, 'update')} each: untreated{remedies}, "
        f"from {_count(len(seeds), 'seed')} ({_listed(seeds)})"
    )
    there = number - len(_left(arms, folder))
    if there:
        yield f"{there} of them {'is' if there == 1 else 'are'} finished already"
    if names and smallest_p(len(seeds), len(names)) > LEVEL:
        yield (
            f"{_count(len(seeds), 'seed')} cannot prove that a remedy helps: for "
            f"{_count(len(names), 'remedy')} give at least {seeds_needed(len(names))}"
        )


def time_line(arms: Sequence[Sequence[PairedTrial]], folder: Path, processes: int | None) -> str:
    """About how long all will take: a few updates of every arm are timed, on one thread.

    Args:
        arms: of the study.
        folder: its directory.
        processes: that share the work; None for a cluster, whose workers are not known.
    """
    left = _left(arms, folder)
    if not left:
        return "nothing is left to train"
    costs = {}
    for arm in arms:
        if any(trial in left for trial in arm):
            costs[arm[0].remedy] = _seconds(arm[0])
    if any(math.isnan(cost) for cost in costs.values()):
        return "how long it takes is seen after the first training"
    total = sum(trial.steps * costs[trial.remedy] for trial in left)
    shown = ", ".join(f"{1e3 * cost:.3g} ms" for cost in costs.values())
    of = f"an update takes {shown}, looks at held-out data and starting up not counted"
    if processes is None:
        return f"about {_time(total)} of one process's work, shared by the workers; {of}"
    share = total / min(processes, len(left))
    return f"about {_time(share)} on {_count(processes, 'process')}; {of}"


def _left(arms: Sequence[Sequence[PairedTrial]], folder: Path) -> list[PairedTrial]:
    trials = [trial for arm in arms for trial in arm]
    return [one for one in trials if not is_finished(result_of(run_path(folder, one)))]


def _seconds(trial: PairedTrial) -> float:
    """How long an update takes; nan where that cannot be told."""
    try:
        with _one_thread():
            problem = trial.problem()
            with randomness(trial.seed, problem.model):
                batches = list(islice(problem.batches(trial.seed), _UPDATES))
            trainee = Trainee(problem)
            trainee.train(batches, trial.seed)
            return trainee.seconds
    except Exception:  # noqa: BLE001  — the trial itself will tell what is wrong
        return math.nan


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _listed(seeds: Sequence[int]) -> str:
    in_a_row = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]} to {seeds[-1]}" if in_a_row else ", ".join(map(str, seeds))


_PLURALS = {"remedy": "remedies", "process": "processes"}


def _count(number: int, what: str) -> str:
    return f"{number:,} {what if number == 1 else _PLURALS.get(what, what + 's')}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return _count(max(1, round(seconds)), "second")
    if seconds < 90 * 60:
        return _count(round(seconds / 60), "minute")
    return f"{seconds / 3600:.1f} hours"
