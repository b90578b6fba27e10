"""The treatment of the window of truncated backpropagation: long enough, no longer than useful."""

from __future__ import annotations

from dataclasses import replace

from torch import Generator

from throughtime.errors import InputError
from throughtime.measures.lyapunov import CHAOTIC
from throughtime.prescription.treatment import Treatment
from throughtime.problem import Problem
from throughtime.recording import observe
from throughtime.remedies.window import suggest_window

_SPANS = 2  # a window of one span shows the whole of it to its last step alone


def _apply(problem: Problem, span: int, _generator: Generator) -> Problem:
    if problem.windows is None or problem.carry is None:
        raise InputError(
            f"{problem.name} cannot be cut through time: give its Problem windows= and carry=; "
            "where the model detaches its state by itself, let it do so less often"
        )
    whole = replace(problem, window=None)
    found = suggest_window(observe(whole.model, whole.closure))
    chaotic = found.exponent is not None and found.exponent > CHAOTIC
    window = found.steps if chaotic else _SPANS * span
    if problem.window == window or (not chaotic and (problem.window or window) >= window):
        raise InputError(f"{problem.name}: neither is it cut too short, nor is it chaotic")
    return replace(problem, window=window)


def _code(problem: Problem, _span: int) -> str:
    return f"problem = dataclasses.replace(problem, window={problem.window})"


WINDOWING = (
    Treatment(
        "window",
        "window",
        "cuts backpropagation at twice the span, or where chaos drowns the gradient",
        "Williams & Peng 1990; Mikhaeil, Monfared & Durstewitz 2022",
        ("truncated", "chaotic"),
        _apply,
        _code,
    ),
)
