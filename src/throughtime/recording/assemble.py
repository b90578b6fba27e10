"""From chains of calls to ``LayerTrace``s: states replayed, gradients swept, layers linked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from throughtime.findings import Finding
from throughtime.recording.calls import Call
from throughtime.recording.chains import Chain
from throughtime.recording.kernels import joined
from throughtime.recording.passages import Passage
from throughtime.recording.unrolled import proof
from throughtime.recurrences import Driven, Segment, Segments
from throughtime.sweeps import adjoint
from throughtime.trace import LayerTrace, steps_alive

# A linearised step holds about so many numbers for each one of its state (gates and their slopes).
_NUMBERS_PER_STATE = 8


def layer_traces(chains: Sequence[Chain], budget: int) -> list[LayerTrace]:
    """The traces of all chains, each holding at most ``budget`` bytes at a time."""
    made = [_trace(chain, budget) for chain in chains]
    traces = [trace for trace, _ in made]
    for group in _sharing(chains):
        gradient, reason = _autograds([chains[n] for n in group])
        rebuilt = None
        several = len(group) > 1 or _without_w_hh(chains[group[0]])
        if several and gradient is not None:
            rebuilt = _rebuilt([made[n] for n in group])
        for n in group:
            traces[n] = replace(
                traces[n],
                parameter_gradient=gradient,
                rebuilt_gradient=rebuilt,
                unchecked_because=reason,
            )
    return traces


@torch.no_grad()
def _trace(chain: Chain, budget: int) -> tuple[LayerTrace, list[Segment]]:
    first, name = chain.calls[0], chain.name
    states, segments = _replay(chain, budget)
    walls = chain.walls()
    direct = in_batch_order(chain.direct(), first)
    if states.dtype in (torch.float16, torch.bfloat16):
        # The run had few digits; what is measured of it has those of float32.
        segments = [segment.to(torch.float32) for segment in segments]
        direct = direct.float()
    linear = Segments(segments)
    gradients = adjoint(linear, direct, walls)
    if first.lengths is not None:
        lengths = _lengths(first)
        alive = steps_alive(len(states), states.shape[1], lengths, states.device)
        states = states * alive.unsqueeze(-1)
    parts = segments[0].cell.parts
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
        starts=chain.starts(),
        detached=tuple(list(parts)[part] for part in chain.detached()),
        spoilt=chain.spoilt(),
        fed=first.origin is not None and first.origin.fed,
        findings=_carried(chain, name),
    )
    return trace.in_sequence_time(), segments


def _replay(chain: Chain, budget: int) -> tuple[Tensor, list[Segment]]:
    """States and segments of time: one replay for each run of calls with the same weights."""
    segments: list[Segment] = []
    states: list[Tensor] = []
    total = sum(call.steps for call in chain.calls)
    changed = [t for t, one in chain.at_steps() if _changes(one)]
    if chain.stepwise and changed:
        return _stepwise(chain, budget)
    for calls, one in _runs(chain):
        cell = calls[0].make(calls[0].weights)
        like = calls[0].weights[0]
        inputs = in_batch_order(joined([call.inputs for call in calls]), calls[0]).to(like.dtype)
        outputs = in_batch_order(joined([call.outputs for call in calls]), calls[0]).to(like.dtype)
        # Where all go on, the state that was replayed is the better one: under autocast, say.
        state = states[-1][-1] if states and not _changes(one) else _state(calls[0])
        state = state.to(like.dtype)
        per_step = max(1, state.numel() * state.element_size() * _NUMBERS_PER_STATE)
        block = max(1, budget // per_step)
        pairs = zip(inputs.split(block), outputs.split(block), strict=True)
        for n, (x, y) in enumerate(pairs):
            after, linear = cell.replay(x, y, state)
            # Only what fits the budget stays; the rest is linearised again when a sweep asks.
            keep = total * per_step <= budget
            segments.append(Segment(cell, state, after, x, linear if keep else None))
            if not n and one.gate is not None:
                segments[-1].gates[0] = one.gate
            if not n and one.tangent is not None:
                segments[-1].tangents[0] = one.tangent
            states.append(after)
            state = after[-1]
    return joined(states), segments


def _stepwise(chain: Chain, budget: int) -> tuple[Tensor, list[Segment]]:
    """The same where every call is one step, and shows both its states: nothing is replayed."""
    segments: list[Segment] = []
    like = chain.calls[0].weights[0]
    per_step = sum(part.numel() for part in chain.calls[0].initial) * like.element_size()
    block = max(1, budget // max(1, per_step * _NUMBERS_PER_STATE))
    keep = len(chain.calls) <= block
    runs: list[list[int]] = []
    for n, call in enumerate(chain.calls):
        same = runs and _same_weights(chain.calls[runs[-1][0]], call)
        if same and len(runs[-1]) < block:
            runs[-1].append(n)
        else:
            runs.append([n])
    for run in runs:
        calls, passages = [chain.calls[n] for n in run], [chain.passages[n] for n in run]
        cell = calls[0].make(calls[0].weights)
        inputs = joined([call.inputs for call in calls]).to(like.dtype)
        before = torch.stack([torch.cat(call.initial, -1) for call in calls]).to(like.dtype)
        after = torch.stack([torch.cat(call.final, -1) for call in calls]).to(like.dtype)
        gates = {t: one.gate for t, one in enumerate(passages) if one.gate is not None}
        tangents = {t: one.tangent for t, one in enumerate(passages) if one.tangent is not None}
        linear = cell.linearise(before, inputs) if keep else None
        segments.append(
            Segment(
                cell,
                before[0],
                after,
                inputs,
                linear,
                given=before,
                gates=gates,
                tangents=tangents,
            )
        )
    return joined([segment.states for segment in segments]), segments


def _runs(chain: Chain) -> list[tuple[list[Call], Passage]]:
    """Calls in a row with the same weights, and how their run goes on from the one before."""
    runs: list[tuple[list[Call], Passage]] = []
    for call, one in zip(chain.calls, chain.passages, strict=True):
        if runs and not _changes(one) and _same_weights(runs[-1][0][0], call):
            runs[-1][0].append(call)
        else:
            runs.append(([call], one))
    return runs


def _changes(one: Passage) -> bool:
    """Whether the state, or its gradient, is another behind it."""
    return one.gate is not None


def _same_weights(call: Call, other: Call) -> bool:
    return all(a is b for a, b in zip(call.weights, other.weights, strict=True))


def _state(call: Call) -> Tensor:
    return in_batch_order(torch.cat(call.initial, -1).unsqueeze(0), call)[0]


def in_batch_order(values: Tensor, call: Call) -> Tensor:
    """(T B …) in the order of the user's batch, which packing may have sorted by length."""
    return values if call.order is None else values.index_select(1, call.order)


