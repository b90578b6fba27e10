"""Worlds where no remedy does anything, and worlds where the first one does."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from benchmarks.chance.studies import World

Losses = NDArray[np.float64]
_SOLVED, _UNSOLVED = 0.01, 0.6


def _normal(draw: np.random.Generator, arms: int, seeds: int) -> Losses:
    """A share that a seed's arms have in common, and one of each training."""
    return np.exp(0.5 * draw.normal(size=(1, seeds)) + 0.3 * draw.normal(size=(arms, seeds)))


def _heavy(draw: np.random.Generator, arms: int, seeds: int) -> Losses:
    return np.asarray(np.abs(draw.standard_cauchy((arms, seeds))) + 1e-3)


def _tied(draw: np.random.Generator, arms: int, seeds: int) -> Losses:
    return draw.integers(1, 4, (arms, seeds)) / 4


def _diverging(draw: np.random.Generator, arms: int, seeds: int) -> Losses:
    lost = draw.random((arms, seeds)) < 0.3
    return np.where(lost, math.inf, _normal(draw, arms, seeds))


def _lucky(draw: np.random.Generator, arms: int, seeds: int) -> Losses:
    """Every training is solved by luck, each with the chance of the study."""
    solved = draw.random((arms, seeds)) < draw.uniform(0.05, 0.95)
    return np.where(solved, _SOLVED, _UNSOLVED) * np.exp(0.1 * draw.normal(size=(arms, seeds)))


def _lucky_or_lost(draw: np.random.Generator, arms: int, seeds: int) -> Losses:
    return np.where(draw.random((arms, seeds)) < 0.2, math.inf, _lucky(draw, arms, seeds))


def _an_outlier(draw: np.random.Generator, arms: int, seeds: int) -> Losses:
    """One training in ten is a hundred times as bad: all arms share one untreated model."""
    return _normal(draw, arms, seeds) * np.where(draw.random((arms, seeds)) < 0.1, 100.0, 1.0)


def _flat(draw: np.random.Generator, arms: int, seeds: int) -> Losses:
    """Nothing learns: all at the loss of an answer that ignores its input, 1.0."""
    return np.asarray(1.0 + 0.002 * draw.normal(size=(arms, seeds)))


NOTHING_HELPS: dict[str, World] = {
    "loss, normal": World(_normal),
    "loss, heavy tails": World(_heavy),
    "loss, ties": World(_tied),
    "loss, 30 % diverge": World(_diverging),
    "loss, outliers": World(_an_outlier),
    "loss, nothing learns": World(_flat, trivial_loss=1.0),
    "solved by luck": World(_lucky, solving=True),
    "solved by luck, 20 % diverge": World(_lucky_or_lost, solving=True),
}
"""In each all arms are drawn alike."""


def _solving(untreated: float, treated: float) -> World:
    """The first remedy solves this share, all other arms that of the untreated model."""

    def draw(generator: np.random.Generator, arms: int, seeds: int) -> Losses:
        chance = np.full((arms, 1), untreated)
        chance[1] = treated
        return np.where(generator.random((arms, seeds)) < chance, _SOLVED, _UNSOLVED)

    return World(draw, solving=True)


def _lowering(by: float) -> World:
    """The first remedy lowers the loss by so many standard deviations of a pair's difference."""

    def draw(generator: np.random.Generator, arms: int, seeds: int) -> Losses:
        shift = np.zeros((arms, 1))
        shift[1] = by * math.sqrt(2)
        noise = generator.normal(size=(arms, seeds)) - shift
        return np.asarray(10.0 + generator.normal(size=(1, seeds)) + noise)

    return World(draw)


ONE_HELPS: dict[str, World] = {
    "solves 100 %, untreated 0 %": _solving(0.0, 1.0),
    "solves 95 %, untreated 5 %": _solving(0.05, 0.95),
    "solves 90 %, untreated 10 %": _solving(0.10, 0.90),
    "lowers the loss by 4 deviations": _lowering(4.0),
    "lowers the loss by 2 deviations": _lowering(2.0),
    "lowers the loss by 1 deviation": _lowering(1.0),
}
