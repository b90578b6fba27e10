"""``prescribe``: each fitting remedy on a copy of the user's own model, measured and ranked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from throughtime.prescription.pair import Closure, from_pair, longest_lag
from throughtime.prescription.ranking import ranked
from throughtime.prescription.treated import canonical, copied
from throughtime.prescription.update import loss_on
from throughtime.problem import Batch, Problem, check_problem
from throughtime.randomness import kept, randomness
from throughtime.typed import checked_span

Choose = Callable[[Diagnosis, Problem], Sequence[str]]
"""Names of remedies for what was found."""


@dataclass(frozen=True)
class _Bounds:
    """How much is tried."""

    most: int
    updates: int
    seconds: float
    seed: int


def prescribe(
    problem: Problem | Callable[[], Problem] | nn.Module,
    closure: Closure | int | None = None,
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

    ``prescribe(problem, span=200)`` or ``prescribe(model, closure, span=200)``. The same batch is
    captured on every copy, before and after a few updates, the same number for each. The model is
    left untouched (weights, gradients, modes, hooks, buffers), and so are all random states.

    First come those whose gain at the span is useful, between 1 % and 100; see ``ranked``. That is
    no proof: a gradient that arrives is neither necessary nor enough to learn. The answer depends
    on the arguments alone, but for how many remedies ``seconds`` leave time for, and for
    what an update costs.

    Args:
        problem: what to treat; or a function that makes it anew, untreated and with the same
            weights, for each remedy; or a model.
        closure: of a model: runs it on a batch and returns the loss. The updates are then made by
            Adam with a learning rate of 1e-3, without clipping.
        span: how many steps back the task needs to see; default: the problem's; of a closure its
            longest lag. For a problem it may stand second.
        remedies: names for ``treated``; default: those that ``fitting`` finds.
        keep_cell: of those none that puts another cell in the place of a layer.
        most: try no more of them than these.
        updates: how many each copy makes.
        seconds: no further remedy is begun once so many are over; what is left out is named.
        seed: of the batches and of what remedies draw.

    Returns:
        The remedies, the best first; without any where the model is healthy, or the diagnosis
        cannot tell.

    Raises:
        InputError: the model or closure cannot be copied, the loss does not use the model that it
            is given, or a remedy is not known. Otherwise as ``diagnose``.
    """
    choose, bounds = _chosen(remedies, keep_cell), _Bounds(most, updates, seconds, seed)
    if not isinstance(problem, nn.Module) and not callable(problem):
        check_problem("prescribe", problem)
    problem, span, more = _as_problem(problem, closure, span, seed)
    span = None if span is None else checked_span(span, "prescribe")
    if not isinstance(problem, Problem):
        with randomness(seed):
            found = _prescription(problem, span, choose, bounds)
            same = _same_weights(problem(), problem())
        return found if same else replace(found, notes=(*found.notes, wording.OTHER_WEIGHTS))
    with randomness(seed, problem.model), kept(problem.model):
        _refuse_a_loss_of_its_own(problem, _copy(problem), seed)
        found = _prescription(partial(_copy, problem), span, choose, bounds)
    return replace(found, notes=(*found.notes, *more))


def _as_problem(
    problem: Problem | Callable[[], Problem] | nn.Module,
    closure: Closure | int | None,
    span: int | None,
    seed: int,
) -> tuple[Problem | Callable[[], Problem], int | None, tuple[str, ...]]:
    """What to treat, the span, and a note where that was not given."""
    if not isinstance(problem, nn.Module):
        if callable(closure):
            raise InputError("a closure goes with a model: a Problem has a loss of its own")
        if closure is not None and span is not None:
            raise InputError(f"the span is given twice: {closure} and {span}")
        return problem, span if closure is None else closure, ()
    if not callable(closure):
        raise InputError(
            "a model alone cannot be run: give prescribe(model, closure), where closure() runs it "
            "and returns the loss"
        )
    notes = () if span is not None else (wording.ASSUMED_SPAN,)
    span = longest_lag(problem, closure, seed) if span is None else span
    return from_pair(problem, closure, span), span, notes


def _chosen(remedies: Sequence[str] | None, keep_cell: bool) -> Choose:
    """The remedies that were asked for, whatever is found; or those that fit it."""
    if remedies is None:
        return partial(fitting, keep_cell=keep_cell)
    names = tuple(dict.fromkeys(canonical(name) for name in remedies))
    return lambda _diagnosis, _problem: names


def _prescription(
    make: Callable[[], Problem], span: int | None, choose: Choose, bounds: _Bounds
) -> Prescription:
    patient = make()
    check_problem("prescribe", patient)  # a function may have made something else
    batches = _drawn(patient, bounds.updates + 1, bounds.seed)
    reach = patient.span if span is None else span
    bench = Bench(make, batches[0], batches[1:], reach, bounds.seed)
    before = bench.diagnosis()
    if str(before.verdict) == "unknown":
        return Prescription(before, before.span, wording.unknown(before), notes=before.notes)
    if before.diseases == ("healthy",):
        return Prescription(before, before.span, wording.healthy(before), notes=before.notes)
    names = choose(before, patient)
    base = bench.untreated()
    tried = bench.tried(names, base, bounds.most, bounds.seconds)
    options = ranked(tried.options, base, tried.clipped, patient.trivial_loss)
    looked_at = {*tried.left_out, *(option.name for option in options)}
    looked_at |= {one.name for one in tried.refused}
    late = (wording.out_of_time(tried.left_out, bounds.seconds),) if tried.left_out else ()
    untried = [name for name in names if name not in looked_at]
    return Prescription(
        before,
        before.span,
        wording.result(options, before.span),
        base,
        options,
        tuple(tried.refused),
        len(batches) - 1,
        (*late, *wording.notes(before, base, options, untried), *before.notes),
        tried.left_out,
    )


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
