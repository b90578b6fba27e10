"""What paired trials show: an exact test, an interval, and what so few seeds could show at best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
"""Up to this corrected p a remedy helped, and no further; intervals hold 1 − LEVEL."""

_EXACT_UP_TO = 16  # pairs: 2^16 signs
_TIE = 1e-12  # of the sum of all sizes: sums that differ by less are equal, but for rounding
_DRAWS = 9999
_SEED = 0


@dataclass(frozen=True)
class Comparison:
    """Differences of one outcome over the seeds: treated less untreated, one for each seed.

    Attributes:
        differences: seed by seed, in the unit of the outcome.
        mean: of them.
        low, high: bootstrap interval of the mean (percentiles, 95 %); None for a single seed. With
            few seeds it is too narrow: nothing is decided by it.
        p: one-sided, of the paired permutation test: how often a mean at least as good comes up if
            the sign of every difference is left to chance. Exact up to 16 seeds.
        smallest: the smallest ``corrected`` that so many seeds, and so many comparisons, can give.
        corrected: p after Holm's correction for the comparisons that were made together.
        harm: the same of the other side: a mean at least as bad, corrected.
    """

    differences: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    p: float
    corrected: float
    smallest: float
    harm: float = 1.0

    @property
    def proven(self) -> bool:
        """Whether it is better than chance explains, all comparisons considered."""
        return self.corrected <= LEVEL

    @property
    def harmful(self) -> bool:
        """Whether it is worse than chance explains, all comparisons considered."""
        return self.harm <= LEVEL

    def away(self, sign: int) -> bool:
        """Whether the interval lies on this side of 0 (+1 above, −1 below)."""
        if self.low is None or self.high is None:
            return sign * self.mean > 0
        return min(sign * self.low, sign * self.high) > 0


def compare(arms: Sequence[Sequence[float]], better: int = 1) -> list[Comparison]:
    """One comparison for each arm from its paired differences, corrected for all of them.

    Whatever the arms share, at most one family of remedies in 20 without any effect has an arm that
    is ``proven``: the test is exact for pairs that could as well be swapped, and Holm's procedure
    holds for dependent tests.

    Args:
        arms: for each remedy its differences, one for each seed, at least one.
        better: the sign of a difference to the good: +1, or −1 for a loss.
    """
    alone = [_alone(list(differences), better, len(arms)) for differences in arms]
    corrected, harm = holm([one.p for one in alone]), holm([one.harm for one in alone])
    return [
        replace(one, corrected=p, harm=worse)
        for one, p, worse in zip(alone, corrected, harm, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected by Holm's step-down procedure (Holm 1979), in the same order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, (len(order) - rank) * p_values[place])
        corrected[place] = min(1.0, largest)
    return corrected


def smallest_p(seeds: int, comparisons: int = 1) -> float:
    """The smallest corrected p of so many pairs: all differences to the good, 1 of 2^n cases."""
    return min(1.0, comparisons * 2.0**-seeds)


def seeds_needed(comparisons: int = 1) -> int:
    """The fewest seeds whose smallest corrected p is at most ``LEVEL``."""
    return math.ceil(math.log2(comparisons / LEVEL))


def _alone(differences: list[float], better: int, comparisons: int) -> Comparison:
    """The comparison of one arm, its p not corrected yet."""
    found = np.array(differences, dtype=np.float64)
    p, harm = _tested(better * found), _tested(-better * found)
    low, high = _interval(found)
    smallest = smallest_p(len(found), comparisons)
    return Comparison(tuple(differences), float(found.mean()), low, high, p, p, smallest, harm)


def _tested(gains: NDArray[np.float64]) -> float:
    """How often the sum is at least as large if every sign is left to chance."""
    sums = _signs(len(gains)) @ np.abs(gains)
    as_large = sums >= gains.sum() - _TIE * np.abs(gains).sum()
    return float(as_large.mean())


@cache
def _signs(pairs: int) -> NDArray[np.float64]:
    """All choices of signs, one a row; of many pairs a part, and a row for what was seen."""
    if pairs <= _EXACT_UP_TO:
        return np.array(list(product((1.0, -1.0), repeat=pairs)))
    drawn = np.random.default_rng(_SEED).choice((1.0, -1.0), (_DRAWS, pairs))
    return np.vstack([np.ones(pairs), drawn])


def _interval(found: NDArray[np.float64]) -> tuple[float, float] | tuple[None, None]:
    """The bootstrap interval of the mean: percentiles."""
    if len(found) == 1:
        return None, None
    means = found[_resamples(len(found))].mean(axis=1)
    low, high = np.percentile(means, [50 * LEVEL, 100 - 50 * LEVEL])
    return float(low), float(high)


@cache
def _resamples(pairs: int) -> NDArray[np.int64]:
    """Places of pairs, drawn with replacement, a sample in each row."""
    return np.random.default_rng(_SEED).integers(0, pairs, (_DRAWS, pairs))
