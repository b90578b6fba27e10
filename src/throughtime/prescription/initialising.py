"""Treatments that only change the first weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Generator, nn

from throughtime.prescription.places import place
from throughtime.prescription.treatment import Slot, Treatment
from throughtime.problem import Problem
from throughtime.remedies.initialisation import chrono_, forget_bias_, identity_, orthogonal_

_Initialise = Callable[[nn.Module, int, Generator], object]


def _treatment(
    name: str,
    slot: Slot,
    verb: str,
    arguments: str,
    initialise: _Initialise,
    sentence: str,
    paper: str,
    fits: tuple[str, ...],
) -> Treatment:
    apply, code = partial(_apply, initialise), partial(_code, verb, arguments)
    return Treatment(name, slot, sentence, paper, fits, apply, code)


def _apply(initialise: _Initialise, problem: Problem, span: int, generator: Generator) -> Problem:
    initialise(problem.model, span, generator)
    return problem


def _code(verb: str, arguments: str, problem: Problem, span: int) -> str:
    return f"tt.remedies.{verb}({place(problem.model)}{arguments.format(t_max=t_max(span))})"


def t_max(span: int) -> int:
    """The longest time scale of a task that looks back so far: its shortest one is 2 steps."""
    return max(3, span)


INITIALISING = (
    _treatment(
        "orthogonal",
        "matrix",
        "orthogonal_",
        "",
        lambda module, _span, draw: orthogonal_(module, generator=draw),
        "gives every gate a random orthogonal recurrent matrix",
        "Saxe, McClelland & Ganguli 2014",
        ("vanishing", "exploding", "chaotic", "transient growth", "saturated", "bottleneck"),
    ),
    _treatment(
        "identity",
        "matrix",
        "identity_",
        "",
        lambda module, _span, draw: identity_(module, generator=draw),
        "starts the recurrent matrix at the identity, small inputs, no bias",
        "Le, Jaitly & Hinton 2015",
        ("vanishing", "exploding", "chaotic", "transient growth", "saturated"),
    ),
    _treatment(
        "chrono",
        "gates",
        "chrono_",
        ", t_max={t_max}",
        lambda module, span, draw: chrono_(module, t_max(span), generator=draw),
        "sets the gates so that the units forget at time scales up to the span",
        "Tallec & Ollivier 2018",
        ("vanishing", "gates closed"),
    ),
    _treatment(
        "forget-bias",
        "gates",
        "forget_bias_",
        "",
        lambda module, _span, _draw: forget_bias_(module),
        "starts the forget gates open, with a bias of 1",
        "Gers, Schmidhuber & Cummins 2000",
        ("vanishing", "gates closed"),
    ),
)
