"""``lags`` and ``gains``: how much of the loss at step t comes back to the state k steps before.

The total gradient alone does not show the disease: with a loss at every step its norm is flat in
networks whose product over 50 steps is 1e-17. So one loss time is taken at a time (an anchor).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from throughtime.errors import InputError
from throughtime.findings import Measurement
from throughtime.recurrences import Linearised, Stacked
from throughtime.sweeps import lag_norms
from throughtime.trace import Joint, LayerTrace, Link, Trace, checked_trace
from throughtime.typed import checked_count

Anchors = int | Sequence[int] | None
Floats = NDArray[np.float64]

# Beyond so many anchors the lag matrix of a long sequence is a picture, not a measurement.
_DEFAULT_ANCHORS = 256
_LN100 = 2 * np.log(10)


def lags(
    trace: Trace | LayerTrace,
    layer: str | int | None = None,
    *,
    anchors: Anchors = None,
    part: str = "s",
    floor: float | None = None,
) -> Measurement:
    """The lag matrix, log10 ‖∂L_t/∂s_k‖: what the loss at step t alone sends back to state k.

    Args:
        trace: a ``Trace``, or one of its layers.
        layer: which layer; None for the only one, or for a stack taken jointly.
        anchors: which loss steps t: a list, or how many of them, evenly spread; None for all
            that have a loss (256 of them at most).
        part: ``"s"`` for the whole state, or a part of it such as ``"h"`` or ``"c"``.
        floor: log10 of the gain below which a loss is followed no further, once all sequences are
            there; its values stand at the floor from then on: read "at most". None: to the end.

    Returns:
        Float64, axes (anchor, time, batch), ``coords["anchor"]`` the steps t. NaN where k > t, or
        where that sequence has no loss at t; −inf where nothing at all came back.

    Raises:
        InputError: for an unknown layer or part, an anchor outside the sequence, a floor that is
            not below 0, or layers that cannot be taken jointly.
    """
    return LagSweep.run(trace, layer, anchors, (part,), floor).matrix(part)


def gains(
    trace: Trace | LayerTrace,
    layer: str | int | None = None,
    *,
    anchors: Anchors = None,
    quantiles: Sequence[float] = (0.1, 0.5, 0.9),
    floor: float | None = None,
) -> Measurement:
    """Gain by lag, log10 ‖∂L_t/∂s_{t−k}‖ / ‖∂L_t/∂s_t‖: quantiles over the batch and the anchors.

    Arguments as for ``lags``. Axes (part, quantile, lag); part ``"s"`` is the whole state, each
    part is measured against the whole state at lag 0. NaN where nothing reaches that far back in
    the capture, −inf where more than that quantile came back as exactly zero.
    """
    return LagSweep.run(trace, layer, anchors, floor=floor).gains(quantiles)


@dataclass(frozen=True, eq=False)
class LagSweep:
    """One reverse pass from many anchors at once, and what can be read off it.

    Attributes:
        name: of the layer, or of the stack.
        parts: names of the parts that were measured, ``"s"`` first.
        anchors: the loss steps t, in the order of computation.
        norms: log10 norms (part, anchor, time, batch), in the order of computation.
        turned: the layer reads its sequence from the end, all of it.
        floor: log10 of the gain at which a loss was followed no further, or None.
        longest: how many steps back each loss was followed, or the longest lag within an episode;
            None: to the start.
    """

    name: str
    parts: tuple[str, ...]
    anchors: tuple[int, ...]
    norms: Floats
    turned: bool
    floor: float | None = None
    longest: int | None = None

    @classmethod
    def run(
        cls,
        trace: Trace | LayerTrace,
        layer: str | int | None = None,
        anchors: Anchors = None,
        parts: Sequence[str] | None = None,
        floor: float | None = None,
        longest: int | None = None,
    ) -> LagSweep:
        """Sweep a layer or a stack. Arguments and errors as for ``lags``; parts None: all.

        ``longest``, of one layer: so many steps back from every loss, and no further.
        """
        if floor is not None and not floor < 0:
            raise InputError(f"floor must be a log10 gain below 0, such as -7, not {floor}")
        checked_trace(trace)
        if isinstance(trace, Trace) and layer is None and len(trace) > 1:
            return cls._joint(trace, anchors, floor)
        one = trace if isinstance(trace, LayerTrace) else trace[layer or 0]
        names = ("s", *one.parts) if len(one.parts) > 1 else ("s",)
        names = names if parts is None else tuple(parts)
        slices = [one.part(name) for name in names]
        direct = one.turned(one.direct)
        chosen = _anchors(anchors, direct, one)
        sources = direct[list(chosen)]
        whole = all(part == slice(None) for part in slices)
        linear, rows = one.linear.condensed(sources) if whole else (one.linear, sources)
        swept = lag_norms(linear, rows, chosen, slices, one.walls, floor, longest)
        norms = _defined(swept, sources)
        within = _without_other_episodes(norms, chosen, [one])
        longest = min((lag for lag in (longest, within) if lag is not None), default=None)
        if getattr(one.linear, "mixes", False):
            norms = as_one_sequence(norms)
        return cls(one.name, names, chosen, norms, one.reverse and not one.packed, floor, longest)

    @classmethod
    def _joint(cls, trace: Trace, anchors: Anchors, floor: float | None) -> LagSweep:
        layers, links = stack_of(trace)
        joint = next((one for one in trace.joints if len(one.names) == len(trace)), None)
        if joint is not None:
            return cls.of_joint(joint, anchors)
        if not layers:
            names = ", ".join(map(repr, trace.names))
            raise InputError(
                f"these layers are no stack that can be taken jointly, choose one: {names}"
            )
        top = layers[-1]
        chosen = _anchors(anchors, top.direct, top)
        sizes = [one.states.shape[-1] for one in layers]
        sources = top.direct.new_zeros(len(chosen), top.batch, sum(sizes))
        sources[..., sum(sizes[:-1]) :] = top.direct[list(chosen)]
        walls = sorted({wall for one in layers for wall in one.walls})
        norms = lag_norms(stacked(layers, links), sources, chosen, walls=walls, floor=floor)
        defined = _defined(norms, sources)
        longest = _without_other_episodes(defined, chosen, layers)
        return cls("all layers", ("s",), chosen, defined, False, floor, longest)

    @classmethod
    def of_joint(cls, joint: Joint, anchors: Anchors = None) -> LagSweep:
        """Layers that were measured jointly as they ran: the losses that were followed then.

        Raises:
            InputError: for an anchor that was not followed.
        """
        chosen = list(range(len(joint.anchors)))
        if isinstance(anchors, Iterable) and not isinstance(anchors, str):
            if unknown := set(anchors) - set(joint.anchors):
                raise InputError(
                    f"no loss at step {min(unknown)} was followed through all layers: choose from "
                    + ", ".join(map(str, joint.anchors))
                )
            chosen = [joint.anchors.index(t) for t in anchors]
        elif anchors is not None:
            most = checked_count(anchors, "anchors", "lags")
            chosen = np.unique(np.linspace(chosen[-1], 0, most).round().astype(int)).tolist()
        times, norms = [joint.anchors[a] for a in chosen], joint.norms[chosen]
        if joint.both_ways:
            norms = np.stack([_by_distance(one, t) for one, t in zip(norms, times, strict=True)])
            times = [joint.steps - 1] * len(times)
        return cls(" + ".join(joint.names), ("s",), tuple(times), norms[None], False)

    def matrix(self, part: str = "s") -> Measurement:
        """The lag matrix of one part, in the time of the sequence (packed: in that of reading)."""
        if part not in self.parts:
            raise InputError(f"no part {part!r} in {self.name!r}: it has {', '.join(self.parts)}")
        values, anchors = self.norms[self.parts.index(part)], self.anchors
        if self.turned:
            last = values.shape[1] - 1
            values, anchors = values[::-1, ::-1], tuple(last - t for t in reversed(anchors))
        how = (
            f"one adjoint sweep from {len(anchors)} loss steps at once, one loss at a time"
            + self._censored()
        )
        coords = {"anchor": anchors, "time": tuple(range(values.shape[1]))}
        return Measurement("lag matrix", values, ("anchor", "time", "batch"), "log10", how, coords)

    def gains(self, quantiles: Sequence[float] = (0.1, 0.5, 0.9)) -> Measurement:
        """Gain by lag, see ``throughtime.measures.gains``."""
        longest = max(self.anchors, default=-1)
        longest = longest if self.longest is None else min(longest, self.longest)
        aligned = np.full((*self.norms.shape[:2], longest + 1, self.norms.shape[3]), np.nan)
        for a, t in enumerate(self.anchors):
            reach = min(t, longest)
            back = self.norms[:, a, t - reach : t + 1][:, ::-1]
            with np.errstate(invalid="ignore"):  # inf − inf of a run that went non-finite is NaN
                aligned[:, a, : reach + 1] = back - self.norms[0, a, t]
        count = aligned.shape[1] * aligned.shape[3]
        samples = np.moveaxis(aligned, 2, 3).reshape(len(self.parts), count, longest + 1)
        how = (
            f"quantiles over {len(self.anchors)} loss steps and {self.norms.shape[3]} sequences "
            "of the log10 gain, each from the loss at one step alone" + self._censored()
        )
        return Measurement(
            "gain",
            np.stack([_quantile(samples, q) for q in quantiles], 1),
            ("part", "quantile", "lag"),
            "log10",
            how,
            {"part": self.parts, "quantile": tuple(quantiles), "lag": tuple(range(longest + 1))},
        )

    def _censored(self) -> str:
        if self.floor is None:
            return ""
        return f"; followed down to a gain of 1e{self.floor:g}, and given as that from there on"


def as_one_sequence(norms: Floats) -> Floats:
    """The norm over the whole batch, whose sequences go on from one another; its axis stays."""
    known = ~np.isnan(norms).all(-1, keepdims=True)
    logs = np.where(np.isnan(norms), -np.inf, norms) * _LN100
    joined = np.logaddexp.reduce(logs, axis=-1, keepdims=True) / _LN100
    found: Floats = np.where(known, joined, np.nan)
    return found


def _by_distance(norms: Floats, anchor: int) -> Floats:
    """One row (T B): both sides of the anchor together, its own time last."""
    steps = len(norms)
    found = np.full_like(norms, np.nan)
    for distance in range(steps):
        sides = {t for t in (anchor - distance, anchor + distance) if 0 <= t < steps}
        if sides:
            rows = norms[sorted(sides)]
            known = ~np.isnan(rows).all(0)
            both = np.logaddexp.reduce(np.where(np.isnan(rows), -np.inf, rows) * _LN100, axis=0)
            found[steps - 1 - distance] = np.where(known, both / _LN100, np.nan)
    return found


def stack_of(trace: Trace) -> tuple[list[LayerTrace], list[Link]]:
    """The layers of the trace as one stack, lowest first, and its links; empty if they are none."""
    above = {link.below[0]: link for link in trace.links}
    lowest = [one for one in trace if not any(link.above == one.name for link in trace.links)]
    if len(lowest) != 1 or len(trace.links) != len(trace) - 1:
        return [], []
    layers, links = [lowest[0]], []
    while layers[-1].name in above:
        links.append(above[layers[-1].name])
        layers.append(trace[links[-1].above])
    return (layers, links) if len(layers) == len(trace) else ([], [])


def stacked(layers: Sequence[LayerTrace], links: Sequence[Link]) -> Linearised:
    """The layers of a stack as one linearised recurrence on their joint state."""
    outputs = [next(iter(one.parts.values())).stop for one in layers]
    sizes = [one.states.shape[-1] for one in layers]
    scales = [None, *(link.scale for link in links)]
    return Stacked([one.linear for one in layers], sizes, outputs, scales)


def _anchors(wanted: Anchors, direct: torch.Tensor, layer: LayerTrace) -> tuple[int, ...]:
    """Steps, in the order of computation, at which the loss sends a gradient to a live sequence."""
    steps = len(direct)
    if isinstance(wanted, Iterable) and not isinstance(wanted, str):
        for t in wanted:
            if not 0 <= t < steps:
                raise InputError(f"anchor {t} lies outside of the sequence of {steps} steps")
        return tuple(steps - 1 - t if layer.reverse and not layer.packed else t for t in wanted)
    count = _DEFAULT_ANCHORS if wanted is None else wanted
    return layer.loss_steps(checked_count(count, "anchors", "lags"))


def _defined(norms: torch.Tensor, sources: torch.Tensor) -> Floats:
    """The norms, NaN for the sequences of the batch that have no loss at an anchor."""
    silent = (sources == 0).all(-1).cpu()
    if silent.any():
        norms.masked_fill_(silent[None, :, None, :], torch.nan)
    values: Floats = norms.numpy()
    return values


def _without_other_episodes(
    norms: Floats, anchors: Sequence[int], layers: Sequence[LayerTrace]
) -> int | None:
    """Make NaN what lies before the episode of an anchor: it is not in the capture.

    Of layers taken jointly where all of them began anew. Returns the longest lag that is left;
    None where nothing was reset.
    """
    began = [layer.began() for layer in layers]
    found = [one for one in began if one is not None]
    if len(found) < len(began) or not found:
        return None
    first = torch.stack(found).amin(0).cpu().numpy()
    times = np.arange(norms.shape[2])
    longest = 0
    for a, t in enumerate(anchors):
        norms[:, a, times[:, None] < first[t]] = np.nan
        sends = ~np.isnan(norms[0, a, t])
        longest = max([longest, *(t - first[t])[sends].tolist()])
    return longest


def slope(median: Floats) -> float | None:
    """The rate, decades per step: least squares over the lags of a log10 gain that are numbers.

    An exact zero further back ends the line. None where fewer than two are.
    """
    numbers = np.flatnonzero(np.isfinite(median))
    if len(numbers) < 2:
        return None
    return float(np.polyfit(numbers, median[numbers], 1)[0])


def _quantile(samples: Floats, q: float) -> Floats:
    """The q-quantile over axis 1 of those that are not NaN.

    Between two samples as NumPy has it, if both are finite; else the nearer one (−inf is one).
    """
    ordered = np.sort(samples, axis=1)
    if not ordered.shape[1]:
        return np.full((ordered.shape[0], ordered.shape[2]), np.nan)
    count = (~np.isnan(ordered)).sum(1, keepdims=True)
    place = q * np.clip(count - 1, 0, None)
    below, above, nearest = (
        np.take_along_axis(ordered, rounded(place).astype(int), axis=1)
        for rounded in (np.floor, np.ceil, np.round)
    )
    with np.errstate(invalid="ignore"):  # −inf − −inf
        between = below + (place % 1) * (above - below)
    found: Floats = np.where(np.isfinite(below) & np.isfinite(above), between, nearest)[:, 0]
    return found
