"""``treat``: paired trials of a model with and without remedies, and what they prove."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from throughtime.files import write_atomically
from throughtime.problem import check_maker
from throughtime.runs.lock import one_at_a_time
from throughtime.runs.plain_json import to_json
from throughtime.trials.one import Outcome, result_of, run_path
from throughtime.trials.progress import waiting
from throughtime.trials.study import carry_out, prepared
from throughtime.trials.treatment.arms import compared, is_one_training, loss_name
from throughtime.trials.treatment.page import page
from throughtime.trials.treatment.paired import Make, PairedTrial
from throughtime.trials.treatment.patch import FILE as PATCH
from throughtime.trials.treatment.patch import patch_for
from throughtime.trials.treatment.plan import Plan
from throughtime.trials.treatment.result import Treated
from throughtime.trials.treatment.verdict import judge
from throughtime.trials.trial import Trial

SIGN, PAGE, RESULT = "treat.json", "index.html", "result.json"
_NOTHING_PRESCRIBED = (
    "Nothing was prescribed (throughtime prescribe says why); remedies that are named are tried "
    "all the same."
)
_ONE_TRAINING = (
    "Every seed gave the same untreated training, to the last digit: weights and batches ignore "
    "the seed. They are counted as one."
)


def treat(
    make: Make,
    *,
    steps: int,
    folder: str | os.PathLike[str],
    span: int | None = None,
    seeds: int | Sequence[int] = 7,
    remedies: Sequence[str] | None = None,
    keep_cell: bool = False,
    subject: str | None = None,
    target: str | None = None,
    evaluate_every: int | None = None,
    measure: bool = True,
    until_solved: bool = False,
    checkpoint_every: int = 100,
    jobs: int | None = None,
    cluster: str | None = None,
    progress: bool = False,
) -> Treated:
    """Train a problem with and without remedies, in pairs, and say which of them helped.

    For one seed all arms have the same first weights (then changed by the remedy), batches and
    number of updates. What is finished in ``folder`` is not trained again.

    Args:
        make: ``make(seed)`` gives the untreated problem. It is called in other processes: a
            function of a module, a ``functools.partial`` of one, or a frozen dataclass.
        steps: updates of each trial.
        folder: the directory of the study: new, or that of an earlier call.
        span: how many steps back the task needs to see; None for the problem's.
        seeds: how many (0, 1, …), or which ones; of three remedies fewer than 7 prove nothing.
        remedies: as ``treated`` takes them; None for the first three that ``prescribe`` gives.
        keep_cell: of what ``prescribe`` gives, none that replaces the model's recurrent layers.
        subject: what is treated, in a word or two; None for the problem's name.
        target: the user's ``FILE.py:FUNCTION`` that is to be patched; None for no patch.
        evaluate_every: updates between two evaluations; None for about twenty in all.
        measure: how far back the gradient reaches, before and after training.
        until_solved: end a trial once it is solved, instead of the same budget for all.
        checkpoint_every: updates between two checkpoints.
        jobs: processes on this machine; None for one on each core.
        cluster: address of a Dask scheduler, instead of processes here.
        progress: show it on standard error.

    Raises:
        InputError: a remedy does not fit, a number is out of range, ``make`` is not repeatable.
        RunError, StorageError: the directory holds something else, or cannot be written.
        MissingExtraError, ClusterError: there is no such cluster.
    """
    told = {name: value for name, value in locals().items() if name in Plan.__dataclass_fields__}
    check_maker("treat", make)
    here, place = Path.cwd(), Path(folder).absolute()  # what is called now may change directory
    plan = Plan(**told)
    plan.check()
    prepared(place, SIGN, "trials")
    with waiting("choosing remedies on copies", wanted=progress and remedies is None):
        arms = plan.arms(place)
    in_pairs = [trial for pair in zip(*arms, strict=True) for trial in pair]
    left = carry_out(in_pairs, place, jobs=jobs, cluster=cluster, progress=progress)
    return _written(plan, arms, place, left, here)


def _written(
    plan: Plan,
    arms: Sequence[Sequence[PairedTrial]],
    folder: Path,
    left: Mapping[Trial, Outcome],
    here: Path,
) -> Treated:
    """Read all results, judge them, and write the result beside them."""
    results = [[_result(trial, folder, left) for trial in arm] for arm in arms]
    found = compared([arm[0].remedy for arm in arms], results)
    criterion = None if plan.first.solved is None else str(plan.first.solved)
    told = loss_name(results)
    verdict = judge(found, criterion, told)
    notes = [_ONE_TRAINING] if is_one_training(results[0]) else plan.notes()
    notes += [_NOTHING_PRESCRIBED] if len(arms) == 1 else []
    patch = None
    if verdict.best is not None and plan.target is not None:
        patch = patch_for(plan.target, verdict.best, plan.reach, plan.numbers[0], here)
    has_diff = patch is not None and patch.diff is not None
    treated = Treated(
        subject=plan.named,
        span=plan.reach,
        steps=plan.steps,
        seeds=plan.numbers,
        criterion=criterion,
        loss_name=told,
        arms=found,
        answer=verdict.answer,
        best=verdict.best,
        verdict=verdict.sentence,
        evidence=verdict.evidence,
        notes=tuple(notes),
        patch=patch,
        folder=folder,
        files=(PAGE, RESULT, *([PATCH] if has_diff else [])),
    )
    _write(treated, results, here)
    return treated


def _write(treated: Treated, results: Sequence[Sequence[Mapping[str, Any]]], here: Path) -> None:
    """The result beside its runs: for programs, for people, and for ``patch``."""
    folder, patch = treated.folder, treated.patch
    saved = folder / PATCH
    told = saved.relative_to(here) if saved.is_relative_to(here) else saved
    with one_at_a_time(folder):
        write_atomically(folder / RESULT, to_json(treated.to_dict(), RESULT, indent=1) + "\n")
        if patch is not None and patch.diff is not None:
            write_atomically(saved, patch.diff)
        else:
            saved.unlink(missing_ok=True)  # that of another verdict
        write_atomically(folder / PAGE, page(treated, results, str(told)))


def _result(trial: PairedTrial, folder: Path, left: Mapping[Trial, Outcome]) -> Mapping[str, Any]:
    """What a run says of its trial; before there is a result, how its worker left it."""
    found = result_of(run_path(folder, trial))
    if found is None:
        found = left[trial]._asdict() if trial in left else {"status": "missing"}
    return {**found, "seed": trial.seed}
