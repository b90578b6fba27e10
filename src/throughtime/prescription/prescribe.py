"""``prescribe``: each fitting remedy on a copy of the user's own model, measured and ranked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import torch
from torch import nn

from throughtime.errors import InputError, plain
from throughtime.findings import Diagnosis
from throughtime.prescription import wording
from throughtime.prescription.answer import Prescription
from throughtime.prescription.bench import Bench
from throughtime.prescription.fitting import fitting
from throughtime.prescription.probe import probe
from throughtime.prescription.ranking import ranked
from throughtime.prescription.treated import NONE, canonical, copied
from throughtime.prescription.update import loss_on
from throughtime.problem import Batch, Problem, check_problem, check_span
from throughtime.randomness import kept, randomness

Choose = Callable[[Diagnosis, Problem], Sequence[str]]
"""Names of remedies for what was found."""


def prescribe(
    problem: Problem | Callable[[], Problem],
    span: int | None = None,
    *,
    remedies: Sequence[str] | None = None,
    keep_cell: bool = False,
    most: int = 12,
    updates: int = 25,
    seconds: float = 20.0,
    seed: int = 0,
) -> Prescription:
    """Try the remedies that fit what ails a model, each on a copy of it, and rank them.

    The same batch is captured on every copy, before and after a few updates in which the copies
    take turns. The problem's own model is left untouched (weights, gradients, modes, hooks,
    buffers), and so are all random states.

    First come those whose gain at the span is useful, between 1 % and 100; see ``ranked``. That is
    no proof: a gradient that arrives is neither necessary nor enough to learn.

    Args:
        problem: what to treat; or a function that makes it anew, untreated and with the same
            weights, for each remedy: for a loss that holds its own model (see ``from_pair``).
        span: how many steps back the task needs to see; default: the problem's.
        remedies: names for ``treated``; default: those that ``fitting`` finds.
        keep_cell: of those none that puts another cell in the place of a layer.
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
    check_span(span)
    choose = _chosen(remedies, keep_cell)
    if isinstance(problem, (type, nn.Module)) or not callable(problem):
        check_problem("prescribe", problem)
    if not isinstance(problem, Problem):
        with randomness(seed):
            found = _prescription(problem, span, choose, most, updates, seconds, seed)
            same = _same_weights(problem(), problem())
        return found if same else replace(found, notes=(*found.notes, wording.OTHER_WEIGHTS))
    with randomness(seed, problem.model), kept(problem.model):
        _refuse_a_loss_of_its_own(problem, _copy(problem), seed)
        make = partial(_copy, problem)
        return _prescription(make, span, choose, most, updates, seconds, seed)


def _chosen(remedies: Sequence[str] | None, keep_cell: bool) -> Choose:
    """The remedies that were asked for, whatever is found; or those that fit it."""
    if remedies is None:
        return partial(fitting, keep_cell=keep_cell)
    names = tuple(dict.fromkeys(canonical(name) for name in remedies))
    return lambda _diagnosis, _problem: names


def _prescription(
    make: Callable[[], Problem],
    span: int | None,
    choose: Choose,
    most: int,
    updates: int,
    seconds: float,
    seed: int,
) -> Prescription:
    patient = make()
    check_problem("prescribe", patient)  # a function may have made something else
    batches = _drawn(patient, updates + 1, seed)
    bench = Bench(make, batches[0], patient.span if span is None else span, seed)
    before = bench.diagnosis()
    if before.diseases == ("healthy",):
        return Prescription(before, before.span, wording.healthy(before))
    names = choose(before, patient)
    untreated = bench.arm(NONE)
    arms, refused = bench.arms(names, most)
    made = probe([arm.trainee for arm in (untreated, *arms)], batches[1:], seconds, seed)
    base = bench.option(untreated, untreated)
    clipped = {arm.name for arm in arms if arm.trainee.problem.clip is not None}
    found = [bench.option(arm, untreated) for arm in arms]
    options = ranked(found, base, clipped, patient.trivial_loss)
    tried = {option.name for option in options} | {one.name for one in refused}
    notes = wording.notes(before, base, options, [name for name in names if name not in tried])
    said = wording.result(options, before.span)
    return Prescription(before, before.span, said, base, options, tuple(refused), made, notes)


def _copy(problem: Problem) -> Problem:
    return replace(problem, model=copied(problem))


def _drawn(problem: Problem, number: int, seed: int) -> list[Batch]:
    with randomness(seed, problem.model):
        batches = list(islice(problem.batches(seed), number))
    if not batches:
        raise InputError(f"{problem.name}: batches({seed}) gives no batch")
    return batches


def _refuse_a_loss_of_its_own(problem: Problem, copy: Problem, seed: int) -> None:
    """A loss that closes over the user's model would measure that one, whatever the remedy."""
    own = [p for p in problem.model.parameters() if p.requires_grad]
    loss = loss_on(copy, _drawn(copy, 1, seed)[0])()
    if not loss.requires_grad or not own:
        return
    reached = torch.autograd.grad(loss, own, allow_unused=True)
    if any(gradient is not None for gradient in reached):
        raise InputError(
            f"{plain(problem.name)}: its loss runs another model than the one that it is given: in "
            "loss(model, batch) use the argument, not a model from outside"
        )


def _same_weights(first: Problem, second: Problem) -> bool:
    one, other = dict(first.model.named_parameters()), dict(second.model.named_parameters())
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) for name, value in one.items()
    )
