"""One place in the code that serves several layers: told apart by the weights that it works with.

``for n, cell in enumerate(cells): state[n] = tanh(cell(x, state[n]))`` runs one ``tanh`` for all
cells. In each pass through the body of a loop the modules and weights say whose it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from throughtime.recording.discovery.contexts import Context, contexts_of
from throughtime.recording.discovery.events import Event, Site

Label = tuple[tuple[int, ...], tuple[int, ...]]
"""The modules that run and the weights that are read."""


def told_apart(events: Sequence[Event], sites: Sequence[Site]) -> list[Site]:
    """The sites with those of several layers split; ``events`` are given the new numbers."""
    frames: dict[tuple[object, ...], set[Label]] = {}
    for event in events:
        site = sites[event.site]
        frames.setdefault(site.frames, set()).add((site.modules, site.weights))
    several = {code for code, labels in frames.items() if len(labels) > 1}
    split = list(sites)
    if not several:
        return split
    inner = {number: _inner(sites[number]) for number in {event.site for event in events}}
    numbers: dict[tuple[int, Label], int] = {}
    for run in _passes(events, inner):
        labels = [event.site for event in run if sites[event.site].frames in several]
        if not labels:
            continue
        label = sites[labels[-1]].modules, sites[labels[-1]].weights
        for event in run:
            own = sites[event.site].modules
            if sites[event.site].frames in several or label[0][: len(own)] != own:
                continue  # it is told apart already, by its weights or by the module that runs it
            key = event.site, label
            if key not in numbers:
                numbers[key] = len(split)
                old = sites[event.site]
                split.append(old._replace(modules=old.modules + label[0], label=label))
            event.site = numbers[key]
    return split


def _inner(site: Site) -> tuple[Context, int] | None:
    """The innermost loop of a site, and its instruction in the frame of that loop."""
    chain = contexts_of(site)
    if not chain:
        return None
    return chain[-1], site.frames[::-1][len(chain[-1].around)][1]


def _passes(
    events: Sequence[Event],
    inner: dict[int, tuple[Context, int] | None],
) -> list[list[Event]]:
    """Single passes through the bodies of the innermost loops: where it jumps back one ends."""
    open_runs: dict[Context, tuple[int, list[Event]]] = {}
    runs: list[list[Event]] = []
    for event in events:
        place = inner[event.site]
        if place is None:
            continue
        context, at = place
        before, run = open_runs.get(context, (at, []))
        if at < before or not run:
            run = []
            runs.append(run)
        run.append(event)
        open_runs[context] = at, run
    return runs
