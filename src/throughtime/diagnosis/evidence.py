"""What the rules look at: one layer or stack, measured when a rule first asks for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from throughtime.diagnosis import reach
from throughtime.errors import InputError, UnsupportedError
from throughtime.findings import Measurement
from throughtime.measures import (
    budget,
    counterfactuals,
    directions,
    lyapunov,
    norms,
    paths,
    saturation,
)
from throughtime.measures.lags import Floats, LagSweep
from throughtime.trace import LayerTrace

# What stops the carousel in an LSTM, and in a GRU.
_OPENED = ("forget gate at 1", "update gate at 1")
# The squashing function on the way that every recurrence has, by the name of its activation.
_CANDIDATES = ("h", "g", "n")


@dataclass(frozen=True, eq=False)
class Evidence:
    """One layer of a trace, or a stack taken jointly (``layer`` is None).

    Attributes:
        name: of the layer or the stack.
        sweep: its lag sweep.
        reach: what the median gain by lag says.
        walls: steps at which the state was detached.
        steps: T.
        layer: the layer's trace.
    """

    name: str
    sweep: LagSweep
    reach: reach.Reach
    walls: tuple[int, ...]
    steps: int
    layer: LayerTrace | None = None

    @property
    def lag(self) -> int:
        """The span, or the longest lag of the capture where that is shorter."""
        return min(self.reach.span, self.reach.longest)

    @property
    def known(self) -> LayerTrace | None:
        """The layer, if its cell is known: not a stack, nor a recurrence of marked states."""
        return None if self.layer is None or self.layer.marked else self.layer

    @cached_property
    def gains(self) -> Floats:
        """log10 gain of every single sample (loss step and sequence) by lag (N, lag + 1).

        Samples as long as ``lag``; carried on to the span by the rate, where that is longer.
        """
        sampled = [
            self.sweep.norms[0, a, t - self.lag : t + 1][::-1].T
            - self.sweep.norms[0, a, t, :, None]
            for a, t in enumerate(self.sweep.anchors)
            if t >= self.lag
        ]
        found = np.concatenate(sampled) if sampled else np.empty((0, self.lag + 1))
        found = found[~np.isnan(found).any(1)]
        if self.reach.extrapolated and self.reach.rate is not None:
            found[:, -1] += self.reach.rate * (self.reach.span - self.reach.longest)
        return found

    def share(self, agreeing: np.ndarray) -> float:
        """The share of the samples that agree; 1 if there is none to ask."""
        return float(np.mean(agreeing)) if len(agreeing) else 1.0

    @cached_property
    def opened(self) -> Evidence | None:
        """The same layer with its carousel's gate at 1, if it has one."""
        layer = self.known
        change = next((c for c in _OPENED if layer and c in layer.linear.variants), None)
        if layer is None or change is None:
            return None
        changed = replace(layer, linear=layer.linear.variant(change))
        sweep = LagSweep.run(changed, anchors=len(self.sweep.anchors), parts=("s",))
        found = reach.read(sweep.gains(), self.steps, self.reach.span)
        return replace(self, sweep=sweep, reach=found, layer=changed)

    @cached_property
    def budget(self) -> Measurement | None:
        """``measures.budget`` over the span."""
        return None if self.known is None else budget(self.known, span=self.reach.span)

    @cached_property
    def paths(self) -> Measurement | None:
        """``measures.paths`` over the span."""
        return None if self.known is None else paths(self.known, span=self.reach.span)

    @cached_property
    def counterfactuals(self) -> Measurement | None:
        """``measures.counterfactuals`` over the span."""
        return None if self.known is None else counterfactuals(self.known, span=self.reach.span)

    @cached_property
    def saturation(self) -> dict[str, Measurement]:
        """``measures.saturation``, by the name of each measurement."""
        if self.known is None or not self.known.linear.squashing:
            return {}
        return {one.name: one for one in saturation(self.known)}

    @property
    def candidate(self) -> str | None:
        """The squashing function whose saturation stops the gradient: of h, g or n."""
        stuck = self.saturation.get("saturation")
        names = () if stuck is None else stuck.coords["squashing"]
        return next((name for name in _CANDIDATES if name in names), None)

    @cached_property
    def exponent(self) -> dict[str, float] | None:
        """The largest Lyapunov exponent by figure (``"mean"``, ``"statistical error"``, …).

        None for a marked recurrence, and where the run is too short for one.
        """
        if self.known is None:
            return None
        try:
            found = lyapunov(self.known, k=1)
        except (InputError, UnsupportedError):
            return None
        return dict(
            zip(found.coords["figure"], np.asarray(found.values)[:, 0].tolist(), strict=True)
        )

    @cached_property
    def growth(self) -> float:
        """Slope of log10 ‖s_t‖, decades per step: mean over the sequences, without their start."""
        assert self.layer is not None
        values = np.asarray(norms(self.layer, of="states").values)[self.steps // 5 :]
        slopes = [
            np.polyfit(np.flatnonzero(fine), one[fine], 1)[0]
            for one in values.T
            if (fine := np.isfinite(one)).sum() > 2
        ]
        return float(np.mean(slopes)) if slopes else 0.0

    @cached_property
    def directions(self) -> tuple[float, float]:
        """How many directions the loss asks for, and how many of them are left at the span."""
        if self.layer is None or self.reach.extrapolated:
            return float("nan"), float("nan")
        asked, left = np.asarray(directions(self.layer, lag=self.lag).values).tolist()
        return asked, left
