"""How often each norm occurred: all norms of a training, in a memory that does not grow with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from throughtime.errors import InputError

# A bin is 0.1 % wide. All positive numbers of float64 lie in 1.5 million of them, the norms of a
# training in a few thousand (Masson, Rim & Lee 2019, DDSketch, has the idea).
_WIDTH = math.log(1.001)
_MOST = 1_000_000  # bins to either side of 1: float64 needs 745,000


class NormCounts:
    """Counts of positive numbers in bins of equal ratio, and any percentile of them to 0.1 %."""

    def __init__(self) -> None:
        self._first = 0  # the bin of the first count
        self._counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        """How many numbers were added."""
        return int(self._counts.sum())

    def add(self, norm: float) -> None:
        """Count one number, positive and finite."""
        self._count(math.ceil(math.log(norm) / _WIDTH), 1)

    def percentile(self, percentile: float) -> float:
        """As ``numpy.percentile`` of all that was added, at most 0.1 % above it; inf of nothing."""
        below = np.cumsum(self._counts)
        if not len(below):
            return math.inf
        place = percentile / 100 * float(below[-1] - 1)
        ranks = (math.floor(place), math.ceil(place))
        bins = np.searchsorted(below, ranks, side="right")
        low, high = (math.exp(_WIDTH * float(self._first + one)) for one in bins)
        return low + (place % 1) * (high - low)

    def to_state(self) -> dict[str, torch.Tensor]:
        """The bins that are not empty, by number, and their counts: int64."""
        (filled,) = self._counts.nonzero()
        return {
            "bins": torch.from_numpy(filled + self._first),
            "counts": torch.from_numpy(self._counts[filled]),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> NormCounts:
        """The counts again. Raises ``InputError`` for what ``to_state`` never gives."""
        found = cls()
        bins, counts = (_whole_numbers(state, name) for name in ("bins", "counts"))
        if len(bins) != len(counts):
            raise InputError(f"{len(bins):,} bins and {len(counts):,} counts: as many must they be")
        if any(abs(one) > _MOST for one in bins) or any(one < 1 for one in counts):
            raise InputError(f"bins must lie within ±{_MOST:,}, and counts be at least 1")
        for one, count in zip(bins, counts, strict=True):
            found._count(one, count)
        return found

    def _count(self, number: int, times: int) -> None:
        at = number - self._first
        if not len(self._counts):
            self._first, at = number, 0
            self._counts = np.zeros(1, dtype=np.int64)
        elif at < 0:
            self._first = number
            self._counts = np.concatenate([np.zeros(-at, dtype=np.int64), self._counts])
            at = 0
        elif at >= len(self._counts):
            more = at + 1 - len(self._counts)
            self._counts = np.concatenate([self._counts, np.zeros(more, dtype=np.int64)])
        self._counts[at] += times


def _whole_numbers(state: dict[str, Any], name: str) -> list[int]:
    value = state[name]
    found = value.tolist() if isinstance(value, torch.Tensor) else value
    if not isinstance(found, list) or any(type(one) is not int for one in found):
        raise InputError(f"{name} must be a list of whole numbers")
    return found
