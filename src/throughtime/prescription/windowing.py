"""The treatment of a truncated training: a window that the span fits into."""

from __future__ import annotations

from dataclasses import replace

from torch import Generator

from throughtime.errors import InputError
from throughtime.prescription.treatment import Treatment
from throughtime.problem import Problem

_SPANS = 2  # a window of one span shows the whole of it to its last step alone


def _apply(problem: Problem, span: int, _generator: Generator) -> Problem:
    if problem.window is None:
        raise InputError(
            f"{problem.name}: it is not trained in windows; where the model itself detaches its "
            "state, let it do so less often"
        )
    if problem.window >= _SPANS * span:
        raise InputError(f"{problem.name}: its window of {problem.window} steps is long enough")
    return replace(problem, window=_SPANS * span)


def _code(_problem: Problem, span: int) -> str:
    return f"problem = dataclasses.replace(problem, window={_SPANS * span})"


WINDOWING = (
    Treatment(
        "window",
        "window",
        "truncates backpropagation at twice the span, not before it",
        "Williams & Peng 1990",
        ("truncated",),
        _apply,
        _code,
    ),
)
