"""Recurrences that nobody marked: loops in Python whose state is found by the flow of the data.

``events`` takes down what the model calls while it runs; ``contexts`` reads the loops of the code;
``graph`` says who reads whom; ``loops`` finds the recurrences, ``cut`` their states; ``states``
shows them as marked ones are shown; ``naming`` says what they are called.
"""

from __future__ import annotations

import gc
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from throughtime.recording.calls import Passes
from throughtime.recording.discovery.behind import Behind
from throughtime.recording.discovery.cut import Cut, Cutter
from throughtime.recording.discovery.events import Events, Key, Site, transformed
from throughtime.recording.discovery.graph import Graph
from throughtime.recording.discovery.loops import MIN, Finder, Loop
from throughtime.recording.discovery.naming import name_of, place_of, where_of
from throughtime.recording.discovery.states import LoopStates, custom_between, part_of
from throughtime.recording.discovery.variants import told_apart
from throughtime.recording.layout import Part
from throughtime.recording.names import Names
from throughtime.recording.witness import Witness, leaves_between

_NUMBERS = (bool, int, float, str, torch.Size, torch.dtype, torch.device)


class Discovery:
    """Finds the loops of a run.

    Args:
        names: what the model calls its modules.
        passes: the backward passes of the capture.
        marked: each says whether a marked state stands at a node of the graph.
        witness: which knows the order of the run.
        budget: how many bytes of values it may hold.
    """

    def __init__(
        self,
        names: Names,
        passes: Passes,
        marked: Sequence[Callable[[Any], bool]],
        witness: Witness,
        budget: int,
    ) -> None:
        self._names, self._passes, self._marked = names, passes, marked
        self._witness = witness
        self._events = Events(budget)
        self.found: dict[tuple[Any, ...], LoopStates] = {}
        self.weights: set[int] = set()
        self.short: dict[str, int] = {}
        self.feeds: dict[tuple[LoopStates | str, LoopStates | str], None] = {}
        self._scans: list[tuple[Key, list[Key]]] = []
        self._sites: list[Site] = []

    def begin(self) -> None:
        """The block begins, in the nearest frame outside of this package's session."""
        frame = sys._getframe(1)
        package = __name__.rpartition(".")[0]
        while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(package):
            frame = frame.f_back
        self._events.begin(frame)

    def end(self) -> None:
        """The block ends: only the states of what was found stay."""
        self._events.end()

    def before(self, name: str, args: Sequence[Any]) -> None:
        """A torch call is about to be made."""
        if args and self._events.writes(name):
            self._events.before_write(args[0])

    def after(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        result: Any,
        modules: Sequence[tuple[nn.Module, int]],
        layers: Sequence[str],
    ) -> None:
        """It has returned; ``layers``: those that are recorded, if it was a recurrent kernel."""
        if type(result) in _NUMBERS or name == "__get__" or transformed():
            return
        event = self._events.note(name, args, kwargs, result, modules)
        if event is not None:
            event.place = self._witness.now
        if event is not None and layers:
            event.kernel = tuple(dict.fromkeys(layers))
            fed = args[0]
            if isinstance(fed, Tensor):
                event.fed = _key(fed)

    def scanned(self, output: Tensor, given: Iterable[Tensor | None]) -> None:
        """The user shows what a scan made from what it was given: the loop that did is no other."""
        made = _key(output)
        if made is not None:
            keys = (_key(one) for one in given if one is not None)
            self._scans.append((made, [key for key in keys if key is not None]))

    def look(self) -> list[RemovableHandle]:
        """Before a backward pass: find the loops, and hang hooks on their states."""
        events = self._events
        if max(events.counts, default=0) < 2:
            events.clear()
            return []
        # A look makes many small objects and lets go of all: the collector would search for cycles.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._look(events)
        finally:
            events.clear()
            if collecting:
                gc.enable()

    def _look(self, events: Events) -> list[RemovableHandle]:
        sites = events.settled()
        graph = Graph(events.events)
        self._sites = told_apart(events.events, sites)
        found = Finder(events.events, self._sites, graph).find()
        behind = Behind(graph, found.loops)
        scanned = self._scanned(behind, graph)
        handles: list[RemovableHandle] = []
        states: dict[int, LoopStates] = {}
        for number, loop in enumerate(found.loops):
            keys = (key for n in loop.events for key in events.events[n].keys)
            if any(marked(key[0]) for key in keys for marked in self._marked):
                continue
            cut = Cutter(loop, graph).cut()
            if cut is None:
                continue
            if number in scanned:
                self.weights.update(*(self._sites[site].weights for site in loop.sites))
            elif shown := self._show(loop, cut, graph):
                handles += shown
                states[number] = self._states_of(loop, cut, graph)
        for loop in found.short:
            self._tell_short(loop, graph)
        self._note_feeds(behind, states)
        return handles

    def _scanned(self, behind: Behind, graph: Graph) -> set[int]:
        """The loops that made what the user shows as a scan."""
        found: set[int] = set()
        for output, given in self._scans:
            known = {value for key in given for value in graph.resolve(key)}
            found |= behind.made(graph.resolve(output), known)
        self._scans.clear()
        return found

    def _note_feeds(self, behind: Behind, states: dict[int, LoopStates]) -> None:
        """Who reads whom, where one of the two is a loop that has states."""
        readers: list[tuple[LoopStates | str, set[int | str]]]
        readers = [(states[n], behind.of_loop(n)) for n in states]
        readers += behind.of_layers().items() if states else ()
        for upper, lowers in readers:
            for lower in lowers:
                below = states.get(lower) if isinstance(lower, int) else lower
                if below is not None and not (isinstance(below, str) and isinstance(upper, str)):
                    self.feeds[below, upper] = None

    def _tell_short(self, loop: Loop, graph: Graph) -> None:
        modules = (module for site in loop.sites for module in self._sites[site].modules)
        weights = [weight for site in loop.sites for weight in self._sites[site].weights]
        kernels = any(graph.events[n].kernel for n in loop.events)
        if not kernels and loop.iterations > 2 and self._names.known((*modules, *weights)):
            where = f"{place_of(loop, self._sites)} ({where_of(loop, self._sites)})"
            self.weights.update(weights)
            self.short[where] = max(loop.iterations, self.short.get(where, 0))

    def too_short(self) -> list[str]:
        """What is to be told of loops that are not measured."""
        return [
            f"the loop {where} hands a state on and ran for {count} iterations: too short to be "
            f"measured, which takes {MIN}"
            for where, count in self.short.items()
        ]

    def _show(self, loop: Loop, cut: Cut, graph: Graph) -> list[RemovableHandle]:
        """The hooks on the states of a loop; none if it is not the model's, or a value is gone."""
        states = self._values(cut)
        if not states:
            return []
        middle = len(states) // 2
        leaves = {
            id(leaf): leaf
            for part in states[middle]
            for leaf in leaves_between(part, states[middle - 1])
        }
        sites = [self._sites[site] for site in loop.sites]
        modules = [module for site in sites for module in site.modules]
        if not self._names.known((*leaves, *modules)):
            return []
        self.weights.update(leaves, *(site.weights for site in sites))
        marks = self._states_of(loop, cut, graph)
        marks.weights.keep(leaves.values())
        marks.custom = custom_between(states[middle], states[middle - 1])
        walls = _walls(loop, cut, graph)
        walls[0] = any(  # a window begins at the last state of the one before, detached
            marks.stands_at(key[0])
            for number in loop.events
            if number <= cut.times[0]
            for key in graph.events[number].cuts
        )
        handles: list[RemovableHandle] = []
        for state, wall, time in zip(states, walls, cut.times, strict=True):
            self._witness.place(state[0], graph.events[time].place)
            handles += marks.show(state, wall)
        return handles

    def _values(self, cut: Cut) -> list[tuple[Part, ...]]:
        """The tensors of all states; none where one is gone, or they differ in shape."""
        states = []
        for values in cut.states:
            parts = [self._part(value) for value in values]
            states.append(tuple(part for part in parts if part is not None))
        shapes = {tuple(tuple(part.shape) for part in state) for state in states}
        return states if len(shapes) == 1 and len(states[0]) == len(cut.roles) else []

    def _states_of(self, loop: Loop, cut: Cut, graph: Graph) -> LoopStates:
        """What is known of this loop, from an earlier window perhaps."""
        sites = self._sites
        key = (loop.context, *((sites[site], slot, rank) for site, slot, rank in cut.roles))
        if key not in self.found:
            covers, joint = _kernels(loop, graph)
            self.found[key] = LoopStates(
                name_of(loop, sites, graph, self._names.path),
                self._passes,
                where=where_of(loop, sites),
                place=place_of(loop, sites),
                covers=covers,
                joint=joint,
            )
        return self.found[key]

    def _part(self, value: tuple[int, int]) -> Part | None:
        number, slot = value
        event = self._events.events[number]
        return part_of(event, slot, self._events.before_writes)


def _key(tensor: Tensor) -> Key | None:
    return None if tensor.grad_fn is None else (tensor.grad_fn, tensor.output_nr)


def _walls(loop: Loop, cut: Cut, graph: Graph) -> list[bool]:
    """By state: whether its iteration read what the one before has made, detached."""
    before = dict.fromkeys(loop.events)
    walls = [False] * len(cut.times)
    for number in loop.events:
        n = bisect_left(cut.times, number)
        if 0 < n < len(walls) and graph.events[number].cuts:
            sources = (value for key in graph.events[number].cuts for value in graph.resolve(key))
            walls[n] |= any(source in before for source, _ in sources)
    return walls


def _kernels(loop: Loop, graph: Graph) -> tuple[frozenset[str], bool]:
    """The recorded layers in a loop, and whether one is fed by it beyond its own state."""
    inside = set(loop.events)
    kernels = [graph.events[n] for n in loop.events if graph.events[n].kernel]
    fed = any(
        number in inside
        for event in kernels
        if event.fed is not None
        for number, _ in graph.resolve(event.fed)
    )
    covers = frozenset(name for event in kernels for name in event.kernel)
    return covers, fed or len(covers) > 1


__all__ = ["MIN", "Discovery", "LoopStates"]
