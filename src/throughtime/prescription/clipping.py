"""Treatments that bound the gradient of the parameters, between the backward pass and the update.

None of them changes how a gradient travels through time: they bound the step that it makes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Generator, nn

from throughtime.errors import InputError
from throughtime.prescription.places import expression, recurrent_modules
from throughtime.prescription.treatment import Treatment
from throughtime.problem import Clipper, Problem
from throughtime.remedies.clipping import AGC, AutoClip, ZClip

MAX_NORM = 1.0
_FITS = ("non-finite", "exploding", "chaotic", "transient growth")


def _clip(problem: Problem, _span: int, _generator: Generator) -> Problem:
    if isinstance(problem.clip, int | float) and problem.clip <= MAX_NORM:
        raise InputError(
            f"{problem.name}: its gradient is clipped already, at a norm of {problem.clip:g}"
        )
    return replace(problem, clip=MAX_NORM)


def _clip_code(_problem: Problem, _span: int) -> str:
    called = f"tt.remedies.clip_grad_norm_(model.parameters(), max_norm={MAX_NORM:g})"
    return f"{called}  # between loss.backward() and optimizer.step()"


def _clipper(make: Callable[[Problem], Clipper], problem: Problem, *_: object) -> Problem:
    return replace(problem, clip=make(problem))


def _clipper_code(made: Callable[[Problem], str], problem: Problem, _span: int) -> str:
    return (
        f"clipper = tt.remedies.{made(problem)}\n"
        "clipper(list(model.parameters()))  # between loss.backward() and optimizer.step()"
    )


def _readout(problem: Problem) -> str | None:
    """The last linear layer outside of the recurrent ones: AGC leaves it alone."""
    recurrent = tuple(f"{name}." for name in recurrent_modules(problem.model))
    linear = [
        name
        for name, part in problem.model.named_modules()
        if isinstance(part, nn.Linear) and not name.startswith(recurrent)
    ]
    return linear[-1] if linear else None


def _agc(problem: Problem) -> AGC:
    readout = _readout(problem)
    return AGC(exclude=() if readout is None else problem.model.get_submodule(readout))


def _agc_code(problem: Problem) -> str:
    readout = _readout(problem)
    return "AGC()" if readout is None else f"AGC(exclude={expression(readout)})"


def _adaptive(
    name: str,
    sentence: str,
    paper: str,
    make: Callable[[Problem], Clipper],
    made: Callable[[Problem], str],
) -> Treatment:
    apply, code = partial(_clipper, make), partial(_clipper_code, made)
    return Treatment(name, "clipping", sentence, paper, _FITS, apply, code)


CLIPPING = (
    Treatment(
        "clip",
        "clipping",
        "scales the gradient of all parameters together down to a norm of 1",
        "Pascanu, Mikolov & Bengio 2013",
        _FITS,
        _clip,
        _clip_code,
    ),
    _adaptive(
        "autoclip",
        "clips the gradient at the 10th percentile of its own past norms",
        "Seetharaman, Wichern, Pardo & Le Roux 2020",
        lambda _problem: AutoClip(),
        lambda _problem: "AutoClip()",
    ),
    _adaptive(
        "zclip",
        "clips those gradients that stand out of the recent ones",
        "Kumar, Owen, Roy Chowdhury & Güra 2025",
        lambda _problem: ZClip(),
        lambda _problem: "ZClip()",
    ),
    _adaptive(
        "agc",
        "clips the gradient of every unit to a share of the norm of its weights",
        "Brock, De, Smith & Simonyan 2021",
        _agc,
        _agc_code,
    ),
)
