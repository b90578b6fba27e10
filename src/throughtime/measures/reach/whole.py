"""One run of a closure, measured from the last tensor with a time axis to the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from throughtime.errors import InputError, counted, plain
from throughtime.findings import Measurement
from throughtime.measures.reach.nudge import Nudged
from throughtime.measures.reach.places import (
    Place,
    needing_gradient,
    source_end,
    target_end,
    time_like,
)
from throughtime.problem import as_loss
from throughtime.randomness import undisturbed
from throughtime.sweeps.graph import (
    End,
    Floats,
    Pulled,
    Series,
    Watch,
    bypassed,
    direct,
    pull,
    time_of,
)

Closure = Callable[[], Any]

QUANTILES = (0.1, 0.5, 0.9)
ANCHORS = 6
_BACKWARD = ("backward",)


@dataclass(frozen=True, eq=False)
class WholeReach:
    """The gains of one run, and what is known of them.

    Attributes:
        source, target: the series at both ends.
        pulled: the norms by lag.
        relative_to: ``"lag 1"`` or ``"the largest gain beyond lag 0"``.
        bypass: the share of the loss's gradient at the source that does not come through the
            target.
        dtype: in which the target was computed.
        probe: what a check by finite differences needs.
    """

    source: Series
    target: Series
    pulled: Pulled
    relative_to: str
    bypass: float
    dtype: torch.dtype
    probe: Nudged | None = None

    @property
    def samples(self) -> Floats:
        """log10 gain (N, lag) of every anchor and sequence, relative to the reference."""
        norms = np.moveaxis(self.pulled.norms, 1, 2)
        flat: Floats = norms.reshape(-1, norms.shape[2])
        return flat - _reference(flat, self.relative_to)[:, None]

    @property
    def how(self) -> str:
        """How the numbers were obtained."""
        count, batch = len(self.pulled.anchors), self.source.batch
        source, target = _quoted(self.source.name), _quoted(self.target.name)
        start = f"the loss at {counted(count, 'step')} of {target}, one at a time"
        if self.target.single:
            start = f"the loss through {target}, counted from the last step that it reads"
        way = "; lags run forward in time" if self.pulled.forward else ""
        return plain(
            f"autograd's gradient of {start}, at each step of {source}, by every route, relative "
            f"to {self.relative_to}; quantiles over loss steps and {counted(batch, 'sequence')}"
            f"{way}"
        )

    def gains(self, quantiles: Sequence[float] = QUANTILES) -> Measurement:
        """Gain by lag, see ``throughtime.measures.reach``."""
        samples = self.samples
        known = np.flatnonzero(~np.isnan(samples).all(0))
        samples = samples[:, : int(known[-1]) + 1 if len(known) else 0]
        return Measurement(
            "gain at the inputs",
            np.stack([_quantile(samples, q) for q in quantiles]),
            ("quantile", "lag"),
            "log10",
            self.how,
            {"quantile": tuple(quantiles), "lag": tuple(range(samples.shape[1]))},
        )


def whole_reach(
    model: nn.Module,
    closure: Closure,
    source: Place = None,
    target: Place = None,
    anchors: int = ANCHORS,
    span: int | None = None,
) -> WholeReach:
    """``reach``, with what is needed to judge it, and to check the gain at ``span``."""
    with undisturbed(model), weights_kept(model), needing_gradient(source) as given:
        watch = Watch(model, grow=True)
        measured: list[WholeReach] = []

        def measure(loss: Tensor) -> None:
            watch.paused = True
            try:
                measured.append(_measured(watch, loss, (given, target), anchors, span))
            finally:
                watch.paused = False

        with Before(measure) as before, watch:
            found = closure()
            if not before.ran:
                before.run(as_loss(found, "the closure"))
    return measured[0]


class Before(TorchFunctionMode):
    """Runs something once before the first ``backward()`` of the block."""

    def __init__(self, run: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._run, self.ran = run, False

    def run(self, loss: Tensor) -> None:
        """Run it now."""
        self.ran = True
        if not loss.requires_grad:
            raise InputError(
                "reach: the loss does not require a gradient: did the model run under "
                "torch.no_grad(), or are all its weights frozen?"
            )
        with torch._C.DisableTorchFunction():
            self._run(loss)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Stands before ``Tensor.backward`` and ``torch.autograd.backward``."""
        if getattr(func, "__name__", "") in _BACKWARD and not self.ran and args:
            first = args[0][0] if isinstance(args[0], (tuple, list)) else args[0]
            self.run(first)
        return func(*args, **(kwargs or {}))


