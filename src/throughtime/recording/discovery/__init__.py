"""Recurrences that nobody marked: loops in Python whose state is found by the flow of the data.

``events`` takes down what the model calls while it runs; ``contexts`` reads the loops of the code;
``graph`` says who reads whom; ``loops`` finds the recurrences, ``cut`` their states; ``states``
shows them as marked ones are shown; ``naming`` says what they are called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from throughtime.recording.calls import Passes
from throughtime.recording.discovery.cut import Cut, Cutter
from throughtime.recording.discovery.events import Events, transformed
from throughtime.recording.discovery.graph import Graph
from throughtime.recording.discovery.loops import MIN, Finder, Loop
from throughtime.recording.discovery.naming import name_of, where_of
from throughtime.recording.discovery.states import LoopStates, part_of
from throughtime.recording.layout import Part


class Discovery:
    """Finds the loops of a run.

    Args:
        path: what the model calls a module, by identity.
        passes: the backward passes of the capture.
        seen: whether a recorded or marked state stands at a node of the graph.
        budget: how many bytes of values it may hold.
    """

    def __init__(
        self,
        path: Callable[[int], str | None],
        passes: Passes,
        seen: Callable[[Any], bool],
        budget: int,
    ) -> None:
        self._path, self._passes, self._seen = path, passes, seen
        self._events = Events(budget)
        self.found: dict[tuple[Any, ...], LoopStates] = {}
        self.notes: list[str] = []

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
    ) -> None:
        """It has returned."""
        if name != "__get__" and not transformed():
            self._events.note(name, args, kwargs, result, modules)

    def look(self) -> list[RemovableHandle]:
        """Before a backward pass: find the loops, and hang hooks on their states."""
        events = self._events
        if not any(count >= 2 for count in events.counts.values()):
            events.clear()
            return []
        graph = Graph(events.events)
        found = Finder(events.events, events.sites, graph).find()
        handles: list[RemovableHandle] = []
        for loop in found.loops:
            if any(self._seen(key[0]) for n in loop.events for key in events.events[n].keys):
                continue
            cut = Cutter(loop, graph).cut()
            if cut is not None:
                handles += self._show(loop, cut)
        events.clear()
        return handles

    def _show(self, loop: Loop, cut: Cut) -> Iterator[RemovableHandle]:
        sites = self._events.sites
        states = [tuple(self._part(value) for value in state) for state in cut.states]
        shapes = [[None if p is None else tuple(p.shape) for p in state] for state in states]
        if any(shape != shapes[0] or None in shape for shape in shapes):
            return
        key = (loop.context, *((sites[s], slot, rank) for s, slot, rank in cut.roles))
        marks = self.found.get(key)
        if marks is None:
            name, where = name_of(loop, sites, self._path), where_of(loop, sites)
            marks = self.found[key] = LoopStates(name, self._passes, where=where)
        for state in states:
            yield from marks.show(tuple(part for part in state if part is not None))

    def _part(self, value: tuple[int, int]) -> Part | None:
        number, slot = value
        event = self._events.events[number]
        return part_of(event, slot, self._events.before_writes)


__all__ = ["MIN", "Discovery", "LoopStates"]
