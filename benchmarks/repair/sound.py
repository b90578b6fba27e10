"""How a layer starts out, by name: what a textbook advises for a long memory, and torch's own."""

from __future__ import annotations

from collections.abc import Callable

from torch import Generator

from throughtime.problem import Problem
from throughtime.remedies import chrono_, forget_bias_, identity_, orthogonal_

Start = Callable[[Problem, Generator], Problem]


def _untouched(problem: Problem, _draw: Generator) -> Problem:
    return problem


def _orthogonal(problem: Problem, draw: Generator) -> Problem:
    orthogonal_(problem.model.get_submodule("recurrent"), generator=draw)
    return problem


def _identity(problem: Problem, draw: Generator) -> Problem:
    """ReLU and W_hh = I (Le, Jaitly & Hinton 2015), with larger input weights than theirs."""
    identity_(problem.model.get_submodule("recurrent"), input_std=0.1, generator=draw)
    return problem


def _chrono(problem: Problem, draw: Generator) -> Problem:
    chrono_(problem.model.get_submodule("recurrent"), max(3, problem.span), generator=draw)
    return problem


def _forget_bias(problem: Problem, _draw: Generator) -> Problem:
    forget_bias_(problem.model.get_submodule("recurrent"), 2.0)
    return problem


SOUND: dict[str, Start] = {
    "as torch makes it": _untouched,
    "orthogonal": _orthogonal,
    "identity": _identity,
    "chrono": _chrono,
    "forget bias 2": _forget_bias,
}