def _measured(
    watch: Watch, loss: Tensor, places: tuple[Place, Place], anchors: int, span: int | None
) -> WholeReach:
    if not watch.calls:
        raise InputError(
            "reach: no module of the model ran in the closure: is it this very model that the "
            "loss runs?"
        )
    if not watch.seen:
        raise InputError("reach: no tensor of the model requires a gradient: is it all frozen?")
    (source, target), time = places, time_of(watch, loss)
    start = source_end(watch, loss, source, time)
    if time is None or (source is not None and time.steps != start.series.steps):
        shape, axis = start.series.shape, start.series.axis
        time = time_like(start, len(shape), 1 if axis is None else axis)
    end = target_end(watch, loss, target, time, start)
    pulled = pull(start, end, anchors)
    share = bypassed(start, end)
    relative_to = _relative_to(pulled.norms)
    dtype = next(one.dtype for one in end.gradient if one is not None)
    probe = _probe(start, end, pulled, span)
    return WholeReach(start.series, end.series, pulled, relative_to, share, dtype, probe)


def _probe(start: End, end: End, pulled: Pulled, span: int | None) -> Nudged | None:
    """The gain of the last loss step at the span, or at the longest lag that is not zero."""
    if not pulled.anchors or pulled.forward or pulled.place < 1:
        return None
    largest = np.nanmax(np.where(np.isnan(pulled.norms[-1]), -np.inf, pulled.norms[-1]), axis=1)
    lags = np.flatnonzero(np.isfinite(largest[: pulled.place + 1]))
    wanted = pulled.place if span is None else min(span, pulled.place)
    near = lags[lags <= wanted]
    if not len(near):
        return None
    lag = int(near[-1])
    ends, anchors = direct(end, [*pulled.anchors])
    return Nudged.of(start, ends, anchors[-1], pulled.place - lag, lag)


def _quoted(name: str) -> str:
    return name if name.startswith("the ") else repr(name)


@contextmanager
def weights_kept(model: nn.Module) -> Iterator[None]:
    """Put back the weights if the block changes them, as an ``optimizer.step()`` does."""
    kept = [(one, one._version, one.detach().clone()) for one in model.parameters()]
    try:
        yield
    finally:
        with torch.no_grad():
            for one, version, copy in kept:
                if one._version != version and one.shape == copy.shape:
                    one.data.copy_(copy)


def _relative_to(norms: Floats) -> str:
    flat = np.moveaxis(norms, 1, 2).reshape(-1, norms.shape[1])
    if flat.shape[1] < 2:
        return "lag 0"
    sending = ~np.isnan(flat[:, 1])
    silent = np.isneginf(flat[sending, 1])
    return "the largest gain beyond lag 0" if silent.mean() > 0.5 else "lag 1"


def _reference(samples: Floats, relative_to: str) -> Floats:
    if relative_to == "lag 0":
        return samples[:, 0]
    if relative_to == "lag 1":
        return samples[:, 1]
    with np.errstate(invalid="ignore"):
        largest: Floats = np.where(np.isnan(samples[:, 1:]), -np.inf, samples[:, 1:]).max(1)
    return np.where(np.isneginf(largest), np.nan_to_num(samples[:, 0], neginf=0.0), largest)


def _quantile(samples: Floats, q: float) -> Floats:
    """Over axis 0, of those that are not NaN; the nearest sample, so that −inf can be one."""
    ordered = np.sort(samples, axis=0)
    if not len(ordered):
        return np.full(ordered.shape[1], np.nan)
    count = (~np.isnan(ordered)).sum(0)
    place = np.round(q * np.clip(count - 1, 0, None)).astype(int)
    found: Floats = np.take_along_axis(ordered, place[None], axis=0)[0]
    return found
