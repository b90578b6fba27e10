"""Treatments that are one verb of ``throughtime.remedies`` on the model: weights, set or kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Generator, nn

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
    """
    return Treatment(name, slot, sentence, paper, fits, partial(_apply, do), partial(_code, call))


def _apply(do: Do, problem: Problem, span: int, generator: Generator) -> Problem:
    do(problem.model, span, generator)
    return problem


def _code(call: str, problem: Problem, span: int) -> str:
    return f"tt.remedies.{call.format(model=place(problem.model), span=span)}"
