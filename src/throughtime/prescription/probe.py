"""A few updates of several copies side by side: what a step costs, what the first ones bring."""

from __future__ import annotations

import time
from collections.abc import Sequence

from throughtime.prescription.update import Trainee
from throughtime.problem import Batch

FEWEST = 3  # rounds: fewer have no median worth its name


def probe(
    trainees: Sequence[Trainee], batches: Sequence[Batch], seconds: float, seed: int = 0
) -> int:
    """Train all of them, turn by turn, until the batches or the time are used up.

    They take turns, update by update on the same batches, another one first each time: what else
    the machine does meanwhile slows all of them alike, and cancels in the ratio of their times.

    Args:
        trainees: each is trained in place.
        batches: one for each round.
        seconds: no round is begun later, but for the first ``FEWEST``.
        seed: of what the models draw in each update.

    Returns:
        How many updates each of them made.
    """
    started = time.perf_counter()
    for made, batch in enumerate(batches):
        if made >= FEWEST and time.perf_counter() - started > seconds:
            return made
        for turn in range(len(trainees)):
            trainees[(made + turn) % len(trainees)].update(batch, seed + made)
    return len(batches)
