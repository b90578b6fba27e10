"""What paired trials show: an interval, an exact test, and what so few seeds could show at best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

LEVEL = 0.05
"""A corrected p up to this is called proof; intervals hold 1 − LEVEL."""

_EXACT_UP_TO = 16  # pairs: 2^16 signs
_DRAWS = 9999
_SEED = 0


@dataclass(frozen=True)
class Comparison:
    """Differences of one outcome over the seeds: treated less untreated, one for each seed.

    Attributes:
        differences: seed by seed, in the unit of the outcome.
        mean: of them.
        low, high: bootstrap interval of the mean (percentiles, 95 %); None for a single seed. With
            few seeds it is too narrow: read it beside ``p``.
        p: two-sided, of the paired permutation test: how often a mean at least as far from 0 comes
            up if the sign of every difference is left to chance. Exact up to 16 seeds.
        smallest: the smallest ``corrected`` that so many seeds, and so many comparisons, can give.
        corrected: p after Holm's correction for the comparisons that were made together.
    """

    differences: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    p: float
    corrected: float
    smallest: float

    @property
    def proven(self) -> bool:
        """Whether chance is an unlikely explanation, all comparisons considered."""
        return self.corrected <= LEVEL

    def away(self, sign: int) -> bool:
        """Whether the interval lies on this side of 0 (+1 above, −1 below)."""
        if self.low is None or self.high is None:
            return sign * self.mean > 0
        return min(sign * self.low, sign * self.high) > 0


def compare(arms: Sequence[Sequence[float]]) -> list[Comparison]:
    """One comparison for each arm from its paired differences, corrected for all of them.

    Args:
        arms: for each remedy its differences, one for each seed, at least one.
    """
    alone = [_alone(list(differences), len(arms)) for differences in arms]
    corrected = holm([one.p for one in alone])
    return [replace(one, corrected=p) for one, p in zip(alone, corrected, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected by Holm's step-down procedure (Holm 1979), in the same order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, (len(order) - rank) * p_values[place])
        corrected[place] = min(1.0, largest)
    return corrected


def smallest_p(seeds: int, comparisons: int = 1) -> float:
    """The smallest corrected p of so many pairs: all differences of one sign, 2 of 2^n cases."""
    return min(1.0, comparisons * 2.0 ** (1 - seeds))


def seeds_needed(comparisons: int = 1) -> int:
    """The fewest seeds whose smallest corrected p is at most ``LEVEL``."""
    return math.ceil(1 + math.log2(comparisons / LEVEL))


def _alone(differences: list[float], comparisons: int) -> Comparison:
    """The comparison of one arm, its p not corrected yet."""
    found = np.array(differences, dtype=np.float64)
    smallest = smallest_p(len(found), comparisons)
    if len(found) == 1:  # either sign is as likely: nothing can be shown
        return Comparison(tuple(differences), float(found[0]), None, None, 1.0, 1.0, smallest)
    # Here and not above, so that `throughtime --help` does not load scipy.
    from scipy import stats

    draw = np.random.default_rng(_SEED)
    interval = stats.bootstrap(
        (found,), np.mean, confidence_level=1 - LEVEL, method="percentile", rng=draw
    ).confidence_interval
    tested = stats.permutation_test(
        (found,),
        lambda signed, axis: np.mean(signed, axis=axis),
        permutation_type="samples",  # of one sample: independent changes of the signs
        vectorized=True,
        n_resamples=math.inf if len(found) <= _EXACT_UP_TO else _DRAWS,
        rng=draw,
    )
    p = min(1.0, float(tested.pvalue))
    low, high = float(interval.low), float(interval.high)
    return Comparison(tuple(differences), float(found.mean()), low, high, p, p, smallest)
