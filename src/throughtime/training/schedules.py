"""How the learning rate changes: a factor for each update, by name or as a function of yours."""

from __future__ import annotations

import math
from collections.abc import Callable

from throughtime.errors import InputError, unknown

Schedule = Callable[[int], float]  # updates made before this one -> factor on the learning rate

_WARM_UP = 0.1  # share of the updates over which a warm-up rises


def make_schedule(schedule: str | Schedule | None, steps: int) -> Schedule | None:
    """The schedule of that name over ``steps`` updates; a function and None pass through."""
    if schedule is None or callable(schedule):
        return schedule
    shape = SCHEDULES[schedule]
    return lambda step: shape(step / max(1, steps))


def check_schedule(schedule: str | Schedule | None) -> None:
    """Raises ``InputError`` if there is no schedule of that name."""
    if isinstance(schedule, str) and schedule not in SCHEDULES:
        raise InputError(unknown("schedule", schedule, SCHEDULES))


def constant(_done: float) -> float:
    """The learning rate as it is."""
    return 1.0


def linear(done: float) -> float:
    """Falls on a line, to zero after the last update."""
    return max(0.0, 1.0 - done)


def cosine(done: float) -> float:
    """Falls on half a cosine, to zero after the last update (Loshchilov & Hutter 2017, eq. 5)."""
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def warm_up(decay: Callable[[float], float]) -> Callable[[float], float]:
    """Rises on a line over the first tenth of the updates; ``decay`` lies over the rest."""

    def shape(done: float) -> float:
        if done < _WARM_UP:
            return (done + 1e-3) / (_WARM_UP + 1e-3)  # no update is lost to a rate of zero
        return decay((done - _WARM_UP) / (1.0 - _WARM_UP))

    return shape


# Each takes the share of all updates that was made before this one.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "warmup-linear": warm_up(linear),
    "warmup-cosine": warm_up(cosine),
}
