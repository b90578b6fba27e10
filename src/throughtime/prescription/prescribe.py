"""``prescribe``: each fitting remedy on a copy of the user's own model, measured and ranked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch

from throughtime.capture import observe
from throughtime.diagnosis import diagnose
from throughtime.errors import InputError, NothingRecordedError, ThroughtimeError, plain
from throughtime.findings import Diagnosis
from throughtime.prescription import wording
from throughtime.prescription.answer import Option, Prescription, Reading, Refused
from throughtime.prescription.fitting import fitting
from throughtime.prescription.probe import probe
from throughtime.prescription.ranking import ranked
from throughtime.prescription.reading import read
from throughtime.prescription.treated import NONE, TREATMENTS, apply, canonical, copied
from throughtime.prescription.undisturbed import undisturbed
from throughtime.prescription.update import Trainee, loss_on
from throughtime.problem import Batch, Problem

Make = Callable[[], Problem]


@dataclass(frozen=True)
class _Arm:
    """A treated copy, and how far its gradient reached before any update."""

    name: str
    trainee: Trainee
    first: Reading


def prescribe(
    problem: Problem | Make,
    span: int | None = None,
    *,
    remedies: Sequence[str] | None = None,
    most: int = 12,
    updates: int = 25,
    seconds: float = 20.0,
    seed: int = 0,
) -> Prescription:
    """Try the remedies that fit what ails a model, each on a copy of it, and rank them.

    The same batch is captured on every copy, before and after a few updates in which the copies
    take turns. The problem's own model is left untouched (weights, gradients, modes, hooks,
    buffers), and so are all random states.

    Args:
        problem: what to treat; or a function that makes it anew, untreated and with the same
            weights, for each remedy: for a loss that holds its own model.
        span: how many steps back the task needs to see; default: the problem's.
        remedies: names for ``treated``; default: those that ``fitting`` finds.
        most: try no more of them than these.
        updates: how many each copy makes at most.
        seconds: that the updates of all copies may take together; fewer are made then.
        seed: of the batches and of what remedies draw.

    Returns:
        The remedies, the best first; without any where the model is healthy.

    Raises:
        InputError: the model cannot be copied, the loss does not use the model that it is given, or
            a remedy is not known. Otherwise as ``diagnose``.
    """
    make = problem if not isinstance(problem, Problem) else lambda: _copy(problem)
    patient = make()
    span = patient.span if span is None else span
    batches = _drawn(patient, updates + 1, seed)
    if isinstance(problem, Problem):
        _refuse_a_loss_of_its_own(problem, patient, batches[0], seed)
    before = _diagnosed(patient, batches[0], span, seed)
    if before.diseases == ("healthy",):
        return Prescription(before, span, wording.healthy(before))
    names = fitting(before, patient) if remedies is None else [canonical(one) for one in remedies]
    arms, refused = _arms(make, names, most, batches[0], span, seed)
    untreated = _Arm(NONE, Trainee(patient), read(patient, batches[0], span, seed))
    made = probe([arm.trainee for arm in (untreated, *arms)], batches[1:], seconds, seed)
    base = _option(untreated, untreated, batches[0], span, seed)
    tried = {*(arm.name for arm in arms), *(one.name for one in refused)}
    clipped = {arm.name for arm in arms if arm.trainee.problem.clip is not None}
    found = [_option(arm, untreated, batches[0], span, seed) for arm in arms]
    options = ranked(found, base, clipped)
    return Prescription(
        before,
        span,
        wording.result(options, span),
        base,
        options,
        refused,
        made,
        wording.notes(before, options, [one for one in names if one not in tried]),
    )


def _copy(problem: Problem) -> Problem:
    return replace(problem, model=copied(problem))


def _drawn(problem: Problem, number: int, seed: int) -> list[Batch]:
    with undisturbed(problem.model, seed):
        batches = list(islice(problem.batches(seed), number))
    if not batches:
        raise InputError(f"{problem.name}: batches({seed}) gives no batch")
    return batches


def _diagnosed(patient: Problem, batch: Batch, span: int, seed: int) -> Diagnosis:
    with undisturbed(patient.model, seed):
        return diagnose(observe(patient.model, loss_on(patient, batch)), span)


def _refuse_a_loss_of_its_own(problem: Problem, copy: Problem, batch: Batch, seed: int) -> None:
    """A loss that closes over the user's model would measure that one, whatever the remedy."""
    own = [p for p in problem.model.parameters() if p.requires_grad]
    with undisturbed(problem.model, seed):
        loss = loss_on(copy, batch)()
    if not loss.requires_grad or not own:
        return
    reached = torch.autograd.grad(loss, own, allow_unused=True)
    if any(gradient is not None for gradient in reached):
        raise InputError(
            f"{plain(problem.name)}: its loss runs another model than the one that it is given: in "
            "loss(model, batch) use the argument, not a model from outside"
        )


def _arms(
    make: Make, names: Sequence[str], most: int, batch: Batch, span: int, seed: int
) -> tuple[list[_Arm], tuple[Refused, ...]]:
    """A treated copy for each remedy that fits; and those that do not."""
    arms: list[_Arm] = []
    refused: list[Refused] = []
    for name in names:
        if len(arms) == most:
            break
        try:
            problem = apply(make(), name, span, seed)
            arms.append(_Arm(name, Trainee(problem), read(problem, batch, span, seed)))
        except NothingRecordedError:
            refused.append(Refused(name, "the loss does not run what it puts into the model"))
        except ThroughtimeError as error:
            refused.append(Refused(name, str(error)))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  — the user's own code, around another layer
            told = f"{type(error).__name__}: {plain(error)}"
            refused.append(Refused(name, f"the model does not run with it ({told})"))
    return arms, tuple(refused)


def _option(arm: _Arm, untreated: _Arm, batch: Batch, span: int, seed: int) -> Option:
    trainee = arm.trainee
    loss = trainee.loss(batch, seed)
    finite = loss == loss and abs(loss) != float("inf")
    parts = [] if arm.name == NONE else [TREATMENTS[part] for part in arm.name.split("+")]
    return Option(
        name=arm.name,
        first=arm.first,
        later=read(trainee.problem, batch, span, seed) if finite else None,
        loss=loss if finite else None,
        seconds=trainee.seconds,
        cost=trainee.seconds / untreated.trainee.seconds,
        sentence="; ".join(part.sentence for part in parts),
        paper="; ".join(part.paper for part in parts),
        code="\n".join(part.code(trainee.problem, span) for part in parts),
        note=wording.note(arm.name, arm.first, untreated.first),
    )
