"""The treatment inside the recurrence: the gradient of every state, clipped at every step."""

from __future__ import annotations

import torch
from torch import Generator, nn

from throughtime.errors import InputError
from throughtime.prescription.places import place
from throughtime.prescription.treatment import Treatment
from throughtime.problem import Problem
from throughtime.recording import observe
from throughtime.remedies.clipping.states import ClippedForward, clip_states_

# Times what the loss itself sends into a state: more can only have grown on the way.
_TIMES = 10.0


def usual_norm(problem: Problem) -> float:
    """The norm of the gradient that the loss sends into one state of one sequence, the median.

    Raises:
        InputError: none is finite and above 0.
    """
    trace = observe(problem.model, problem.closure)
    norms = torch.cat([layer.direct.double().norm(dim=-1).flatten() for layer in trace])
    usual = norms[torch.isfinite(norms) & (norms > 0)]
    if not len(usual):
        raise InputError(f"{problem.name}: the loss sends no finite gradient into any state")
    return float(usual.median())


def _apply(problem: Problem, _span: int, _generator: Generator) -> Problem:
    clip_states_(problem.model, float(f"{_TIMES * usual_norm(problem):.2g}"))
    return problem


def _code(problem: Problem, _span: int) -> str:
    bound = _bound(problem.model)
    return f"tt.remedies.clip_states_({place(problem.model)}, max_norm={bound:g})"


def _bound(model: nn.Module) -> float:
    forwards = (vars(module).get("forward") for module in model.modules())
    return next(one.clip.max_norm for one in forwards if isinstance(one, ClippedForward))


STATES = (
    Treatment(
        "clip-states",
        "states",
        "clips the gradient of every state, at every step of its way back",
        "Graves 2013",
        ("exploding", "chaotic", "transient growth", "non-finite"),
        _apply,
        _code,
    ),
)
