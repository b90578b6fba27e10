"""What stands behind a recurrence: the loops and the recorded layers whose outcome it reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from throughtime.recording.discovery.graph import Graph, Value
from throughtime.recording.discovery.loops import Loop


class Behind:
    """Walks back from a recurrence to those that it reads.

    Args:
        graph: of the run.
        loops: that were found in it.
    """

    def __init__(self, graph: Graph, loops: Sequence[Loop]) -> None:
        self._graph, self._loops = graph, loops
        self._owner = {event: n for n, loop in enumerate(loops) for event in loop.events}

    def of_loop(self, number: int) -> set[int | str]:
        """Other loops by their number, recorded layers by their name."""
        events = self._loops[number].events
        sources = (value for event in events for value in self._graph.sources[event])
        return self._nearest(sources) - {number}

    def of_layers(self) -> dict[str, set[int | str]]:
        """The same for the recorded layers that run in no loop."""
        found: dict[str, set[int | str]] = {}
        for event, sources in enumerate(self._graph.sources):
            for name in self._graph.events[event].kernel if event not in self._owner else ():
                found.setdefault(name, set()).update(self._nearest(sources))
        return found

    def made(self, values: Iterable[Value], given: Collection[Value]) -> set[int]:
        """The loops that made these values from those that were ``given``."""
        return {one for one in self._nearest(values, given) if isinstance(one, int)}

    def _nearest(self, values: Iterable[Value], given: Collection[Value] = ()) -> set[int | str]:
        found: set[int | str] = set()
        waiting, seen = list(values), set(given)
        while waiting:
            value = waiting.pop()
            if value in seen:
                continue
            seen.add(value)
            event = value[0]
            if event in self._owner:
                found.add(self._owner[event])
            elif self._graph.events[event].kernel:
                found.update(self._graph.events[event].kernel)
            else:
                waiting += self._graph.sources[event]
        return found
