"""From chains of calls to ``LayerTrace``s: states replayed, gradients swept, layers linked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from throughtime.capture.calls import Call, joined, make_cell
from throughtime.capture.chains import Chain
from throughtime.findings import Finding
from throughtime.recurrences import Segment, Segments
from throughtime.sweeps import adjoint
from throughtime.trace import LayerTrace, Link, steps_alive

# A linearised step holds about so many numbers for each one of its state (gates and their slopes).
_NUMBERS_PER_STATE = 8


@torch.no_grad()
def layer_trace(chain: Chain, name: str, budget: int) -> LayerTrace:
    """The trace of one chain, holding at most ``budget`` bytes of linearisation at a time."""
    first = chain.calls[0]
    states, linear, parts = _replay(chain, budget)
    walls = chain.walls()
    direct = _sorted(chain.direct(), first)
    gradients = adjoint(linear, direct, walls)
    if first.lengths is not None:
        lengths = _lengths(first)
        alive = steps_alive(len(states), states.shape[1], lengths, states.device)
        states = states * alive.unsqueeze(-1)
    gradient, reason = _parameter_gradient(chain)
    trace = LayerTrace(
        name,
        "RNN" if first.kind.startswith("RNN") else first.kind,
        parts,
        states,
        direct,
        gradients,
        linear,
        reverse=first.reverse,
        packed=first.lengths is not None,
        lengths=_lengths(first),
        walls=walls,
        parameter_gradient=gradient,
        unchecked_because=reason,
        findings=_carried(chain, name),
    )
    return trace.in_sequence_time()


def _replay(chain: Chain, budget: int) -> tuple[Tensor, Segments, dict[str, slice]]:
    """States and linearisation: one replay for each run of calls with the same weights."""
    segments: list[Segment] = []
    states: list[Tensor] = []
    state = _state(chain.calls[0])
    total = sum(call.steps for call in chain.calls)
    for calls in _same_weights(chain.calls):
        cell = make_cell(calls[0].kind, calls[0].weights, calls[0].has_biases)
        like = calls[0].weights[0]
        inputs = _sorted(joined([call.inputs for call in calls]), calls[0]).to(like.dtype)
        outputs = _sorted(joined([call.outputs for call in calls]), calls[0]).to(like.dtype)
        state = state.to(like.dtype)
        per_step = max(1, state.numel() * state.element_size() * _NUMBERS_PER_STATE)
        block = max(1, budget // per_step)
        for x, y in zip(inputs.split(block), outputs.split(block), strict=True):
            after, linear = cell.replay(x, y, state)
            # Only what fits the budget stays; the rest is linearised again when a sweep asks.
            keep = total * per_step <= budget
            segments.append(Segment(cell, state, after, x, linear if keep else None))
            states.append(after)
            state = after[-1]
    return joined(states), Segments(segments), cell.parts


def _same_weights(calls: Sequence[Call]) -> list[list[Call]]:
    groups: list[list[Call]] = []
    for call in calls:
        same = groups and all(
            a is b for a, b in zip(groups[-1][0].weights, call.weights, strict=True)
        )
        if same:
            groups[-1].append(call)
        else:
            groups.append([call])
    return groups


def _state(call: Call) -> Tensor:
    return _sorted(torch.cat(call.initial, -1).unsqueeze(0), call)[0]


def _sorted(values: Tensor, call: Call) -> Tensor:
    """(T B …) in the order of the user's batch, which packing may have sorted by length."""
    return values if call.order is None else values.index_select(1, call.order)


def _lengths(call: Call) -> tuple[int, ...] | None:
    if call.lengths is None or call.order is None:
        return call.lengths
    return tuple(call.lengths[b] for b in call.order.tolist())


def _parameter_gradient(chain: Chain) -> tuple[Tensor | None, str]:
    """What autograd left at W_hh over the whole chain, or why there is nothing to compare with."""
    for call in chain.calls:
        if changed := call.changed_in_place():
            return None, changed
    parts = [call.received["W"] for call in chain.calls if "W" in call.received]
    if len(parts) < sum(call.reached for call in chain.calls) or not parts:
        return None, "autograd was asked for no gradient of its recurrent weight"
    return torch.stack(parts).sum(0), ""


def _carried(chain: Chain, name: str) -> tuple[Finding, ...]:
    windows = chain.carried()
    if not windows:
        return ()
    steps = sum(call.steps for call in chain.calls)
    sentence = (
        f"The state of {name!r} is carried over {windows} calls without detach(): the gradient "
        f"runs through all of them, so the effective window is {steps} steps, and memory "
        "grows with it."
    )
    evidence = {"calls": windows, "effective_window_steps": steps}
    return (Finding("state carried", name, sentence, evidence),)


def find_links(chains: Sequence[Chain], names: Sequence[str]) -> tuple[Link, ...]:
    """Which layer reads, step by step, what which other layer wrote."""
    links = []
    for above, name in zip(chains, names, strict=True):
        scales = [call.scale for call in above.calls]
        for below, lower in zip(chains, names, strict=True):
            if below is above or above.calls[0].reverse or below.calls[0].reverse:
                continue
            if _reads(above.calls, below.calls):
                scale = (
                    None if scales[0] is None else torch.cat([s for s in scales if s is not None])
                )
                links.append(Link((lower,), name, scale))
                break
    return tuple(links)


def _reads(above: Sequence[Call], below: Sequence[Call]) -> bool:
    if len(above) != len(below):
        return False
    for upper, lower in zip(above, below, strict=True):
        if upper.inputs.shape != lower.outputs.shape:
            return False
        written = lower.outputs if upper.scale is None else lower.outputs * upper.scale
        if not torch.equal(upper.inputs, written):
            return False
    return True
