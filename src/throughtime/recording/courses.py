"""The ``Course`` of every layer: its steps in the run, in the user's loop, and what they read."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor

from throughtime.recording.calls import Call
from throughtime.recording.chains import Chain
from throughtime.recording.layout import Part
from throughtime.recording.witness import Witness
from throughtime.trace import Course, Gap, LayerTrace, Source


def count_loops(calls: Sequence[Call]) -> None:
    """Tell calls of a single step at which step of the user's loop they are.

    A loop within one call of the model begins anew with the next; where every call of the model is
    one step, the loop is around the model.
    """
    single = [call for call in calls if call.steps == 1 and not call.again]
    several = {name for (name, _), n in _counted(single).items() if n > 1}
    places = [(call.name, call.frame if call.name in several else 0) for call in single]
    totals, seen = Counter(places), Counter[tuple[str, int]]()
    for call, place in zip(single, places, strict=True):
        call.loop = seen[place], totals[place]
        seen[place] += 1


def _counted(calls: Sequence[Call]) -> Counter[tuple[str, int]]:
    return Counter((call.name, call.frame) for call in calls)


def with_courses(
    layers: Sequence[LayerTrace], chains: Sequence[Chain], calls: Sequence[Call]
) -> list[LayerTrace]:
    """The layers, each with the course of its chain; ``calls``: all of the run."""
    pairs = zip(layers, chains, strict=True)
    return [replace(layer, course=_course(chain, calls)) for layer, chain in pairs]


def _course(chain: Chain, calls: Sequence[Call]) -> Course:
    starts = [0, *accumulate(call.steps for call in chain.calls)][:-1]
    in_a_loop = all(call.loop[1] > 1 for call in chain.calls)
    order: list[int] = []
    loop: list[int] = []
    sources: dict[int, dict[str, Source]] = {}
    gaps: dict[int, Gap] = {}
    for start, call in zip(starts, chain.calls, strict=True):
        order += range(call.at, call.at + call.steps)
        loop += [call.loop[0]] if in_a_loop else range(start, start + call.steps)
        if call.sources:
            by_name = {name.rstrip("01"): source for name, source in call.sources.items()}
            sources |= dict.fromkeys(range(start, start + call.steps), by_name)
            if (gap := _gap(call, calls)) is not None:
                gaps[start] = gap

    def weights(t: int) -> list[tuple[str, str, Tensor]]:
        call = chain.calls[bisect_right(starts, t) - 1]
        return list(zip(_labels(call), call.named, call.weights, strict=True))

    if gaps.get(0) is not None and not in_a_loop:  # windows of one sequence
        loop = [gaps[0].after + 1 + step for step in loop]
    total = chain.calls[0].loop[1] if in_a_loop else loop[-1] + 1
    dtype = chain.calls[0].outputs.dtype
    return Course(tuple(order), tuple(loop), total, dtype, sources, gaps, weights, in_a_loop)


def _gap(call: Call, calls: Sequence[Call]) -> Gap | None:
    """A state that was finite when the call before of the same layer ended, and is not here."""
    before = [one for one in calls if one.name == call.name and one.at < call.at and not one.again]
    source = next((s for name, s in call.sources.items() if name.startswith("state")), None)
    if not before or source is None or call.lengths is not None:
        return None
    last = before[-1]
    if last.final[0].shape != call.initial[0].shape:
        return None
    rows = ~_finite_rows(call.initial) & _finite_rows(last.final)
    if not rows.any():
        return None
    if call.steps > 1 and source.kind == "data":  # carried on, or a state that the user gave?
        pairs = list(zip(call.initial, last.final, strict=True))
        if not all(torch.equal(a[~rows], b[~rows]) for a, b in pairs):
            return None
    after = last.loop[0] if last.loop[1] > 1 else sum(one.steps for one in before) - 1
    return Gap(call.name, after, tuple(rows.nonzero().flatten().tolist()), source)


def _finite_rows(parts: Sequence[Tensor]) -> Tensor:
    rows = torch.stack([torch.isfinite(part).reshape(len(part), -1).all(-1) for part in parts])
    return rows.all(0)


def _labels(call: Call) -> list[str]:
    """The names of the weights, as torch has them without the layer's suffix."""
    known = list(call.make(call.weights).weights())
    if len(known) == len(call.weights):
        return known
    # torch's two biases, which the recurrence adds up: behind the matrices, before a projection.
    biases = ["bias_ih", "bias_hh"] if len(call.weights) > 3 else []
    names = ["weight_ih", "weight_hh", *biases]
    return names + ["weight_hr"] * (len(call.weights) - len(names))


def with_marked_course(
    layer: LayerTrace, states: Sequence[tuple[Part, ...]], witness: Witness
) -> LayerTrace:
    """A marked recurrence with the course of its marks."""
    places = [witness.mark_of(parts[0]) for parts in states]
    made = {t: {"made": source} for t, (_, source) in enumerate(places) if source is not None}
    steps = tuple(range(len(states)))
    order = tuple(at for at, _ in places)
    return replace(layer, course=Course(order, steps, len(steps), states[0][0].dtype, made))
