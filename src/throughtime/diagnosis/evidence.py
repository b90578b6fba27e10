"""What the rules look at: one layer or stack, measured when a rule first asks for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from throughtime.diagnosis import reach
from throughtime.diagnosis.chaos import LaterHalf
from throughtime.errors import InputError, UnsupportedError
from throughtime.findings import Measurement
from throughtime.measures import directions, norms, saturation
from throughtime.measures.budget import StageSweep
from throughtime.measures.lags import Floats, LagSweep
from throughtime.measures.lyapunov import Stretches
from throughtime.trace import LayerTrace

# What stops the carousel in an LSTM, and in a GRU.
_OPENED = ("forget gate at 1", "update gate at 1")
# The squashing function on the way that every recurrence has, by the name of its activation.
_CANDIDATES = ("h", "g", "n")
# Explanations look at as many sequences as make up so many entries of state, and no fewer than 4.
_ENTRIES, _FEWEST = 2048, 4
# They follow so many loss steps, of a state beyond _LARGE entries half of them.
_ANCHORS, _LARGE = 8, 256
# A long sequence costs a step of Python for each of its own: the loss at its end, in its middle and
# at its start are followed, and so many steps back, which `how` says; further with the gates open.
_LONG, _FEW, _FOLLOWED, _OPENED_FOLLOWED = 2000, 3, 128, 512


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
    def some(self) -> LayerTrace | None:
        """The known layer, of a large one so many sequences as an explanation needs."""
        if self.known is None:
            return None
        return self.known.some(max(_FEWEST, _ENTRIES // self.known.states.shape[-1]))

    @property
    def sequences(self) -> tuple[int, int]:
        """From how many sequences of the batch explanations come, and how many there are."""
        whole = 0 if self.layer is None else self.layer.batch
        return whole if self.some is None else self.some.batch, whole

    @cached_property
    def opened(self) -> Evidence | None:
        """The same layer with its carousel's gate at 1, if it has one."""
        change = next((c for c in _OPENED if self.some and c in self.some.linear.variants), None)
        if self.some is None or change is None:
            return None
        changed = replace(self.some, linear=self.some.linear.variant(change))
        large, longest = changed.states.shape[-1] > _LARGE, None
        anchors = _ANCHORS if large else len(self.sweep.anchors)
        if self.steps > _LONG:
            anchors, longest = _FEW, _OPENED_FOLLOWED
        sweep = LagSweep.run(changed, anchors=anchors, parts=("s",), longest=longest)
        found = reach.read(sweep.gains(), self.steps, self.reach.span)
        return replace(self, sweep=sweep, reach=found, layer=changed)

    @cached_property
    def ledger(self) -> StageSweep | None:
        """Where the decades go over the span, by which path, and what if not."""
        if self.some is None:
            return None
        anchors = _ANCHORS // 2 if self.some.states.shape[-1] > _LARGE else _ANCHORS
        span = self.reach.span
        if self.steps > _LONG:
            anchors, span = _FEW, min(span, _FOLLOWED)
        return StageSweep.run(self.some, anchors=anchors, span=span)

    @cached_property
    def budget(self) -> Measurement | None:
        """``measures.budget`` over the span."""
        return None if self.ledger is None else self.ledger.budget()

    @cached_property
    def paths(self) -> Measurement | None:
        """``measures.paths`` over the span."""
        return None if self.ledger is None else self.ledger.paths()

    @cached_property
    def counterfactuals(self) -> Measurement | None:
        """``measures.counterfactuals`` over the span."""
        return None if self.ledger is None else self.ledger.counterfactuals()

    @cached_property
    def saturation(self) -> dict[str, Measurement]:
        """``measures.saturation`` of the whole batch, by the name of each measurement."""
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
    def _differences(self) -> Stretches | None:
        """How small differences of the state grew along the data.

        None for a marked recurrence, and where the run is too short.
        """
        if self.some is None:
            return None
        try:
            return Stretches.along(self.some, k=1)
        except (InputError, UnsupportedError):
            return None

    @cached_property
    def exponent(self) -> dict[str, float] | None:
        """The largest Lyapunov exponent by figure (``"mean"``, ``"statistical error"``, …)."""
        if self._differences is None:
            return None
        found = self._differences.measurement()
        return dict(
            zip(found.coords["figure"], np.asarray(found.values)[:, 0].tolist(), strict=True)
        )

    @cached_property
    def later(self) -> LaterHalf | None:
        """The largest exponent of the second half of the run alone."""
        return None if self._differences is None else LaterHalf.of(self._differences)

    @cached_property
    def growth(self) -> float:
        """Slope of log10 ‖s_t‖ in the order of computation, decades per step.

        The mean over the sequences, each without the first fifth of its own steps.
        """
        assert self.layer is not None
        norm = torch.from_numpy(np.asarray(norms(self.layer, of="states").values))
        slopes = []
        for one in self.layer.turned(norm.to(self.layer.states.device)).cpu().numpy().T:
            fine = np.flatnonzero(np.isfinite(one))
            fine = fine[len(fine) // 5 :]
            if len(fine) > 2:
                slopes.append(np.polyfit(fine, one[fine], 1)[0])
        return float(np.mean(slopes)) if slopes else 0.0

    @cached_property
    def directions(self) -> tuple[float, float]:
        """How many directions the loss asks for, and how many of them are left at the span."""
        layer = self.some or self.layer
        if layer is None or self.reach.extrapolated:
            return float("nan"), float("nan")
        asked, left = np.asarray(directions(layer, lag=self.lag).values).tolist()
        return asked, left
