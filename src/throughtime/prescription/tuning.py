"""Treatments that measure while they set: rate, or exponents, brought to 0 along the data."""

from __future__ import annotations

from torch import Generator, Tensor

from throughtime.prescription.by_hand import of_mark, own_matrices
from throughtime.prescription.places import expression, place
from throughtime.prescription.treatment import Treatment
from throughtime.prescription.update import loss_on
from throughtime.problem import Problem
from throughtime.remedies.initialisation.critical import critical_
from throughtime.remedies.regularisation import Flossing, floss_

# Of flossing: in seconds, and enough to bring a fading Elman network of 32 to 128 units near 0.
_STEPS, _RATE, _EXPONENTS, _SEQUENCES = 50, 1e-2, 4, 2
_FITS = ("vanishing", "exploding", "chaotic", "gates closed", "transient growth")
_LOSS = "lambda: criterion(model(x), y)"


def _critical(problem: Problem, span: int, _generator: Generator) -> Problem:
    batch = next(iter(problem.batches(0)))
    own = None
    if own_matrices(problem.model):
        own = {mark: problem.model.get_parameter(name) for mark, name in of_mark(problem).items()}
    critical_(problem.model, loss_on(problem, batch), span, own=own)
    return problem


def _critical_code(problem: Problem, span: int) -> str:
    if own_matrices(problem.model):
        ((mark, name),) = of_mark(problem).items()
        own = f"{{{mark!r}: {expression(name)}}}"
        return f"tt.remedies.critical_(model, {_LOSS}, span={span}, own={own})"
    return f"tt.remedies.critical_({place(problem.model)}, {_LOSS}, span={span})"


def _flossing(problem: Problem, _span: int, _generator: Generator) -> Problem:
    batches = iter(problem.batches(0))

    def closure() -> Tensor:
        return problem.loss(problem.model, next(batches))

    flossing = Flossing(_EXPONENTS, sequences=_SEQUENCES)
    floss_(problem.model, closure, _STEPS, lr=_RATE, flossing=flossing)
    return problem


def _flossing_code(_problem: Problem, _span: int) -> str:
    return (
        f"flossing = tt.remedies.Flossing(k={_EXPONENTS}, sequences={_SEQUENCES})\n"
        f"tt.remedies.floss_(model, {_LOSS}, steps={_STEPS}, lr={_RATE:g}, flossing=flossing)"
    )


TUNING = (
    Treatment(
        "critical",
        "gain",
        "tunes the gain, or the forget gates, until the measured rate on a batch is 0",
        "data-dependent, as Mishkin & Matas 2016 for depth",
        _FITS,
        _critical,
        _critical_code,
    ),
    Treatment(
        "flossing",
        "gain",
        "brings the leading Lyapunov exponents near 0 before training, by gradient descent",
        "Engelken 2023",
        (*_FITS, "saturated", "bottleneck"),
        _flossing,
        _flossing_code,
    ),
)
