"""What the loss of one step sends into every state of a layer, by whatever route.

Attention over the outputs, pooling over time, skips and an external memory let the loss reach a
state without passing through the recurrence. Where the loss of one step arrives directly at other
states than that of its own step, it is kept for the gain by every route.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from throughtime.recording.calls import Call
from throughtime.recording.chains import Chain
from throughtime.sweeps.graph import (
    End,
    Series,
    Time,
    Watch,
    bypassed,
    cotangent,
    loss_steps,
    targets,
    time_of,
)
from throughtime.sweeps.graph.ends import Gradients
from throughtime.sweeps.graph.pull import direct as of_the_loss
from throughtime.trace import Route

# So many loss steps of a layer are followed; the last one first, which tells whether any is.
_ANCHORS = 4
# Of so many layers, the last ones of those that are not the lower ones of a stack.
_LAYERS = 8
# What is smaller than this share of the largest direct gradient is the rounding of a difference.
_ROUNDING = 1e-5
# How many of the last places are tried at which the loss may be taken apart.
_TRIED = 4


def look(chains: Sequence[Chain], watch: Watch, loss: Tensor) -> dict[int, tuple[Route, ...]]:
    """By the id of the first call of a chain: its routes past the recurrence, if there are any."""
    found: dict[int, tuple[Route, ...]] = {}
    read = {id(call) for chain in chains for upper in chain.calls for call in _straight(upper)}
    heads = [chain for chain in chains if not all(id(call) in read for call in chain.calls)]
    for chain in heads[-_LAYERS:]:
        if any(call.lengths is not None for call in chain.calls):
            continue
        states = _states(chain, loss)
        if states is None:
            continue
        target = _target(watch, loss, states)
        if target is not None:
            routes = tuple(_of_chain(chain, states, target))
            if routes:
                found[id(chain.calls[0])] = routes
    return found


def _straight(upper: Call) -> Sequence[Call]:
    """What it reads as it is, or dropped: the lower layer of a stack, which is measured jointly."""
    return upper.reads if len(upper.reads) == 1 and (upper.plain or upper.scale is not None) else ()


def _states(chain: Chain, loss: Tensor) -> End | None:
    """The outputs of a layer as the source; None where the graph does not hold them."""
    calls = chain.calls
    if len(calls) == 1 and calls[0].whole is not None:
        whole = calls[0].whole
        series = Series(chain.name, (get_gradient_edge(whole),), tuple(whole.shape), 0)
    elif len(calls) > 1 and chain.stepwise:
        handed = [one for call in calls if (one := _handed(call)) is not None]
        if len(handed) < len(calls):
            return None
        series = Series(chain.name, tuple(map(get_gradient_edge, handed)), tuple(handed[0].shape))
    else:
        return None
    gradient: Gradients = list(
        torch.autograd.grad(loss, list(series.edges), retain_graph=True, allow_unused=True)
    )
    return End(series, -1, -1, gradient) if any(one is not None for one in gradient) else None


def _handed(call: Call) -> Tensor | None:
    """The state that a step hands on, or its output where it hands on none."""
    known = [one for one in (*call.ends[:1], call.whole) if one is not None and one.requires_grad]
    return known[0] if known else None


def _target(watch: Watch, loss: Tensor, states: End) -> End | None:
    """Where the loss can be taken apart by steps, after the layer."""
    known = time_of(watch, loss) if watch.hints else None
    steps = states.series.steps
    time = known if known is not None and known.steps == steps else Time(steps, 1, 3)
    for n, end in enumerate(targets(watch, loss, time, states)):
        if n == _TRIED:
            break
        if end.series.name != states.series.name and bypassed(states, end) < 1:
            return end
    return None


def _of_chain(chain: Chain, states: End, target: End) -> Iterator[Route]:
    target, steps = of_the_loss(target, loss_steps(target, _ANCHORS))
    last = states.series.steps - 1
    reverse = chain.calls[0].reverse
    for step in reversed(steps):
        place = last if target.series.single or target.series.steps != last + 1 else step
        place = last - place if reverse and not target.series.single else place
        direct = _direct(chain, target, cotangent(target, step))
        if direct is None or not _passes_by(direct, place):
            return
        yield Route(place, direct, target.series.name)


def _direct(chain: Chain, target: End, sent: Sequence[Tensor | None]) -> Tensor | None:
    """What arrives at each state (T B S) from outside the recurrence."""
    slots: list[tuple[int, str, Tensor]] = []
    for n, call in enumerate(chain.calls):
        if call.whole is not None:
            slots.append((n, "output", call.whole))
        slots += [(n, *pair) for pair in zip(("h", "c"), call.ends, strict=False)]
        slots += [(n, *pair) for pair in zip(("h0", "c0"), call.begins, strict=False)]
    slots = [slot for slot in slots if slot[2].requires_grad]
    pairs = [(e, g) for e, g in zip(target.series.edges, sent, strict=True) if g is not None]
    try:
        gradients = torch.autograd.grad(
            [edge for edge, _ in pairs],
            [tensor for _, _, tensor in slots],
            [gradient for _, gradient in pairs],
            retain_graph=True,
            allow_unused=True,
        )
    except RuntimeError:
        return None
    received: list[dict[str, Tensor]] = [{} for _ in chain.calls]
    for (n, slot, _), gradient in zip(slots, gradients, strict=True):
        if gradient is not None:
            flat = gradient[0] if slot[0] in "hc" and gradient.dim() == 3 else gradient
            received[n][slot] = flat
    shadows = [copy(call) for call in chain.calls]
    for shadow, one in zip(shadows, received, strict=True):
        shadow.received = one
    direct = replace(chain, calls=shadows).direct()
    smallest = _ROUNDING * direct.abs().amax()
    return torch.where(direct.abs() > smallest, direct, torch.zeros_like(direct))


def _passes_by(direct: Tensor, place: int) -> bool:
    """Whether the loss of one step arrives at earlier states too."""
    return bool((direct[:place] != 0).any())
