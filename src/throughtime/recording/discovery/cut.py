"""What a loop hands from one iteration to the next: the values alive across its boundary.

The boundary may lie behind any site that runs once in every iteration. It is chosen so that little
crosses it and what the loop hands out, a hidden state for the read-out, lies on it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median

from throughtime.recording.discovery.graph import Graph, Value
from throughtime.recording.discovery.loops import Loop

_MUCH_LESS = 0.75
_MOST = 0.7
_GROWING = 0.5

Role = tuple[int, int, int]
"""A part of a state: the site that makes it, which of its outputs, and how many made later live."""


@dataclass(eq=False)
class Cut:
    """The state of a loop, iteration by iteration.

    Attributes:
        roles: what its parts are.
        states: by iteration, the value of every part.
        times: the events behind which these states cross to the next iteration.
        left_out: how many values also cross the boundaries, and are no part of the state: a list
            that grows, or what is there in some iterations alone.
    """

    roles: list[Role]
    states: list[tuple[Value, ...]]
    times: list[int]
    left_out: int


class Cutter:
    """Cuts one loop."""

    def __init__(self, loop: Loop, graph: Graph) -> None:
        self._loop, self._graph = loop, graph
        inside = set(loop.events)
        # Where a value is made, and the last place in the loop at which it is read.
        self._spans: dict[Value, int] = {}
        self._exits: list[Value] = []
        self._by_site: dict[int, list[int]] = {}
        for number in loop.events:
            self._by_site.setdefault(graph.events[number].site, []).append(number)
            for slot, tensor in enumerate(graph.events[number].sizes):
                readers = graph.readers.get((number, slot), ())
                within = [reader for reader in readers if reader in inside]
                if within and tensor:
                    self._spans[number, slot] = within[-1]
                    self._exits += [(number, slot)] * (len(within) < len(readers))

    def cut(self) -> Cut | None:
        """The best cut; None where no state is the same in most iterations.

        Of those that few numbers cross, the one behind which most of what the loop hands out is a
        part of the state; of several the last one in the body.
        """
        steady = self._loop.steady.items()
        times = {site: self._times(site)[often - 1 :: often] for site, often in steady}
        crossing = dict(zip(self._loop.events, self._crossing(), strict=False))
        sizes = {
            site: median(crossing[n] for n in (t[1:-1] or t)) or float("inf")
            for site, t in times.items()
            if len(t) > 2
        }
        few = min(sizes.values(), default=0) / _MUCH_LESS
        small = [site for site, size in sizes.items() if size <= few and size < float("inf")]
        if not small:
            return None
        best = max(reversed(small), key=lambda site: self._handed_out(times[site]))
        return self._states(times[best])

    def _handed_out(self, times: Sequence[int]) -> int:
        """How often something outside reads a value that is a part of the state."""
        found = 0
        for value in self._exits:
            n = bisect_right(times, value[0] - 1)
            found += n < len(times) - 1 and times[n] < self._spans[value]
        return found

    def _times(self, site: int) -> list[int]:
        return self._by_site[site]

    def _crossing(self) -> list[int]:
        """How many numbers cross to the next event, by place in the loop's events."""
        place = {number: n for n, number in enumerate(self._loop.events)}
        changes = [0] * (len(place) + 1)
        for (made, slot), last in self._spans.items():
            size = self._graph.events[made].sizes[slot]
            changes[place[made]] += size
            changes[place[last]] -= size
        return list(accumulate(changes))

    def _states(self, times: Sequence[int]) -> Cut | None:
        live: list[list[Value]] = [[] for _ in times]
        for value, last in self._spans.items():
            start, end = bisect_right(times, value[0] - 1), bisect_right(times, last - 1)
            for n in range(start, min(end, len(times))):
                live[n].append(value)
        by_role = [self._roles(values) for values in live]
        roles, left_out = self._steady(by_role)
        if not roles:
            return None
        states = [self._state(roles, here, t) for here, t in zip(by_role, times, strict=True)]
        first = next((n for n, state in enumerate(states) if state is not None), len(states))
        whole = [state for state in states[first:] if state is not None]
        if len(whole) < 2 or len(whole) < len(states) - first:
            return None
        return Cut(roles, whole, list(times[first:]), left_out)

    def _roles(self, values: Sequence[Value]) -> dict[Role, Value]:
        found: dict[Role, Value] = {}
        ranks: Counter[tuple[int, int]] = Counter()
        for number, slot in sorted(values, reverse=True):
            site = self._graph.events[number].site
            found[site, slot, ranks[site, slot]] = number, slot
            ranks[site, slot] += 1
        return found

    def _steady(self, by_role: Sequence[dict[Role, Value]]) -> tuple[list[Role], int]:
        """The roles that most boundaries have, but for those of lists that grow."""
        inner = by_role[1:-1] or by_role
        counts = Counter(role for roles in inner for role in roles)
        deepest = {
            (site, slot): max(rank for s, o, rank in by_role[-2] if (s, o) == (site, slot))
            for site, slot, _ in by_role[-2]
        }
        growing = {k for k, rank in deepest.items() if rank > 2 and rank >= _GROWING * len(by_role)}
        roles = [
            role
            for role, count in counts.items()
            if count >= _MOST * len(inner) and not (role[2] and role[:2] in growing)
        ]
        middle = by_role[len(by_role) // 2]
        shown = {(self._graph.events[number].site, slot) for number, slot in self._exits}
        roles.sort(key=lambda role: (role[:2] not in shown, role))  # h before c
        return roles, len(set(middle) - set(roles))

    def _state(
        self, roles: Sequence[Role], here: dict[Role, Value], time: int
    ) -> tuple[Value, ...] | None:
        """The state at a boundary: what is alive, and where that is missing what was made last."""
        spare = {role: value for role, value in here.items() if role not in roles}
        state: list[Value] = []
        for role in roles:
            value = here.get(role)
            if value is None:
                shape = self._shape(role)
                fitting = [
                    r for r, v in spare.items() if self._graph.events[v[0]].shapes[v[1]] == shape
                ]
                value = spare.pop(fitting[0]) if len(fitting) == 1 else self._latest(role, time)
            if value is None:
                return None
            state.append(value)
        return tuple(state)

    def _shape(self, role: Role) -> tuple[int, ...]:
        site, slot, _ = role
        shapes = [self._graph.events[n].shapes[slot] for n in self._times(site)]
        return Counter(shapes).most_common(1)[0][0]

    def _latest(self, role: Role, time: int) -> Value | None:
        site, slot, rank = role
        made = [n for n in self._times(site) if n <= time]
        return (made[-1 - rank], slot) if len(made) > rank else None
