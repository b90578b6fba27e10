"""``treat``: paired trials of a model with and without remedies, and what they prove."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from joblib import cpu_count
from torch import nn

from throughtime.errors import InputError, plain
from throughtime.files import write_atomically
from throughtime.prescription.pair import Closure
from throughtime.problem import MakeOptimizer, check_maker
from throughtime.runs.lock import one_at_a_time
from throughtime.runs.plain_json import to_json
from throughtime.trials.one import Outcome, known_of
from throughtime.trials.progress import say, waiting
from throughtime.trials.study import carry_out, prepared
from throughtime.trials.treatment.announcing import plan_lines, time_line
from throughtime.trials.treatment.arms import compared, is_one_training, loss_name
from throughtime.trials.treatment.of_pair import of_pair
from throughtime.trials.treatment.page import page
from throughtime.trials.treatment.paired import Make, PairedTrial
from throughtime.trials.treatment.patch import FILE as PATCH
from throughtime.trials.treatment.patch import patch_for
from throughtime.trials.treatment.plan import Plan, seeds_of
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
    make: Make | nn.Module | tuple[nn.Module, Closure],
    closure: Closure | None = None,
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
    optimizer: MakeOptimizer | None = None,
    checkpoint_every: int = 100,
    jobs: int | None = None,
    cluster: str | None = None,
    progress: bool = False,
) -> Treated:
    """Train a problem with and without remedies, in pairs, and say which of them helped.

    For one seed all arms have the same first weights, batches and number of updates.

    Args:
        make: ``make(seed)`` gives the untreated problem, in other processes: a function made by
            ``def``, a ``functools.partial`` of one, or a frozen dataclass. Or a model.
        closure: of a model: its loss on a batch that it draws, in which alone the seeds differ.
        steps: updates of each trial.
        folder: of the study: what is finished there is not trained again.
        span: how many steps back the task needs to see; None for the problem's.
        seeds: how many (0, 1, …), or which ones; of three remedies fewer than 6 prove nothing.
        remedies: as ``treated`` takes them; None for the first three that ``prescribe`` gives.
        keep_cell: of what ``prescribe`` gives, none that replaces the model's recurrent layers.
        subject: what is treated, in a word or two; None for the problem's name.
        target: the user's ``FILE.py:FUNCTION`` that is to be patched; None for no patch.
        evaluate_every: updates between two evaluations; None for about twenty in all.
        measure: how far back the gradient reaches, before and after training.
        until_solved: end a trial once it is solved, instead of the same budget for all.
        optimizer: of a model: makes it; None for Adam, learning rate 1e-3, without clipping.
        checkpoint_every: updates between two checkpoints.
        jobs: processes on this machine; None for one on each core.
        cluster: address of a Dask scheduler, instead of processes here.
        progress: show the plan, the expected time and how far it is on standard error.

    Raises:
        InputError, RunError, StorageError, ClusterError: with what does not fit, and why.
    """
    told = {name: value for name, value in locals().items() if name in Plan.__annotations__}
    here, place = Path.cwd(), Path(folder).absolute()  # what is called now may change directory
    plan = Plan(**{**told, "make": _maker(make, closure, span, seeds, optimizer)})
    plan.check()
    prepared(place, SIGN, "trials", (PAGE, RESULT, PATCH))
    with waiting("choosing remedies on copies", wanted=progress and remedies is None):
        arms = plan.arms(place)
    _announce(arms, place, None if cluster else jobs or cpu_count(), wanted=progress)
    in_pairs = [trial for pair in zip(*arms, strict=True) for trial in pair]
    left = carry_out(in_pairs, place, jobs=jobs, cluster=cluster, progress=progress)
    return _written(plan, arms, place, left, here)


def _maker(
    make: Make | nn.Module | tuple[nn.Module, Closure],
    closure: Closure | None,
    span: int | None,
    seeds: int | Sequence[int],
    optimizer: MakeOptimizer | None,
) -> Make:
    """What makes the untreated problem of a seed."""
    if isinstance(make, tuple) and len(make) == 2 and closure is None:
        make, closure = make
    if not isinstance(make, nn.Module):
        check_maker("treat", make)
    if isinstance(make, nn.Module):
        if not callable(closure):
            raise InputError(
                "a model alone cannot be trained: give treat(model, closure), where closure() "
                "runs it and returns the loss; or make(seed), which returns a throughtime.Problem"
            )
        return of_pair(make, closure, span, seeds_of(seeds), optimizer)
    if closure is not None or optimizer is not None:
        raise InputError("closure and optimizer go with a model: a Problem has a loss and its own")
    if not callable(make):
        raise InputError(
            f"make is of type {plain(type(make).__name__)}: give a function make(seed) that "
            "returns a throughtime.Problem, or a model and a closure"
        )
    return make


def _announce(
    arms: Sequence[Sequence[PairedTrial]], folder: Path, processes: int | None, *, wanted: bool
) -> None:
    """The plan and the expected time, on standard error."""
    if not wanted:
        return
    for line in plan_lines(arms, folder):
        say(line)
    say(time_line(arms, folder, processes))


def _written(
    plan: Plan,
    arms: Sequence[Sequence[PairedTrial]],
    folder: Path,
    left: Mapping[Trial, Outcome],
    here: Path,
) -> Treated:
    """Read all results, judge them, and write the result beside them."""
    results = [[_result(trial, folder, left) for trial in arm] for arm in arms]
    treated = concluded(plan, [arm[0].remedy for arm in arms], results, folder, here)
    _write(treated, results, here)
    return treated


def concluded(
    plan: Plan,
    remedies: Sequence[str],
    results: Sequence[Sequence[Mapping[str, Any]]],
    folder: Path,
    here: Path,
) -> Treated:
    """What recorded results come to: the verdict, and the patch where a remedy helped.

    Args:
        plan: what was asked for.
        remedies: of the arms, the untreated one first.
        results: arm by arm, in the order of the seeds.
        folder: of the study.
        here: the directory that the user called from.
    """
    found = compared(remedies, results)
    criterion = None if plan.first.solved is None else str(plan.first.solved)
    told = loss_name(results)
    verdict = judge(found, criterion, told, plan.first.trivial_loss)
    notes = [_ONE_TRAINING] if is_one_training(results[0]) else plan.notes()
    notes += [_NOTHING_PRESCRIBED] if len(remedies) == 1 else []
    patch = None
    if verdict.best is not None and plan.target is not None:
        patch = patch_for(plan.target, verdict.best, plan.reach, plan.numbers[0], here)
    has_diff = patch is not None and patch.diff is not None
    return Treated(
        subject=plan.named,
        span=plan.reach,
        steps=plan.steps,
        seeds=plan.numbers,
        criterion=criterion,
        loss_name=told,
        trivial_loss=plan.first.trivial_loss,
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
    found = known_of(trial, folder, left)
    return {**({"status": "missing"} if found is None else found), "seed": trial.seed}
