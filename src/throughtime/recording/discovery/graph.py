"""Which call read what which other call made, read off autograd's graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from throughtime.recording.discovery.events import Event, Key

_MOST_NODES = 4096

Value = tuple[int, int]
"""An output of an event: the number of the event, and which of its outputs."""


class Graph:
    """The values of a run, each with the event that made it and those that read it.

    Attributes:
        sources: by event, the values that it read.
        readers: by value, the events that read it, in order.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.sources: list[list[Value]] = []
        self.readers: dict[Value, list[int]] = {}
        self._made: dict[Key, Value] = {}
        self._behind: dict[Any, tuple[Value, ...]] = {}
        for number, event in enumerate(events):
            sources = list(dict.fromkeys(v for key in event.reads for v in self.resolve(key)))
            self.sources.append(sources)
            for value in sources:
                self.readers.setdefault(value, []).append(number)
            for slot, key in enumerate(event.keys):
                if key not in event.reads:  # else it was handed on as it is
                    self._made.setdefault(key, (number, slot))

    def resolve(self, key: Key) -> Iterable[Value]:
        """The values that stand at ``key``, or nearest behind it."""
        known = self._made.get(key)
        if known is not None:
            return (known,)
        node = key[0]
        if node not in self._behind:
            self._behind[node] = self._search(node)
        return self._behind[node]

    def _search(self, start: Any) -> tuple[Value, ...]:
        found: dict[Value, None] = {}
        waiting, seen = [start], {start}
        while waiting and len(seen) < _MOST_NODES:
            for following in waiting.pop().next_functions:
                known = self._made.get(following)
                if known is not None:
                    found[known] = None
                elif following[0] is not None and following[0] not in seen:
                    seen.add(following[0])
                    waiting.append(following[0])
        return tuple(found)

    def reaches(self, start: int, end: int, within: Collection[int]) -> bool:
        """Whether the outcome of one event has a part in another, by way of ``within`` alone."""
        seen, waiting = {start}, [start]
        while waiting:
            number = waiting.pop()
            for slot in range(len(self.events[number].keys)):
                for reader in self.readers.get((number, slot), ()):
                    if reader == end:
                        return True
                    if reader < end and reader in within and reader not in seen:
                        seen.add(reader)
                        waiting.append(reader)
        return False


def components(edges: dict[int, set[int]]) -> list[set[int]]:
    """The strongly connected components that hold a cycle: Tarjan's algorithm, not recursive."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[set[int]] = []
    for root in list(edges):
        if root in index:
            continue
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        work = [(root, iter(edges[root]))]
        while work:
            node, following = work[-1]
            for one in following:
                if one not in index:
                    index[one] = low[one] = len(index)
                    stack.append(one)
                    on_stack.add(one)
                    work.append((one, iter(edges.get(one, ()))))
                    break
                if one in on_stack:
                    low[node] = min(low[node], index[one])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    members: set[int] = set()
                    while not members or one != node:
                        one = stack.pop()
                        on_stack.discard(one)
                        members.add(one)
                    if len(members) > 1 or node in edges[node]:
                        found.append(members)
    return found
