"""Where ``reach`` measures: what the caller names, or what is found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from throughtime.errors import InputError, plain
from throughtime.sweeps.graph import (
    THE_OUTPUT,
    End,
    Series,
    Time,
    Watch,
    bypassed,
    named,
    sources,
    targets,
)

Place = str | nn.Module | Tensor | None

# Only the last few of the possible ends are compared with one another.
_TRIED = 4


def time_like(start: End, axes: int, axis: int) -> Time:
    """What is known of time where the source alone tells it."""
    return Time(start.series.steps, axis, axes)


def source_end(watch: Watch, loss: Tensor, given: Place, time: Time | None) -> End:
    """The end at which the gradient arrives."""
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


def target_end(watch: Watch, loss: Tensor, given: Place, time: Time, source: End) -> End:
    """The end from which the gradient is sent; the source itself where nothing lies after it."""
    if given is not None:
        if isinstance(given, Tensor):
            raise InputError(
                "reach: a target is made while the closure runs, so it cannot be a tensor: name "
                "the module that makes it, target='path.of.module'"
            )
        return _of_module(watch, loss, given, time, "target")
    for end in list(targets(watch, loss, time, source))[:_TRIED]:
        if bypassed(source, end) < 1:
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
