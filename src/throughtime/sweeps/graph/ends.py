"""Where the gradient is sent from and where it arrives: the two ends of a whole model.

The source is the first tensor with a time axis that the loss depends on, the target the last one;
a loss that reads one value for the whole sequence, such as a pooled output, is a target itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from throughtime.sweeps.graph.axes import Time, mixed, pulled, told
from throughtime.sweeps.graph.series import Series
from throughtime.sweeps.graph.watch import THE_INPUT, Seen, Watch

# A module that is called so often, on tensors of one shape, is called once a step.
LOOP = 3
# So many tensors are tried at each end; all at once, in one backward pass.
_FIRST, _LAST = 12, 32

Gradients = list[Tensor | None]


@dataclass(frozen=True, eq=False)
class End:
    """A series, the first and last place of it in the order of the run, and the loss's gradient."""

    series: Series
    first: int
    last: int
    gradient: Gradients
    seen: tuple[Seen, ...] = ()


def time_of(watch: Watch, loss: Tensor) -> Time | None:
    """The length and the axis of time; None where no tensor of the run shows one."""
    time = told(watch)
    if time is not None:
        return time
    for seen in _possible_sources(watch)[:_FIRST]:
        if len(seen.shape) == 2 and seen.ids is not None and len(seen.ids) == 1:
            return Time(seen.shape[0], 0, 2)
        flat = len(seen.shape) == 2
        if flat and (watch.calls[seen.module] > 1 or watch.normalises):
            continue  # a step of a loop; or a batch, whose rows a BatchNorm mixes
        if len(seen.shape) >= 2 and _depends(loss, seen.edge):
            found = mixed(seen, [one for one in watch.seen if one.output])
            if found is not None:
                return found
    return None


def sources(watch: Watch, loss: Tensor, time: Time | None) -> Iterator[End]:
    """What the loss depends on that has a time axis, in the order of the run."""
    possible = _possible_sources(watch)
    dense = [
        (n, seen, axis)
        for n, seen in enumerate(possible)
        if (axis := _axis(seen, time)) is not None
    ][:_FIRST]
    for (_, seen, axis), gradient in _alive(loss, dense):
        place = watch.seen.index(seen)
        yield End(_dense(seen, axis), place, place, [gradient], (seen,))
    for end in _loops(watch, loss, [one for one in possible if _axis(one, time) is None]):
        if time is None or time.steps == end.series.steps:
            yield end


def targets(watch: Watch, loss: Tensor, time: Time, source: End) -> Iterator[End]:
    """What the loss reads after the source, the last first."""
    after = [(n, seen) for n, seen in enumerate(watch.seen) if n > source.last and seen.output]
    found: list[End] = []
    dense = [
        (n, seen, axis)
        for n, seen in after
        if (axis := _target_axis(seen, time, source)) is not None
    ][-_LAST:]
    for (n, seen, axis), gradient in _alive(loss, dense):
        found.append(End(_dense(seen, axis), n, n, [gradient], (seen,)))
    rest = [
        seen
        for n, seen in enumerate(watch.seen)
        if n > source.first and seen.output and _target_axis(seen, time, source) is None
    ]
    found += [one for one in _loops(watch, loss, rest) if one.series.steps == source.series.steps]
    found += _singles(watch, loss, rest, source)
    yield from sorted(found, key=lambda one: one.last, reverse=True)


def named(watch: Watch, loss: Tensor, path: str, time: Time | None) -> End | None:
    """The output of the module of this path: one tensor along time, or one for each call."""
    seen = [one for one in watch.seen if one.output and one.name == path]
    if not seen:
        return None
    for one in seen:
        axis = _axis(one, time)
        if axis is not None:
            gradient = torch.autograd.grad(loss, one.edge, retain_graph=True, allow_unused=True)[0]
            place = watch.seen.index(one)
            return End(_dense(one, axis), place, place, [gradient], (one,))
    return next(iter(_loops(watch, loss, seen)), None)


def _possible_sources(watch: Watch) -> list[Seen]:
    """The model's own input first, unless that is token ids; then what comes, as it comes."""
    given = [one for one in watch.seen if not one.output and one.name == THE_INPUT]
    rest = [one for one in watch.seen if one not in given]
    return rest if watch.token_ids else [*given, *rest]


def _axis(seen: Seen, time: Time | None) -> int | None:
    if seen.sizes is not None:
        return 0
    return None if time is None else time.axis_of(seen)


