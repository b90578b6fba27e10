"""The treatment that measures before it sets: the gain, or the forget gates, at a rate of 0."""

from __future__ import annotations

from torch import Generator

from throughtime.prescription.places import place
from throughtime.prescription.treatment import Treatment
from throughtime.prescription.update import loss_on
from throughtime.problem import Problem
from throughtime.remedies.critical import critical_


def _apply(problem: Problem, span: int, _generator: Generator) -> Problem:
    batch = next(iter(problem.batches(0)))
    critical_(problem.model, loss_on(problem, batch), span)
    return problem


def _code(problem: Problem, span: int) -> str:
    closure = "lambda: criterion(model(x), y)"
    return f"tt.remedies.critical_({place(problem.model)}, {closure}, span={span})"


TUNING = (
    Treatment(
        "critical",
        "gain",
        "tunes the gain, or the forget gates, until the measured rate on a batch is 0",
        "data-dependent, as Mishkin & Matas 2016 for depth",
        ("vanishing", "exploding", "chaotic", "gates closed", "transient growth"),
        _apply,
        _code,
    ),
)
