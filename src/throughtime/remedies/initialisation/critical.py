"""``critical_``: recurrent layers tuned on the user's own batch until their rate is 0.

What a matrix does to a gradient depends on the slopes that the data meets: a spectral radius of 1
vanishes under tanh, one of 2 may vanish still. So the rate is measured, not computed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.errors import InputError, ThroughtimeWarning
from throughtime.measures import gains
from throughtime.measures.lags import slope
from throughtime.recording import observe
from throughtime.remedies.initialisation.knobs import Knob, knobs
from throughtime.remedies.initialisation.tuning import Search
from throughtime.typed import checked_span

Closure = Callable[[], Tensor]

# Loss steps to measure from, evenly spread. Of marked states each is a pass by autograd.
_ANCHORS, _MARKED_ANCHORS = 32, 8
# How often all layers are gone through.
_ROUNDS = 3
# Decades that the gain may change over the span, of a rate that counts as 0.
_TOLERATED = 0.1


@dataclass(frozen=True)
class Tuned:
    """What became of one layer in one direction.

    Attributes:
        layer: its name.
        knob: what was turned: ``"gain of W_hh"``, ``"bias of f"``.
        amount: how far: the factor of the weights; what was added to the bias.
        before: the rate at first, decades per step; infinite where it diverged.
        after: the rate now.
        reached: ``after`` is 0 within the tolerance.
    """

    layer: str
    knob: str
    amount: float
    before: float
    after: float
    reached: bool

    def __str__(self) -> str:
        gain = self.knob.startswith("gain")
        change = f"× {self.amount:.3g}" if gain else f"{self.amount:+.3g}"
        short = "" if self.reached else ": not 0, and the nearest that was found"
        return (
            f"{self.layer}: {self.knob} {change}, rate {self.before:+.4f} → "
            f"{self.after:+.4f} decades per step{short}"
        )


@dataclass(frozen=True)
class Critical:
    """What ``critical_`` found.

    Attributes:
        layers: by layer and direction.
        span: the rate is that of the lags up to this one.
        tolerance: the largest rate that counts as 0, decades per step.
        captures: how often the closure ran.
    """

    layers: tuple[Tuned, ...]
    span: int
    tolerance: float
    captures: int

    @property
    def reached(self) -> bool:
        """Whether the rate of every layer is 0 within the tolerance."""
        return all(one.reached for one in self.layers)

    def __str__(self) -> str:
        return "\n".join(map(str, self.layers))


def critical_(
    module: nn.Module,
    closure: Closure,
    span: int | None = None,
    *,
    tolerance: float | None = None,
    own: Mapping[str, Tensor] | None = None,
) -> Critical:
    """Tune each layer until its rate on this batch is 0: data-dependent, through time.

    As Mishkin & Matas (2016) give the layers of a deep network unit variance on a batch of data:
    here one batch is captured again and again, until the gain neither fades nor grows with the lag.
    An Elman network and an IndRNN have the gain of W_hh tuned, whose directions stay. A gated cell
    has the bias of the gate that keeps its state tuned, f in an LSTM, z in a GRU, of all units
    alike; an LSTM writes the less the more it keeps.

    Helps an Elman network whose gradient fades or explodes, best after ``orthogonal_``, which keeps
    more directions apart at the same rate. A gated cell gets a gradient that arrives, by units that
    are slow to learn: with a known span ``chrono_`` is the better start. Nothing helps a tanh that
    its input saturates: the nearest rate is taken, with a warning. Training may move the rate away
    from 0 again, and a rate of 0 alone solves no task.

    Args:
        module: a recurrent layer or cell, or a model that holds some: all of them are tuned. Its
            gradients, buffers and modes, and torch's random state, are as they were.
        closure: runs it on the same batch at every call and returns the loss. One that calls
            ``backward()`` itself leaves gradients in what it runs outside of ``module``.
        span: lags that count, in steps; None for all that the sequences have.
        tolerance: the largest rate that counts as 0, decades per step; None for 0.1 decades over
            the span.
        own: of recurrences by hand, which ``throughtime.mark`` shows: the square matrix that
            multiplies the state (H H), by the name of the mark. Only these are tuned then.

    Raises:
        InputError: no recurrent layer in it, or one without such a knob, or parametrised; a matrix
            that is not square; sequences of one step; a span below 1. Else as
            ``throughtime.capture``, and what the closure raises: the weights are as they were.

    Warns:
        ThroughtimeWarning: the rate of a layer is not 0.
    """
    found = knobs(module, own)
    with _restored_on_error(found):
        result = _tuned(found, _Meter(module, closure, span), tolerance)
    if not result.reached:
        warnings.warn(f"critical_: {result}", ThroughtimeWarning, stacklevel=2)
    return result


def _tuned(found: Sequence[Knob], meter: _Meter, tolerance: float | None) -> Critical:
    names = [knob.layer for knob in found]
    before = after = meter.rates(names)
    limit = _TOLERATED / meter.span if tolerance is None else tolerance
    searches = [
        Search(knob, partial(meter.rate, name), limit)
        for knob, name in zip(found, names, strict=True)
    ]
    for _ in range(_ROUNDS):  # what one layer sends to the next has changed since
        off = [(one, rate) for one, rate in zip(searches, after, strict=True) if one.wanted(rate)]
        if not off:
            break
        for search, rate in off:
            search.run(rate)
        after = meter.rates(names)
    layers = tuple(
        Tuned(knob.layer, knob.name, knob.amount(one.place), first, last, abs(last) <= limit)
        for knob, one, first, last in zip(found, searches, before, after, strict=True)
    )
    return Critical(layers, meter.span, limit, meter.captures)


class _Meter:
    """Measures rates on the user's batch, and counts the captures."""

    def __init__(self, module: nn.Module, closure: Closure, span: int | None) -> None:
        span = None if span is None else checked_span(span, "critical_")
        self._module, self._closure, self._span = module, closure, span
        self._longest = 0
        self.captures = 0

    @property
    def span(self) -> int:
        """As far as the lags go."""
        return self._longest if self._span is None else min(self._span, self._longest)

    def rate(self, name: str) -> float:
        """Of one layer."""
        return self.rates([name])[0]

    def rates(self, names: Sequence[str]) -> list[float]:
        """Slopes of the log10 median gain over the span, decades per step, from one capture."""
        with warnings.catch_warnings():
            if self.captures:
                warnings.simplefilter("ignore", ThroughtimeWarning)  # the first capture said it
            trace = observe(self._module, self._seen)
        self.captures += 1
        medians = []
        for name in names:
            anchors = _MARKED_ANCHORS if trace[name].marked else _ANCHORS
            gain = gains(trace[name], anchors=anchors, quantiles=(0.5,))
            medians.append(np.asarray(gain.values)[0, 0])
        self._longest = max(len(median) - 1 for median in medians)
        if self._longest < 1:
            raise InputError(
                "critical_: the sequences have one step, and a rate needs two: give longer ones"
            )
        return [_rate(median[: self.span + 1]) for median in medians]

    def _seen(self) -> Tensor:
        """The closure, with its gradient taken in a way that leaves no ``.grad`` anywhere."""
        loss = self._closure()
        weights = [one for one in self._module.parameters() if one.requires_grad]
        went_back = any(one.grad is not None for one in weights)
        plain = isinstance(loss, Tensor) and loss.requires_grad and loss.numel() == 1
        if weights and plain and not went_back:
            torch.autograd.grad(loss, weights, allow_unused=True)
        return loss


def _rate(median: np.ndarray) -> float:
    """The slope; infinite where all but one gain is 0, or overflowed."""
    found = slope(median)
    if found is None:
        return -math.inf if np.isneginf(median[1:]).any() else math.inf
    return found


@contextmanager
def _restored_on_error(found: Sequence[Knob]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for knob in found:
            knob.turn(0.0)
        raise
