"""One training of a case, untreated or with a remedy; and what is prescribed for the case."""

from __future__ import annotations

import math
import time
from typing import Any

from benchmarks.repair.case import Case
from benchmarks.repair.table import Record
from throughtime.errors import DivergedError, InputError
from throughtime.prescription import prescribe, treated
from throughtime.problem import Problem
from throughtime.training import Training, train

NONE = "none"
JUDGED_EVERY = 25  # updates


def learn(case: Case, remedy: str, repeat: int) -> Record:
    """Train a case with a remedy, or with none, until it is solved or its budget is spent.

    Weights, batches and budget are those of the untreated training of the same repeat.
    """
    seed, begun = case.seed + repeat, time.process_time()
    record: dict[str, Any] = {"case": case.name, "remedy": remedy, "repeat": repeat}
    last = Last()
    try:
        problem = case(seed)
        problem = treated(problem, remedy, problem.span, seed)
        last = Last(problem)
        training = train(
            problem,
            case.updates,
            seed=seed,
            measure_every=case.updates,  # before the first update, and after the last
            evaluate_every=JUDGED_EVERY,
            stop="solved",
            on_step=last.seen,
        )
        record |= _told(problem, training)
    except DivergedError:
        record |= {"status": "diverged", "solved at": None, "score": None, "updates": last.step}
    except InputError as error:
        record |= {"status": "refused", "solved at": None, "reason": str(error)}
    return {**record, "seconds": round(time.process_time() - begun, 1)}


class Last:
    """The last update that was made: of a training that diverges nothing else is left."""

    def __init__(self, problem: Problem | None = None) -> None:
        self.step = 0

    def seen(self, step: int, _loss: float) -> None:
        self.step = step


def _told(problem: Problem, training: Training) -> dict[str, Any]:
    assert problem.solved is not None
    return {
        "status": "solved" if training.solved_at is not None else "failed",
        "solved at": training.solved_at,
        "score": short(training.scores[problem.solved.score]),
        "updates": training.steps,
        "horizons": [one.horizon for one in training.horizons],
        "gains": [short(one.gain_at_span) for one in training.horizons],
    }


def prescription(case: Case) -> Record:
    """What a diagnosis says of the untrained network, and the remedies in their order."""
    begun = time.process_time()
    problem = case(case.seed)
    found = prescribe(problem, seconds=math.inf, seed=case.seed)  # as ``treat`` does
    return {
        "case": case.name,
        "span": problem.span,
        "criterion": str(problem.solved),
        "verdict": found.before.verdict,
        "diseases": list(found.before.diseases),
        "horizon": found.before.horizon,
        "options": [
            {
                "remedy": option.name,
                "horizon": option.first.horizon,
                "gain": short(option.first.gain_at_span),
                "cost": short(option.cost),
            }
            for option in found.options
        ],
        "seconds": round(time.process_time() - begun, 1),
    }


def short(value: float | None) -> float | None:
    """Three digits, so that a line of the table stays readable; None where it is no number."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.3g}")
