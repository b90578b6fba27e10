"""From the recorded calls of cores to ``LayerTrace``s; calls that continue one another are one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from throughtime.recording.names import unique_names
from throughtime.recording.scans.in_turn import InTurn
from throughtime.recording.scans.linear import LinearisedScan
from throughtime.recording.scans.record import ScanCall, in_effect
from throughtime.recording.scans.run import (
    Run,
    compared,
    direct_of,
    precision_of,
    spoilt_because,
    states_of,
    weighing,
)
from throughtime.recording.scans.shelf import ScanTrace, Shelf
from throughtime.trace import LayerTrace

_Make = Callable[[], Tensor]
# What arguments of a version that is not known may raise when they are put into the form.
_UNFIT = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


def scan_traces(calls: Sequence[ScanCall], budget: int) -> list[LayerTrace]:
    """The traces of all calls that a gradient reached; rows of one module are numbered."""
    chains, shelf = scan_chains(calls), Shelf(budget)
    names = unique_names([chain[0].name for chain in chains])
    traces = []
    for chain, name in zip(chains, names, strict=True):
        try:
            traces.append(_trace(chain, name, budget, shelf))
        except _UNFIT as error:
            for call in chain:
                call.unknown = f"{type(error).__name__}: {error}"
    return traces


def scan_chains(calls: Sequence[ScanCall]) -> list[list[ScanCall]]:
    """The calls that a gradient reached, each behind the one from whose last state it starts.

    Without those whose arguments turned out not to fit.
    """
    chains: list[list[ScanCall]] = []
    for call in in_effect(calls):
        if not call.reached or call.unknown:
            continue
        before = next((chain for chain in chains if chain[-1] in call.follows), None)
        if before is None:
            chains.append([call])
        else:
            before.append(call)
    return chains


@torch.no_grad()
def _trace(chain: Sequence[ScanCall], name: str, budget: int, shelf: Shelf) -> LayerTrace:
    runs = [Run.of(call, budget) for call in chain]
    later = [*chain[1:], None]
    states = [states_of(run) for run in runs]
    lazy = [
        shelf.put(_silent(partial(states_of, run)), own)
        for run, own in zip(runs, states, strict=True)
    ]
    linear = InTurn.of([_linear(run, make) for run, make in zip(runs, lazy, strict=True)])

    def direct() -> Tensor:
        pairs = zip(runs, lazy, later, strict=True)
        return torch.cat([direct_of(run, make(), following) for run, make, following in pairs])

    asked, joined = direct(), states[0] if len(states) == 1 else torch.cat(states)
    total = linear.adjoint(asked)
    parts = total.split([run.steps for run in runs])
    checks = [compared(run, own, part) for run, own, part in zip(runs, states, parts, strict=True)]
    reason = next((reason for _, _, reason in checks if reason), "")
    spoilt = [spoilt_because(run, own) for run, own in zip(runs, states, strict=True)]
    for run in runs:
        run.held.clear()
    trace = LayerTrace(
        name,
        "scan",
        {"s": slice(0, runs[0].width)},
        joined,
        asked,
        total,
        linear,
        starts=_starts(runs),
        parameter_gradient=None if reason else _flat([theirs for theirs, _, _ in checks]),
        rebuilt_gradient=None if reason else _flat([ours for _, ours, _ in checks]),
        unchecked_because=reason,
        spoilt=next((one for one in spoilt if one), ""),
        precision=max(map(precision_of, chain), key=lambda one: torch.finfo(one).eps),
    )
    lazy_direct = shelf.put(_silent(direct), asked)
    return ScanTrace.of(
        trace,
        states=lazy[0] if len(lazy) == 1 else _silent(lambda: torch.cat([one() for one in lazy])),
        direct=lazy_direct,
        gradients=shelf.put(_silent(lambda: linear.adjoint(lazy_direct())), total),
    )


def _linear(run: Run, states: _Make) -> LinearisedScan:
    weight = f"the argument {run.probe!r}"
    return LinearisedScan(
        run.make,
        run.steps,
        run.shape,
        run.block,
        run.numbers,
        run.dtype,
        weight,
        weighing(run, states),
    )


def _starts(runs: Sequence[Run]) -> Tensor | None:
    if all(run.starts is None for run in runs):
        return None
    device = runs[0].call.output.device
    none = [torch.zeros(run.steps, run.batch, dtype=torch.bool, device=device) for run in runs]
    pairs = zip(runs, none, strict=True)
    return torch.cat([other if run.starts is None else run.starts for run, other in pairs])


def _flat(gradients: Sequence[Tensor | None]) -> Tensor:
    return torch.cat([one.flatten().double() for one in gradients if one is not None])


def _silent(make: _Make) -> _Make:
    """The same function, which records nothing."""
    return torch.no_grad()(make)
