"""How far the gradient of a problem reaches on one batch: ``diagnose`` without its explanations."""

from __future__ import annotations

import warnings

import torch

from throughtime.diagnosis.decided import decide
from throughtime.errors import ThroughtimeWarning
from throughtime.prescription.answer import BROKEN, Reading
from throughtime.prescription.update import loss_on
from throughtime.problem import Batch, Problem
from throughtime.randomness import randomness
from throughtime.recording import observe
from throughtime.trace import Trace


def read(problem: Problem, batch: Batch, span: int, seed: int = 0) -> Reading:
    """Capture this batch and read how far its gradient reaches.

    Raises:
        ThroughtimeError: as ``observe``.
    """
    with randomness(seed, problem.model), warnings.catch_warnings():
        warnings.simplefilter("ignore", ThroughtimeWarning)  # the diagnosis gave them
        trace = observe(problem.model, loss_on(problem, batch))
    return of_trace(trace, span)


@torch.no_grad()
def of_trace(trace: Trace, span: int) -> Reading:
    """The reading of a captured run: that of whatever decides its diagnosis."""
    worst = decide(trace, span, "reach").worst
    if worst.verdict == "non-finite":
        return BROKEN
    return Reading(worst.verdict, worst.horizon, worst.reaches_end, worst.gain_at_span, worst.rate)
