"""Whether an exponent is more than a transient of the few steps that were measured.

A network that is still moving away from its initial state can let small differences grow for a
while. The second half of the run alone has to show the same, and a bootstrap says how surely: it
draws sequences, and of each of them stretches of time, with replacement (Efron & Tibshirani 1993).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from throughtime.measures.lyapunov import CHAOTIC, Stretches

_DRAWS, _SEED = 2000, 0
# The bounds hold 95 % of what the bootstrap draws.
_LOW, _HIGH = 0.025, 0.975


@dataclass(frozen=True)
class LaterHalf:
    """The largest exponent in the second half of the run, in nats per step.

    Attributes:
        exponent: the mean over its sequences.
        low, high: between which 95 % of the bootstrap lie.
        share: how much of the bootstrap lies above ``CHAOTIC``.
        steps: how many steps of the longest sequence were measured, in both halves together.
    """

    exponent: float
    low: float
    high: float
    share: float
    steps: int

    @classmethod
    def of(cls, growth: Stretches) -> LaterHalf:
        """From the growth of the leading direction; NaN where the second half is empty."""
        half = len(growth.sums) // 2
        sums, steps = growth.sums[half:, :, 0], growth.steps[half:, :, 0].astype(float)
        draw, count = np.random.default_rng(_SEED), sums.shape[1]
        # Sequences are drawn, and of each of them anew its stretches of time.
        sequences = draw.integers(count, size=(_DRAWS, 1, count))
        stretches = draw.integers(len(sums), size=(_DRAWS, len(sums), count))
        with np.errstate(invalid="ignore", divide="ignore"):
            exponent = sums.sum() / steps.sum()
            drawn = sums[stretches, sequences].sum((1, 2)) / steps[stretches, sequences].sum((1, 2))
        drawn = drawn[~np.isnan(drawn)]
        low, high = (
            np.quantile(drawn, [_LOW, _HIGH], method="nearest") if len(drawn) else (np.nan, np.nan)
        )
        share = float((drawn > CHAOTIC).mean()) if len(drawn) else 0.0
        longest = int(growth.steps[..., 0].sum(0).max(initial=0))
        return cls(float(exponent), float(low), float(high), share, longest)
