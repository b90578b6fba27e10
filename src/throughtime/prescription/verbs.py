"""Treatments that are one verb of ``throughtime.remedies`` on the model: weights, set or kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Generator, nn

from throughtime.prescription.by_hand import ByHand, own_matrices
from throughtime.prescription.places import place
from throughtime.prescription.treatment import Slot, Treatment
from throughtime.problem import Problem

Do = Callable[[nn.Module, int, Generator], object]


def verb(
    name: str,
    slot: Slot,
    do: Do,
    call: str,
    sentence: str,
    paper: str,
    fits: tuple[str, ...],
    by_hand: ByHand | None = None,
) -> Treatment:
    """A treatment that changes the model in place, and nothing else of the problem.

    Args:
        name: of the treatment.
        slot: what it sets.
        do: ``do(model, span, generator)``.
        call: the same as a user types it: ``"chrono_({model}, t_max={span})"``.
        sentence: what it does.
        paper: whose it is.
        fits: the diseases that it is meant for.
        by_hand: the same for a recurrence by hand, where there is that.
    """
    apply, code = partial(_apply, do, by_hand), partial(_code, call, by_hand)
    return Treatment(name, slot, sentence, paper, fits, apply, code)


def _apply(
    do: Do, by_hand: ByHand | None, problem: Problem, span: int, generator: Generator
) -> Problem:
    if by_hand is not None and own_matrices(problem.model):
        by_hand.apply(problem.model, generator)
    else:
        do(problem.model, span, generator)
    return problem


def _code(call: str, by_hand: ByHand | None, problem: Problem, span: int) -> str:
    if by_hand is not None and own_matrices(problem.model):
        return by_hand.code(problem.model)
    return f"tt.remedies.{call.format(model=place(problem.model), span=span)}"
