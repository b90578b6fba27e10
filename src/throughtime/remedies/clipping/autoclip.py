"""``AutoClip``: a threshold that is a percentile of all norms so far."""

from __future__ import annotations

import math

from throughtime.errors import InputError
from throughtime.remedies.clipping.clipper import GradientClipper, State
from throughtime.remedies.clipping.norm_counts import NormCounts
from throughtime.remedies.clipping.whole import WholeGradient


class AutoClip(GradientClipper):
    """Clips the norm of all gradients at a percentile of all norms so far.

    Seetharaman, Wichern, Pardo & Le Roux 2020, whose best percentile was 10: nine updates of ten
    are shortened to the length of the short ones. The norm of the present gradient is counted
    before the percentile is taken, as in their code; the first gradient passes as it is.

    When it helps: nobody knows a threshold; it follows the scale of the task. When it does not:
    with Adam, which does not see a constant factor, a low percentile only evens out the lengths
    of the updates; and a training that explodes from its first steps on teaches it large norms.

    One NaN does not poison it: the norm of what was finite is counted, and a norm that is zero or
    infinite is not. Norms are counted to 0.1 %, so its memory does not grow with the training.

    Args:
        percentile: of the norms, 0 to 100.

    Raises:
        InputError: ``percentile`` is outside of that.
    """

    def __init__(self, percentile: float = 10.0) -> None:
        super().__init__()
        if not 0 <= percentile <= 100:
            raise InputError(f"percentile is {percentile}, and must lie between 0 and 100")
        self.percentile = float(percentile)
        self._norms = NormCounts()

    def __repr__(self) -> str:
        return f"AutoClip(percentile={self.percentile:g})"

    @property
    def threshold(self) -> float:
        """The longest norm that it lets through now; inf before the first."""
        return self._norms.percentile(self.percentile)

    def _clip_(self, gradient: WholeGradient) -> bool:
        if 0 < gradient.norm.size < math.inf:
            self._norms.add(gradient.norm.size)
        return gradient.shorten_(self.threshold)

    def _memory(self) -> State:
        return dict(self._norms.to_state())

    def _recall(self, memory: State) -> None:
        self._norms = NormCounts.from_state(memory)