def _lengths(call: Call) -> tuple[int, ...] | None:
    if call.lengths is None or call.order is None:
        return call.lengths
    return tuple(call.lengths[b] for b in call.order.tolist())


def _sharing(chains: Sequence[Chain]) -> list[list[int]]:
    """Chains that have a weight in common, as groups of indices: autograd gave one gradient."""
    groups: list[tuple[set[int], list[int]]] = []
    for n, chain in enumerate(chains):
        weights = {id(call.recurrent) for call in chain.calls}
        joint = [group for group in groups if group[0] & weights]
        groups = [group for group in groups if not group[0] & weights]
        indices = sorted([n, *(index for group in joint for index in group[1])])
        groups.append((weights.union(*(group[0] for group in joint)), indices))
    return [indices for _, indices in groups]


def _autograds(chains: Sequence[Chain]) -> tuple[Tensor | None, str]:
    """What autograd left at W_hh over whole chains, or why there is nothing to compare with."""
    calls = [call for chain in chains for call in chain.calls if call.reached]
    reason = next((reason for call in calls if (reason := call.unchecked_because())), "")
    weights = {id(call.recurrent): call.recurrent for call in calls}
    parts = [weight.gradient for weight in weights.values() if weight is not None]
    found = [part for part in parts if part is not None]
    if reason or not found:
        return None, reason or "autograd left no gradient of its recurrent weight"
    return torch.stack(found).sum(0), ""


@torch.no_grad()
def _rebuilt(traces: Sequence[tuple[LayerTrace, list[Segment]]]) -> Tensor | None:
    parts = [_of_the_weight(trace, segments) for trace, segments in traces]
    found = [part for part in parts if part is not None]
    return torch.stack(found).sum(0) if found else None


def _of_the_weight(trace: LayerTrace, segments: Sequence[Segment]) -> Tensor | None:
    """The gradient, from the trace, of W_hh or of the weight that stands for it."""
    rows = trace.turned(trace.gradients)
    found = trace.linear.recurrent_weight_gradient(rows)
    if found is not None:
        return found
    sizes = [len(segment.states) for segment in segments]
    for segment, part in zip(segments, rows.split(sizes), strict=True):
        if not isinstance(segment.cell, Driven):
            return None
        more = proof(segment.cell, segment.befores(), segment.inputs, part)
        found = more if found is None else found + more
    return found


def _without_w_hh(chain: Chain) -> bool:
    return "weight_hh" not in chain.calls[0].make(chain.calls[0].weights).weights()


def _carried(chain: Chain, name: str) -> tuple[Finding, ...]:
    if chain.calls[0].older:
        return (_older(name),)
    windows, steps = chain.carried()
    if windows == 1:
        return ()
    sentence = (
        f"The state of {name!r} is carried over {windows} calls without detach(): the gradient "
        f"runs through all of them, so the effective window is {steps} steps, and memory "
        "grows with it."
    )
    korean = (
        f"{name!r}의 상태가 detach() 없이 호출 {windows}번에 걸쳐 이어집니다. 기울기가 모든 호출을 "
        f"지나므로 실제 구간은 {steps}스텝이며 메모리도 그만큼 늘어납니다."
    )
    evidence = {"calls": windows, "effective_window_steps": steps}
    return (Finding("state carried", name, sentence, evidence, korean=korean),)


def _older(name: str) -> Finding:
    """The first state of a layer hangs on the graph of a pass that was over before the capture."""
    sentence = (
        f"{name!r} starts from a state that still hangs on the graph of an earlier forward pass: "
        "every backward pass goes through all batches before it, and needs retain_graph=True. Cut "
        "it between batches: state = state.detach(), for LSTM tuple(s.detach() for s in state)."
    )
    korean = (
        f"{name!r}이(가) 이전 순전파의 그래프에 연결된 상태에서 시작합니다. 역전파가 매번 앞선 "
        "배치를 모두 지나가고 retain_graph=True가 필요해집니다. 배치 사이에서 state = "
        "state.detach()로 끊으십시오. LSTM이라면 tuple(s.detach() for s in state)입니다."
    )
    return Finding("state carried", name, sentence, {}, korean=korean)
