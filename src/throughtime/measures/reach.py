"""``reach``: gain by lag at the inputs of any model, by every route.

Recurrences, attention, convolutions, memory and skips all count: autograd sends the loss of one
step from the last tensor with a time axis back to the first, and the norm is read off by lag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.overrides import TorchFunctionMode

from throughtime.errors import InputError, plain
from throughtime.findings import Measurement
from throughtime.problem import as_loss, checked_pair
from throughtime.randomness import undisturbed
from throughtime.sweeps.graph import (
    THE_OUTPUT,
    End,
    Floats,
    Pulled,
    Series,
    Time,
    Watch,
    bypassed,
    named,
    pull,
    sources,
    targets,
    time_of,
)
from throughtime.typed import checked_count

Place = str | nn.Module | Tensor | None
Closure = Callable[[], Any]

QUANTILES = (0.1, 0.5, 0.9)
ANCHORS = 6
# Only the last few of the possible ends are compared with one another.
_TRIED = 4
_BACKWARD = ("backward",)


def reach(
    model: nn.Module,
    closure: Closure,
    *,
    source: Place = None,
    target: Place = None,
    anchors: int = ANCHORS,
    quantiles: Sequence[float] = QUANTILES,
) -> Measurement:
    """Gain by lag at the inputs, log10 ‖∂L_t/∂x_{t−k}‖, relative to the gain at lag 1.

    L_t is the part of the loss that reads step t of ``target``; x is ``source``. Every route
    counts, whatever the model is made of: one backward pass for each anchor t. The closure runs
    once; weights, gradients, buffers, plain attributes and random states are as they were.

    Lag 1 is the reference because lag 0 is the skip connection in residual models. Where most
    samples send nothing to lag 1, as in a dilated convolution, the reference is the largest gain
    beyond lag 0. ``how`` names the reference, the source and the target.

    Args:
        model: the model that the closure runs.
        closure: runs it and returns the loss, as for ``observe``; it may call ``backward()``.
        source: a module path, a module, or a tensor that the closure reads; None for the first
            tensor with a time axis: the model's input, or the output of its embedding.
        target: a module path or a module; None for the last tensor with a time axis that the loss
            depends on, or a single value for the whole sequence through which all of it goes.
        anchors: how many loss steps, evenly spread.
        quantiles: over the batch and the anchors.

    Returns:
        Axes (quantile, lag). NaN where no loss step has so much of a past, −inf where more than
        that quantile is exactly zero.

    Raises:
        InputError: for a source or target that is not found, or no gradient between them.
    """
    checked_pair("reach", model, closure)
    anchors = checked_count(anchors, "anchors", "reach")
    return whole_reach(model, closure, source, target, anchors).gains(quantiles)


@dataclass(frozen=True, eq=False)
class WholeReach:
    """The gains of one run, and what is known of them.

    Attributes:
        source, target: the series at both ends.
        pulled: the norms by lag.
        relative_to: ``"lag 1"`` or ``"the largest gain beyond lag 0"``.
        bypass: the share of the loss's gradient at the source that does not come through the
            target.
    """

    source: Series
    target: Series
    pulled: Pulled
    relative_to: str
    bypass: float
    dtype: torch.dtype

    @property
    def samples(self) -> Floats:
        """log10 gain (N, lag) of every anchor and sequence, relative to the reference."""
        norms = np.moveaxis(self.pulled.norms, 1, 2)
        flat: Floats = norms.reshape(-1, norms.shape[2])
        return flat - _reference(flat, self.relative_to)[:, None]

    @property
    def how(self) -> str:
        """How the numbers were obtained."""
        count = len(self.pulled.anchors)
        start = (
            f"the loss at {count} step{'s' if count > 1 else ''} of {_quoted(self.target.name)}, one at "
            "a time"
            if not self.target.single
            else f"the loss through {_quoted(self.target.name)}, counted from the last step that it reads"
        )
        way = "; lags run forward in time" if self.pulled.forward else ""
        return plain(
            f"autograd's gradient of {start}, at each step of {_quoted(self.source.name)}, by every "
            f"route, relative to {self.relative_to}; quantiles over loss steps and "
            f"{self.source.batch} sequence{'s' if self.source.batch > 1 else ''}{way}"
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
    model: nn.Module, closure: Closure, source: Place, target: Place, anchors: int
) -> WholeReach:
    """``reach``, with what is needed to judge and to check it."""
    with undisturbed(model), weights_kept(model), needing_gradient(source) as given:
        watch = Watch(model, grow=True)
        measured: list[WholeReach] = []

        def measure(loss: Tensor) -> None:
            watch.paused = True
            try:
                measured.append(_measured(watch, loss, given, target, anchors))
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


def _measured(watch: Watch, loss: Tensor, source: Place, target: Place, anchors: int) -> WholeReach:
    if not watch.calls:
        raise InputError(
            "reach: no module of the model ran in the closure: is it this very model that the "
            "loss runs?"
        )
    if not watch.seen:
        raise InputError("reach: no tensor of the model requires a gradient: is it all frozen?")
    time = time_of(watch, loss)
    start = _source(watch, loss, source, time)
    if time is None or (source is not None and time.steps != start.series.steps):
        shape, axis = start.series.shape, start.series.axis
        time = _time_like(start, len(shape), 1 if axis is None else axis)
    end = _target(watch, loss, target, time, start)
    pulled = pull(start, end, anchors)
    share = bypassed(loss, start, end)
    relative_to = _relative_to(pulled.norms)
    dtype = next(one.dtype for one in end.gradient if one is not None)
    return WholeReach(start.series, end.series, pulled, relative_to, share, dtype)


def _time_like(start: End, axes: int, axis: int) -> Time:
    return Time(start.series.steps, axis, axes)


def _source(watch: Watch, loss: Tensor, given: Place, time: Time | None) -> End:
    if given is None:
        found = next(sources(watch, loss, time), None)
        if found is None:
            raise InputError(
                "reach: no tensor with a time axis was found that the loss depends on: name a "
                "module whose output has one, source='path.of.module'"
            )
        return found
    if isinstance(given, Tensor):
        return _of_tensor(loss, given, time)
    return _of_module(watch, loss, given, time, "source")


def _target(watch: Watch, loss: Tensor, given: Place, time: Time, source: End) -> End:
    if given is not None:
        if isinstance(given, Tensor):
            raise InputError(
                "reach: a target is made while the closure runs, so it cannot be a tensor: name "
                "the module that makes it, target='path.of.module'"
            )
        return _of_module(watch, loss, given, time, "target")
    for end in list(targets(watch, loss, time, source))[:_TRIED]:
        if bypassed(loss, source, end) < 1:
            return end
    return End(source.series, source.first, source.last, source.gradient, source.seen)


def _of_module(watch: Watch, loss: Tensor, given: Any, time: Time | None, what: str) -> End:
    names = dict(watch.model.named_modules())
    path = given
    if isinstance(given, nn.Module):
        path = next((name for name, module in names.items() if module is given), None)
    if not isinstance(path, str) or path not in names:
        raise InputError(f"reach: {what} is {plain(given)[:60]!r}, which is not in the model")
    end = named(watch, loss, path or THE_OUTPUT, time)
    if end is None or all(one is None for one in end.gradient):
        why = "has no time axis" if end is None else "does not lead to the loss"
        raise InputError(
            f"reach: the output of {plain(path)!r} {why}: choose another {what} for reach"
        )
    return end


def _of_tensor(loss: Tensor, given: Tensor, time: Time | None) -> End:
    gradient = torch.autograd.grad(loss, given, retain_graph=True, allow_unused=True)[0]
    if gradient is None or given.dim() == 0:
        raise InputError(
            "reach: the loss does not depend on the tensor that is given as source: give the very "
            "tensor that the closure reads"
        )
    shape = tuple(given.shape)
    axis = 0 if len(shape) == 1 else 1
    if time is not None and time.steps in shape:
        axis = (
            time.axis
            if shape[time.axis : time.axis + 1] == (time.steps,)
            else (shape.index(time.steps))
        )
    series = Series("the given tensor", (get_gradient_edge(given),), shape, axis)
    return End(series, -1, -1, [gradient])


def _quoted(name: str) -> str:
    return name if name.startswith("the ") else repr(name)


@contextmanager
def needing_gradient(source: Place) -> Iterator[Place]:
    """A tensor that is given as source needs a gradient inside the block."""
    if not isinstance(source, Tensor) or source.requires_grad:
        yield source
        return
    if not source.is_floating_point():
        raise InputError(
            "reach: the tensor that is given as source holds integers, which have no gradient: "
            "give source= the path of the embedding that reads them"
        )
    source.requires_grad_()
    try:
        yield source
    finally:
        source.requires_grad_(False)


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


__all__ = ["WholeReach", "reach", "whole_reach"]
