"""Treatments that add to the gradient, while training, what keeps it alive on its way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Generator, Tensor, nn

from throughtime.errors import InputError
from throughtime.prescription.treatment import Treatment
from throughtime.problem import Problem
from throughtime.remedies.regularisation import Omega, Reconstruction

Backward = Callable[[nn.Module, Callable[[], Tensor]], Tensor]


def _regulariser(
    name: str,
    make: Callable[[], Backward],
    made: str,
    sentence: str,
    paper: str,
    fits: tuple[str, ...],
) -> Treatment:
    apply, code = partial(_apply, make), partial(_code, name, made)
    return Treatment(name, "gradient", sentence, paper, fits, apply, code)


def _apply(
    make: Callable[[], Backward], problem: Problem, _span: int, _generator: Generator
) -> Problem:
    if problem.backward is not None:
        raise InputError(f"{problem.name}: it has a backward of its own, which would be lost")
    return replace(problem, backward=make())


def _code(name: str, made: str, _problem: Problem, _span: int) -> str:
    return (
        f"{name} = tt.remedies.{made}\n"
        f"loss = {name}(model, lambda: criterion(model(x), y))  # in place of loss.backward()"
    )


REGULARISING = (
    _regulariser(
        "omega",
        Omega,
        "Omega()",
        "asks the recurrent matrix to keep the length of the gradient at every step",
        "Pascanu, Mikolov & Bengio 2013",
        ("vanishing",),
    ),
    _regulariser(
        "reconstruction",
        Reconstruction,
        "Reconstruction()",
        "asks the states to tell, at random steps, what was read before",
        "Trinh, Dai, Luong & Le 2018",
        ("vanishing", "bottleneck"),
    ),
)
