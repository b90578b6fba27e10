"""How far the gradient of a problem reaches on one batch: ``diagnose`` without its explanations."""

from __future__ import annotations

import warnings

import torch

from throughtime.capture import observe
from throughtime.diagnosis import nonfinite, reach
from throughtime.errors import ThroughtimeWarning
from throughtime.measures.lags import LagSweep, stack_of
from throughtime.prescription.answer import BROKEN, Reading
from throughtime.prescription.update import loss_on
from throughtime.problem import Batch, Problem
from throughtime.randomness import randomness
from throughtime.trace import Trace

_WORST_FIRST = ("non-finite", "exploding", "vanishing", "unknown", "healthy")
_ANCHORS, _MARKED_ANCHORS = 24, 8


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
    """The reading of a captured run: that of its stack, or of its worst layer."""
    if nonfinite.find(trace):
        return BROKEN
    layers, _ = stack_of(trace)
    if len(layers) > 1:
        sweeps = [(LagSweep.run(trace, anchors=_ANCHORS), layers[-1].steps)]
    else:
        marked = {True: _MARKED_ANCHORS, False: _ANCHORS}
        sweeps = [(LagSweep.run(one, anchors=marked[one.marked]), one.steps) for one in trace]
    found = [reach.read(sweep.gains(), steps, span) for sweep, steps in sweeps]
    worst = min(found, key=_severity)
    return Reading(worst.verdict, worst.horizon, worst.reaches_end, worst.gain_at_span, worst.rate)


def _severity(found: reach.Reach) -> tuple[int, float]:
    horizon = float("inf") if found.horizon is None else found.horizon
    return _WORST_FIRST.index(found.verdict), horizon
