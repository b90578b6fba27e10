"""``lyapunov``: the rates at which small differences of the state grow or shrink along the data.

``Q_t R_t = J_t Q_{t−1}``, ``λ_i = mean log |R_ii|`` (Benettin, Galgani, Giorgilli & Strelcyn 1980),
on the joint state: what public code computes from the h of an LSTM alone is no exponent of it. The
largest one decides: above 0 the network is chaotic, and its gradient explodes along almost every
trajectory (Mikhaeil, Monfared & Durstewitz 2022). An exponent is an asymptotic rate, not the gain
at a finite lag.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from throughtime.errors import InputError
from throughtime.findings import Measurement
from throughtime.sweeps import Growth, frame_growth, random_frame
from throughtime.trace import LayerTrace, Trace, one_layer, with_tangent

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FIGURES = ("mean", "low", "high", "statistical error", "numerical error")

# Nats per step. Over a hundred steps 0.02 is a factor of seven: less is neutral, not chaotic.
CHAOTIC = 0.02

_FEWEST_STEPS = 10
# Unless it is given, the burn-in is a fifth of the shortest sequence, at most so many steps.
_LONGEST_BURN_IN = 100
_STRETCHES = 10


def lyapunov(
    trace: Trace | LayerTrace,
    layer: str | int | None = None,
    *,
    k: int | None = 8,
    burn_in: int | None = None,
    interval: int | None = None,
) -> Measurement:
    """The leading Lyapunov exponents of one layer, along the trajectory that its data drove.

    The trajectory is linearised in float64, whatever the precision of the run. A wall (a state
    that was detached, and not changed) stops the gradient and not the dynamics: exponents run
    across it. A sequence whose state was set anew on the way is left out.

    Args:
        trace: a ``Trace``, or one of its layers.
        layer: which layer; None for the only one.
        k: how many exponents, the largest first; None for all S of them.
        burn_in: steps at the start of every sequence that do not count: the frame of directions has
            to find its place. None for a fifth of the shortest sequence, at most 100.
        interval: QR after so many steps at the latest. It comes sooner where the conditioning asks
            for it; no value costs accuracy.

    Returns:
        Nats per step, axes (figure, exponent): the ``"mean"`` over the sequences, ``"low"`` and
        ``"high"``, their extremes; ``"statistical error"``, the standard error of the mean from
        stretches of time or from the sequences, whichever is larger (NaN for a single stretch);
        ``"numerical error"`` of any one sequence. −inf for a direction that the product of the
        Jacobians loses for good (a dead ReLU); its errors are NaN, and so are those of a run that
        is not finite.

    Raises:
        InputError: for an unknown layer, several of which none was chosen, fewer than 10 steps
            after the burn-in in every sequence, or k, burn_in or interval out of range.
        UnsupportedError: for a marked recurrence, which has no tangent.
    """
    one = with_tangent(one_layer(trace, layer, "exponents are those"))
    return Stretches.along(one, k, burn_in, interval).measurement()


@dataclass(frozen=True)
class Stretches:
    """The growth of every direction, stretch of time by stretch of time, of each sequence.

    Attributes:
        sums: what each of A directions grew by in each of N stretches (N B A), in nats.
        steps: how many steps that took (N B 1); 0 where a sequence has none in a stretch.
        rounding: the numerical error of any one sequence (A), in nats per step.
        how: how it was measured, in words.
    """

    sums: Floats
    steps: Ints
    rounding: Floats
    how: str

    @classmethod
    def along(
        cls,
        layer: LayerTrace,
        k: int | None = 8,
        burn_in: int | None = None,
        interval: int | None = None,
    ) -> Stretches:
        """Push a frame along the trajectories of a layer; arguments and errors of ``lyapunov``."""
        _check("k", k, 1)
        _check("burn_in", burn_in, 0)
        _check("interval", interval, 1)
        alive = layer.turned(layer.alive())
        window = _Window.of(layer.name, alive.cpu().numpy(), burn_in)
        linear, size = layer.linear.to(torch.float64), layer.states.shape[-1]
        count = size if k is None else min(k, size)
        frame = random_frame(count, layer.batch, size, linear.dtype).to(layer.states.device)
        growth = frame_growth(linear, frame, cuts=window.cuts, interval=interval, alive=alive)
        sums, steps, rounding = _by_stretch(layer, window, growth)
        how = (
            f"growth of {count} tangent directions pushed along the data in "
            f"{str(linear.dtype)[6:]}, orthonormalised every {np.diff(growth.bounds).mean():.1f} "
            f"steps on average; {steps.shape[1]} of {layer.batch} sequences, after a burn-in of "
            f"{window.burn_in} steps each"
        )
        return cls(sums, steps, rounding, how)

    def measurement(self) -> Measurement:
        """The exponents with both their errors, as ``lyapunov`` gives them."""
        with np.errstate(invalid="ignore", divide="ignore"):  # −inf and NaN have no error
            exponents = self.sums.sum(0) / self.steps.sum(0)
            by_stretch = _standard_error(self.sums / self.steps, self.steps)
            by_sequence = _standard_error(exponents, np.ones((len(exponents), 1), np.int64))
            error = np.fmax(by_stretch, by_sequence)
        error[~np.isfinite(exponents).all(0)] = np.nan
        extremes = exponents.mean(0), exponents.min(0), exponents.max(0)
        figures = np.stack([*extremes, error, self.rounding])
        coords = {"figure": FIGURES, "exponent": tuple(range(1, self.sums.shape[-1] + 1))}
        axes = ("figure", "exponent")
        return Measurement("lyapunov", figures, axes, "nats per step", self.how, coords)


@dataclass(frozen=True)
class _Window:
    """The steps of each sequence that count: ``begins`` to ``ends``, in the order of computation.

    ``edges``: where the stretches of time begin whose scatter gives the statistical error.
    """

    burn_in: int
    begins: Ints
    ends: Ints
    edges: Ints

    @classmethod
    def of(cls, name: str, alive: NDArray[np.bool_], burn_in: int | None) -> _Window:
        """Of the layer of that name; ``alive`` (T B): the steps of each of its sequences."""
        lengths = alive.sum(0)
        if burn_in is None:
            burn_in = min(int(lengths.min(initial=len(alive))) // 5, _LONGEST_BURN_IN)
        longest = int(lengths.max(initial=0))
        if longest - burn_in < _FEWEST_STEPS:
            raise InputError(
                f"layer {name!r} has {longest} steps, {burn_in} of them burn-in: an exponent "
                f"needs at least {_FEWEST_STEPS} after it; capture a longer sequence"
            )
        first = alive.argmax(0)
        begins, ends = first + burn_in, first + lengths
        edges = np.linspace(begins.min(), ends.max(), _STRETCHES, endpoint=False).astype(np.int64)
        return cls(burn_in, begins, ends, np.unique(edges))

    @property
    def cuts(self) -> list[int]:
        """The steps at which no block may go on."""
        return [int(step) for step in np.concatenate([self.begins, self.ends, self.edges])]

    @property
    def long_enough(self) -> NDArray[np.bool_]:
        """The sequences that count (B)."""
        return np.asarray(self.ends - self.begins >= _FEWEST_STEPS)


def _by_stretch(layer: LayerTrace, window: _Window, growth: Growth) -> tuple[Floats, Ints, Floats]:
    """What each direction grew by and in how many steps, of the sequences that count; rounding."""
    logs, bounds = growth.logs.cpu().numpy(), np.array(growth.bounds)
    begins, ends = bounds[:-1, None], bounds[1:, None]
    inside = (begins >= window.begins) & (ends <= window.ends) & window.long_enough
    stretches = np.searchsorted(bounds, window.edges)
    steps = np.add.reduceat(inside * (ends - begins), stretches)
    sums = np.add.reduceat(np.where(inside[..., None], logs, 0.0), stretches)
    lost = np.asarray(np.isneginf(sums[..., 0]).any(0))
    counted = window.long_enough & ~_set_anew(layer, lost)
    if not counted.any():
        raise InputError(
            f"every sequence of layer {layer.name!r} is set anew on the way, and an exponent needs "
            "one that goes on: capture a single episode"
        )
    sums, steps = sums[:, counted], steps[:, counted, None]
    rounding = growth.rounding.cpu().numpy()[counted] * bounds[-1] / steps.sum(0)
    return sums, steps, rounding.max(0)


def _standard_error(rates: Floats, steps: Ints) -> Floats:
    """Of the mean of all rates (… A), each weighed by its steps (… 1); NaN for a single one."""
    rates, weights = rates.reshape(-1, rates.shape[-1]), steps.reshape(-1, 1)
    used = weights[:, 0] > 0
    rates, weights = rates[used], weights[used] / weights.sum()
    deviations = weights * (rates - (weights * rates).sum(0))
    n = len(rates)
    error: Floats = np.sqrt(np.square(deviations).sum(0) * np.divide(n, n - 1))
    return error if n > 1 else np.full_like(error, np.nan)


def _set_anew(layer: LayerTrace, suspects: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the sequences (B) do not go on from their own state at some step on the way."""
    anew = np.zeros_like(suspects)
    if not suspects.any():
        return anew
    states, alive = layer.turned(layer.states), layer.turned(layer.alive())
    for t in range(1, layer.steps):
        if "state" in (read := layer.linear.read(t)):
            before = states[t - 1]
            # Under autocast, what goes on is not the same to the last digit.
            jump = (read["state"] - before).abs().amax(-1) > 1e-2 * (1 + before.abs().amax(-1))
            anew |= (jump & alive[t] & alive[t - 1]).cpu().numpy()
    return anew & suspects


def _check(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise InputError(f"{name} must be at least {least}, not {value}")
