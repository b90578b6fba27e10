"""Treatments that bound the gradient of the parameters, between the backward pass and the update.

None of them changes how a gradient travels through time: they bound the step that it makes.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Generator

from throughtime.errors import InputError
from throughtime.prescription.treatment import Treatment
from throughtime.problem import Problem

MAX_NORM = 1.0
_BOUNDS = ("exploding", "chaotic", "transient growth", "non-finite")


def _clip(problem: Problem, _span: int, _generator: Generator) -> Problem:
    if isinstance(problem.clip, int | float) and problem.clip <= MAX_NORM:
        raise InputError(
            f"{problem.name}: its gradient is clipped already, at a norm of {problem.clip:g}"
        )
    return replace(problem, clip=MAX_NORM)


def _clip_code(_problem: Problem, _span: int) -> str:
    return f"torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm={MAX_NORM:g})"


CLIPPING = (
    Treatment(
        "clip",
        "clipping",
        "scales the gradient of all parameters together down to a norm of 1",
        "Pascanu, Mikolov & Bengio 2013",
        _BOUNDS,
        _clip,
        _clip_code,
    ),
)
