"""Loops of a run whose iterations hand a state on: cycles of places that feed each other.

Calls from one place in the code are one site. A site whose outcome comes back to it lies on a cycle
of sites, and every cycle is a recurrence: two layers that run in turn are two, two cells that read
each other are one. The outermost loop of the code that carries it says what an iteration is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from throughtime.recording.discovery.contexts import Context, contexts_of
from throughtime.recording.discovery.events import STORES, Event, Site
from throughtime.recording.discovery.graph import Graph, components

MIN = 5
"""So many iterations make a loop; a shorter one is told, and not measured."""

# A sum of whatever comes, or a list that grows: it remembers all, and computes nothing.
_SUMS = STORES | {
    "__add__", "__iadd__", "__radd__", "__rsub__", "__sub__", "__isub__", "add", "add_", "sub",
    "sub_", "cat", "concat", "concatenate", "hstack", "vstack", "stack", "clone", "contiguous",
    "append",
}  # fmt: skip  # a list, not a column


@dataclass(eq=False)
class Loop:
    """One recurrence: the sites of its cycle, and the loop of the code that carries it.

    Attributes:
        context: the loop in the code; None where it runs in none that Python shows.
        sites: all sites of the cycle.
        steady: those that run equally often in every iteration, in the order of an iteration, each
            with how often that is.
        events: what ran at its sites, by number.
        iterations: how many.
    """

    context: Context | None
    sites: set[int]
    steady: dict[int, int]
    events: list[int]
    iterations: int


@dataclass(eq=False)
class Found:
    """The recurrences of a run, and loops that are too short to measure."""

    loops: list[Loop]
    short: list[Loop]


class Finder:
    """Looks for the loops of a run."""

    def __init__(self, events: Sequence[Event], sites: Sequence[Site], graph: Graph) -> None:
        self._events, self._sites, self._graph = events, sites, graph
        self._counts = Counter(event.site for event in events)
        self._by_site: dict[int, list[int]] = {}
        for number, event in enumerate(events):
            self._by_site.setdefault(event.site, []).append(number)
        self._chains = {site: contexts_of(sites[site]) for site in self._counts}
        self._edges = self._edges_of()

    def find(self) -> Found:
        """All of them, in the order in which they began."""
        found = Found([], [])
        free = {site for site, count in self._counts.items()}
        contexts = dict.fromkeys(c for chain in self._chains.values() for c in chain)
        depth = {c: chain.index(c) for chain in self._chains.values() for c in chain}
        for context in [None, *sorted(contexts, key=lambda c: depth[c])]:
            inside = {s for s in free if context is None or context in self._chains[s]}
            for loop in self._in(context, inside):
                (found.loops if loop.iterations >= MIN else found.short).append(loop)
                free -= loop.sites
        found.loops.sort(key=lambda loop: loop.events[0])
        return found

    def _edges_of(self) -> dict[int, set[int]]:
        edges: dict[int, set[int]] = {site: set() for site in self._counts}
        for number, sources in enumerate(self._graph.sources):
            site = self._events[number].site
            for source, _ in sources:
                edges[self._events[source].site].add(site)
        return edges

    def _in(self, context: Context | None, inside: set[int]) -> Iterator[Loop]:
        """The recurrences whose iterations are those of this loop."""
        if not any(self._counts[site] > 1 for site in inside):
            return
        edges = {site: self._edges[site] & inside for site in inside}
        for cycle in components(edges):
            own = [site for site in cycle if self._innermost(site) == context]
            count = max(
                (self._counts[site] for site in own or self._around(context, cycle)), default=0
            )
            if count < 2:
                continue
            events = sorted(n for site in cycle for n in self._by_site[site])
            order = sorted(cycle, key=lambda site: self._order(site, context))
            times = {site: max(1, round(self._counts[site] / count)) for site in order}
            steady = {site: n for site, n in times.items() if self._evenly(site, count)}
            loop = Loop(context, cycle, steady, events, count)
            if count < MIN and self._holds_more(context, cycle):
                continue
            if self._carried(loop) and not self._sums(loop) and not self._layers(loop):
                yield loop

    def _around(self, context: Context | None, cycle: set[int]) -> list[int]:
        """Sites of a loop in whose iterations the whole cycle runs, several times in each.

        ``for x in xs: h = solve(x, h)``: the state never shows outside of the solver's own loop.
        """
        fewest = min(self._counts[site] for site in cycle)
        return [
            site
            for site, chain in self._chains.items()
            if chain[-1:] == (context,)
            and site not in cycle
            and MIN <= self._counts[site] <= fewest // 2
            and all(self._evenly(one, self._counts[site]) for one in cycle)
        ]

    def _evenly(self, site: int, count: int) -> bool:
        """Whether a site runs equally often in each of ``count`` iterations, or all but one."""
        often = max(1, round(self._counts[site] / count))
        return abs(self._counts[site] - often * count) <= often

    def _order(self, site: int, context: Context | None) -> list[int]:
        """Where a site stands in the body of a loop."""
        depth = 0 if context is None else len(context.around)
        return [at for _, at in self._sites[site].frames[::-1][depth:]]

    def _innermost(self, site: int) -> Context | None:
        chain = self._chains[site]
        return chain[-1] if chain else None

    def _holds_more(self, context: Context | None, cycle: set[int]) -> bool:
        """Whether a loop within this one carries the recurrence more often."""
        return any(self._counts[site] >= MIN and self._innermost(site) != context for site in cycle)

    def _carried(self, loop: Loop) -> bool:
        """Whether an iteration reads what the one before has made: looked at in the middle."""
        within = set(loop.events)
        for site, often in loop.steady.items():
            times = self._by_site[site][often - 1 :: often]
            pairs = list(pairwise(times))
            middle = pairs[max(0, len(pairs) // 2 - 1) : len(pairs) // 2 + 1]
            if any(self._graph.reaches(a, b, within) for a, b in middle):
                return True
        return False

    def _sums(self, loop: Loop) -> bool:
        """Whether it only adds up, or lists, what is made elsewhere."""
        return all(self._events[n].name in _SUMS for n in loop.events)

    def _layers(self, loop: Loop) -> bool:
        """Whether each iteration runs other modules, with other weights: depth, and not time."""
        if any(
            self._sites[site].weights and self._counts[site] > 1 + loop.iterations // 3
            for site in loop.sites
        ):
            return False
        rare = {s for s in loop.sites if self._counts[s] <= max(1, loop.iterations // 3)}
        first, often = next(iter(loop.steady.items()))
        times = self._by_site[first][::often]
        starts = iter([*times[1:], len(self._events)])
        end, odd, other = next(starts), False, 0
        for number in loop.events:
            while number >= end:
                other, odd, end = other + odd, False, next(starts)
            odd |= self._events[number].site in rare
        return 2 * (other + odd) >= len(times) - 1
