"""Treatments that the catalogue of remedies declares: of layers of other kinds than torch's."""

from __future__ import annotations

from functools import partial

from torch import Generator, nn

from throughtime.prescription.places import expression
from throughtime.prescription.treatment import Treatment
from throughtime.problem import Problem
from throughtime.remedies.catalogue import CATALOGUE
from throughtime.remedies.remedy import Remedy


def _apply(remedy: Remedy, problem: Problem, span: int, generator: Generator) -> Problem:
    remedy.do(problem.model, span, generator)
    return problem


def _code(remedy: Remedy, problem: Problem, span: int) -> str:
    return f"tt.remedies.{remedy.call.format(model=_place(remedy, problem.model), span=span)}"


def _place(remedy: Remedy, model: nn.Module) -> str:
    """The one module that holds what the remedy sets, as it is typed; ``model`` for several."""
    holders = [name for name, part in model.named_modules() if remedy.found_in(part)]
    innermost = [
        name
        for name in holders
        if not any(
            other != name and other.startswith(f"{name}." if name else "") for other in holders
        )
    ]
    return expression(innermost[0]) if len(innermost) == 1 and innermost[0] else "model"


CATALOGUED = tuple(
    Treatment(
        one.name,
        one.slot,
        one.sentence,
        one.paper,
        one.fits,
        partial(_apply, one),
        partial(_code, one),
    )
    for one in CATALOGUE.values()
)
