"""What is looked at while a model trains, without disturbing it: its scores, its gradient flow."""

from __future__ import annotations

import warnings
from functools import partial

from throughtime.diagnosis import diagnose
from throughtime.errors import InputError, LoadError, ThroughtimeError, ThroughtimeWarning, plain
from throughtime.findings import Diagnosis
from throughtime.problem import Batch, Problem
from throughtime.randomness import undisturbed
from throughtime.recording import observe
from throughtime.training.result import Reach, Scores


def evaluate(problem: Problem) -> Scores:
    """The scores of the model on the problem's held-out data.

    Raises:
        InputError: they are no named numbers.
    """
    assert problem.evaluate is not None
    with undisturbed(problem.model):
        found = problem.evaluate(problem.model)
    try:
        return {str(name): float(score) for name, score in found.items()}
    except (AttributeError, TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{plain(problem.name)}: evaluate(model) must return named numbers, such as "
            f"{{'loss': 0.1}}, and returned {plain(repr(found))[:80]}"
        ) from None


class Gauge:
    """Measures how far back the gradient of a model in training reaches.

    A model that cannot be measured trains on: the reason is told once, as a warning.

    Args:
        problem: what is trained.
        span: how many steps back the task needs to see; None for the problem's.
    """

    def __init__(self, problem: Problem, span: int | None) -> None:
        self._problem = problem
        self._span = problem.span if span is None else span
        self._broken = False

    def __call__(self, step: int, batch: Batch) -> Reach | None:
        """The reach after ``step`` updates, from one batch; None if it cannot be measured."""
        if self._broken:
            return None
        try:
            found = self._look(batch)
        except LoadError:  # the user's own code, which the update will not run either
            raise
        except (ThroughtimeError, ArithmeticError, ValueError) as error:
            self._broken = True
            warnings.warn(
                f"the gradient flow of {self._problem.name} is not measured: {error}",
                ThroughtimeWarning,
                stacklevel=2,
            )
            return None
        deciding = next(one for one in found.layers if one.name == found.decided_by)
        return Reach(step, found.horizon, deciding.gain_at_span)

    def _look(self, batch: Batch) -> Diagnosis:
        problem = self._problem
        with undisturbed(problem.model), warnings.catch_warnings():
            warnings.simplefilter("ignore", ThroughtimeWarning)  # every time the same
            trace = observe(problem.model, partial(problem.loss, problem.model, batch))
            return diagnose(trace, self._span)
