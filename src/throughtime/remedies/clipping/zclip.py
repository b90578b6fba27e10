"""``ZClip``: only what stands out from the norms of late is shortened."""

from __future__ import annotations

import math

from throughtime.errors import InputError
from throughtime.remedies.clipping.clipper import GradientClipper, State
from throughtime.remedies.clipping.parts import above_zero
from throughtime.remedies.clipping.whole import WholeGradient


class ZClip(GradientClipper):
    """Clips the norm of all gradients where it is a spike among those of late.

    Kumar, Owen, Roy Chowdhury & Güra 2025: with running mean μ and deviation σ of the norms,
    ``z = (‖g‖ − μ)/σ`` above 2.5 is a spike, and is cut to ``μ + 2.5 σ/(z/2.5)``: the higher it
    stands out, the closer to the mean. The norm after clipping then moves μ, and
    ``σ² ← α σ² + (1 − α)(‖g‖ − μ)²`` with the new μ. The first 25 norms only make μ and σ.

    When it helps: rare spikes in norms that otherwise drift slowly, with no threshold to choose.
    When it does not: gradients that explode step after step (they become the norm), and full
    batches, whose norms hardly vary, so that any growth is taken for a spike.

    One NaN does not poison it: the norm of what was finite counts, and one that is zero or
    infinite does not.

    Args:
        alpha: how much of μ and σ² stays at each step, between 0 and 1.
        z: how many deviations above the mean a spike stands, above 0.
        warm_up: how many first norms are averaged, at least 2.
        max_norm: a longest norm in any case, the first steps included; None for none.

    Raises:
        InputError: an argument is outside of its range.
    """

    def __init__(
        self,
        alpha: float = 0.97,
        z: float = 2.5,
        warm_up: int = 25,
        max_norm: float | None = None,
    ) -> None:
        super().__init__()
        if not 0 < alpha < 1:
            raise InputError(f"alpha is {alpha}, and must lie between 0 and 1")
        if warm_up < 2:
            raise InputError(f"warm_up is {warm_up}, and must be at least 2 steps")
        self.alpha, self.z, self.warm_up = float(alpha), above_zero("z", z), int(warm_up)
        self.max_norm = None if max_norm is None else above_zero("max_norm", max_norm)
        self.mean = self.deviation = 0.0
        self._first: list[float] = []  # norms of the warm-up; empty again after it
        self._warm = False

    def __repr__(self) -> str:
        settings = f"alpha={self.alpha:g}, z={self.z:g}, warm_up={self.warm_up}"
        return f"ZClip({settings}, max_norm={self.max_norm})"

    def threshold(self, norm: float) -> float:
        """What a gradient of this norm would be cut to; inf where it would pass."""
        longest = math.inf if self.max_norm is None else self.max_norm
        reach = self.z * self.deviation  # σ may be 0: nothing is divided by it
        if not self._warm or norm - self.mean <= reach:
            return longest
        return min(longest, self.mean + reach * (reach / (norm - self.mean)))

    def _clip_(self, gradient: WholeGradient) -> bool:
        norm = gradient.norm.size
        threshold = self.threshold(norm)
        self._remember(min(norm, threshold) if self._warm else norm)
        return gradient.shorten_(threshold)

    def _remember(self, norm: float) -> None:
        if not 0 < norm < math.inf:
            return
        if self._warm:
            old, new = self.alpha, 1 - self.alpha
            self.mean = old * self.mean + new * norm
            # σ itself and not its square, which a norm of 1e155 would overflow.
            self.deviation = math.hypot(
                math.sqrt(old) * self.deviation, math.sqrt(new) * (norm - self.mean)
            )
            return
        self._first.append(norm)
        if len(self._first) == self.warm_up:
            count = self.warm_up
            self.mean = math.fsum(one / count for one in self._first)
            apart = math.hypot(*(one - self.mean for one in self._first))
            self.deviation = apart / math.sqrt(count)
            self._first, self._warm = [], True

    def _memory(self) -> State:
        return {
            "mean": self.mean,
            "deviation": self.deviation,
            "first": list(self._first),
            "warm": self._warm,
        }

    def _recall(self, memory: State) -> None:
        first, warm = memory["first"], memory["warm"]
        numbers = [memory["mean"], memory["deviation"]]
        fits = isinstance(first, list) and len(first) < (1 if warm is True else self.warm_up)
        numbers += first if fits else []
        plain = all(type(one) in (int, float) and 0 <= one < math.inf for one in numbers)
        if not plain or not fits or not isinstance(warm, bool):
            raise InputError(f"the state does not fit {self!r}: was it saved with other settings?")
        self.mean, self.deviation = float(numbers[0]), float(numbers[1])
        self._first, self._warm = [float(one) for one in first], warm