def _target_axis(seen: Seen, time: Time, source: End) -> int | None:
    """As ``_axis``; also where time got shorter or longer on the way, as by a convolution."""
    axis = _axis(seen, time)
    if axis is not None or len(seen.shape) < 3 or source.series.axis is None:
        return axis
    alike = len(seen.shape) == len(source.series.shape)
    return source.series.axis if alike and seen.shape[source.series.axis] > 1 else None


def _dense(seen: Seen, axis: int) -> Series:
    return Series(seen.name, (seen.edge,), seen.shape, axis, seen.sizes)


def _alive(
    loss: Tensor, given: Sequence[tuple[int, Seen, int]]
) -> Iterator[tuple[tuple[int, Seen, int], Tensor]]:
    """Those that the loss sends a gradient to that is not zero everywhere."""
    found = _gradients(loss, [seen.edge for _, seen, _ in given])
    for one, gradient in zip(given, found, strict=True):
        if gradient is not None and bool((gradient != 0).any()):
            yield one, gradient


def _loops(watch: Watch, loss: Tensor, seen: Sequence[Seen]) -> Iterator[End]:
    """Modules that are called once a step, in the order in which they first run."""
    groups: dict[tuple[int, bool, tuple[int, ...]], list[Seen]] = {}
    for one in seen:
        if one.sizes is None:
            groups.setdefault((one.module, one.output, one.shape), []).append(one)
    for group in groups.values():
        by_call = list({one.call: one for one in reversed(group)}.values())[::-1]
        if len(by_call) < LOOP:
            continue
        edges = tuple(one.edge for one in by_call)
        gradients = _gradients(loss, edges)
        if any(one is not None and bool((one != 0).any()) for one in gradients):
            first, last = (watch.seen.index(by_call[n]) for n in (0, -1))
            series = Series(by_call[0].name, edges, by_call[0].shape)
            yield End(series, first, last, gradients, tuple(by_call))


def _singles(watch: Watch, loss: Tensor, seen: Sequence[Seen], source: End) -> Iterator[End]:
    """One value for the whole sequence, such as a pooled output, through which all of it goes."""
    calls = {one.module: watch.calls[one.module] for one in seen}
    for one in reversed(seen):
        several = bool(one.shape) and (len(one.shape) > 1 or source.series.batch > 1)
        whole = len(one.shape) <= 2 and source.series.batch == (one.shape[0] if several else 1)
        if calls[one.module] != 1 or not whole or one.sizes is not None:
            continue
        gradient = _gradients(loss, [one.edge])[0]
        if gradient is None or not bool((gradient != 0).any()):
            continue
        place = watch.seen.index(one)
        end = End(Series(one.name, (one.edge,), one.shape, single=True), place, place, [gradient])
        if bypassed(source, end) < _ROUNDING:
            yield End(end.series, place, place, [gradient], (one,))
            return


_ROUNDING = 1e-3


def bypassed(source: End, target: End) -> float:
    """How much of the loss's gradient at the source does not come through the target.

    The norm of the difference over the norm of the whole; 0 where all of it does.
    """
    through = onto(target.series, source.series, target.gradient)
    if through is None:
        return 1.0
    whole = source.series.by_time(source.gradient).double()
    rest = source.series.by_time(through).double() - whole
    size = float(torch.linalg.vector_norm(whole))
    return float(torch.linalg.vector_norm(rest)) / size if size else 1.0


def onto(target: Series, source: Series, sent: Gradients) -> Gradients | None:
    """What gradients at the target become at the source; None where nothing comes back."""
    pairs = [(e, g) for e, g in zip(target.edges, sent, strict=True) if g is not None]
    try:
        found = torch.autograd.grad(
            [edge for edge, _ in pairs],
            list(source.edges),
            [gradient for _, gradient in pairs],
            retain_graph=True,
            allow_unused=True,
        )
    except RuntimeError:
        return None
    return list(found) if any(one is not None for one in found) else None


def _gradients(loss: Tensor, edges: Sequence[GradientEdge]) -> Gradients:
    if not edges:
        return []
    return list(torch.autograd.grad(loss, list(edges), retain_graph=True, allow_unused=True))


def _depends(loss: Tensor, edge: GradientEdge) -> bool:
    found = pulled_from(loss, edge)
    return found is not None and bool((found != 0).any())


def pulled_from(loss: Tensor, edge: GradientEdge) -> Tensor | None:
    """The gradient of the loss at a place of the graph, if there is one."""
    return _gradients(loss, [edge])[0]


__all__ = ["LOOP", "End", "bypassed", "named", "onto", "pulled", "sources", "targets", "time_of"]
