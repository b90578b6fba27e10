"""The user's own recurrences, marked or found: read off the graph, beside recorded layers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from throughtime.errors import NoGradientError
from throughtime.recording.courses import with_marked_course
from throughtime.recording.discovery import LoopStates
from throughtime.recording.marked import checked_jointly, marked_trace
from throughtime.recording.marks import MarkedRun, Marks, Root
from throughtime.recording.names import unique_names
from throughtime.recording.witness import Witness
from throughtime.trace import LayerTrace

Pair = tuple[LoopStates | str, LoopStates | str]
"""A loop, or the name of a recorded layer, and what reads it."""


@dataclass
class Own:
    """The traces of recurrences that no kernel runs.

    Attributes:
        marked: those that the user marked.
        loops: those that were found, each with its states.
        notes: what could not be read, and why.
        replaced: the recorded layers that fell apart, and whose loop stands in their place.
        shown: the names of the rows of each loop, by its identity.
    """

    marked: list[LayerTrace] = field(default_factory=list)
    loops: list[tuple[LayerTrace, LoopStates]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    shown: dict[int, list[str]] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        marks: Iterable[Marks],
        found: Iterable[LoopStates],
        roots: Sequence[Root],
        witness: Witness,
    ) -> Own:
        """Read them while the graph is there."""
        own = cls()
        runs = [run for one in marks for run in one.runs()]
        own.marked = list(_traces(runs, roots, witness))
        for states in found:
            try:
                with states.weights.as_they_were():
                    rows = list(_traces(states.runs(), roots, witness))
            except (NoGradientError, RuntimeError) as error:  # a graph that is gone, a checkpoint
                if not states.covers or states.joint:
                    why = str(error).strip().partition("\n")[0]
                    own.notes.append(f"the loop at {states.where} cannot be measured: {why}")
                continue
            own.loops += [(row, states) for row in rows if row.steps > 1]
        return own

    def beside(
        self,
        recorded: Sequence[LayerTrace],
        together: Callable[[], Iterable[Collection[str]]] = lambda: (),
    ) -> tuple[list[LayerTrace], list[str]]:
        """All rows, with the layers that a kernel runs, and what is to be told of the loops.

        A loop that hands on the state of one recorded layer and nothing else is that layer: its
        row is the recorded one, unless that fell apart. So it is with layers that the trace
        measures jointly, with one another or others; ``together``: the names of each such group. A
        loop that holds more takes its layers in.
        """
        rows, shown = list(recorded), []
        for row, states in self.loops:
            inside = [one for one in rows if _base(one.name) in states.covers]
            if _are_all(inside, row) and any(
                {one.name for one in inside} <= set(names) for names in together()
            ):
                continue
            if inside and not states.joint:
                if row.spoilt or not any(one.fragments > 1 or one.spoilt for one in inside):
                    continue
                rows = [one for one in rows if one not in inside]
                self.replaced |= states.covers
            shown.append((row, states))
        taken = [one.name for one in (*rows, *self.marked)]
        wanted = [self._name(states, taken) for _, states in shown]
        notes = []
        for (row, states), name in zip(
            shown, unique_names([*taken, *wanted])[len(taken) :], strict=True
        ):
            rows = [
                replace(one, within=name) if _base(one.name) in states.covers else one
                for one in rows
            ]
            rows.append(replace(row, name=name))
            self.shown.setdefault(id(states), []).append(name)
            notes.append(_note(name, states, row))
        return [*rows, *self.marked], [*notes, *self.notes]

    def feeds(self, pairs: Iterable[Pair], rows: Sequence[LayerTrace]) -> list[tuple[str, str]]:
        """By the names of their rows: who reads whom; the first sequence of one that of another."""

        def named(one: LoopStates | str) -> list[str]:
            if not isinstance(one, str) and id(one) in self.shown:
                return self.shown[id(one)]
            layers = {one} if isinstance(one, str) else one.covers
            return [row.name for row in rows if _base(row.name) in layers]

        found: dict[tuple[str, str], None] = {}
        for below, above in pairs:
            lower, upper = named(below), named(above)
            alike = len(lower) == len(upper)
            found |= dict.fromkeys(
                zip(lower, upper, strict=True) if alike else product(lower, upper)
            )
        return [pair for pair in found if pair[0] != pair[1]]

    def _name(self, states: LoopStates, taken: Sequence[str]) -> str:
        """The name of the layer that a loop replaces, or its own, or that of its function."""
        if not states.joint and len(states.covers) == 1 and states.covers <= self.replaced:
            return next(iter(states.covers))
        return states.place if states.name in taken else states.name


def _are_all(layers: Sequence[LayerTrace], loop: LayerTrace) -> bool:
    """Whether these layers are whole, and hold all that the loop hands on."""
    whole = not any(one.fragments > 1 or one.spoilt for one in layers)
    return whole and sum(one.states[0].numel() for one in layers) == loop.states[0].numel()


def _traces(
    runs: Sequence[MarkedRun], roots: Sequence[Root], witness: Witness
) -> Iterator[LayerTrace]:
    names = unique_names([run.name for run in runs])
    traces = [
        with_marked_course(marked_trace(run, name, roots), run.states, witness)
        for run, name in zip(runs, names, strict=True)
    ]
    yield from checked_jointly(runs, traces, roots)


def _base(name: str) -> str:
    """The name without its number."""
    return name.rpartition(" (")[0] if name.endswith(")") else name


def _note(name: str, states: LoopStates, row: LayerTrace) -> str:
    shapes = " and ".join(str(tuple(part.shape)) for part in states.states[0])
    inside = " and ".join(repr(one) for one in sorted(states.covers))
    custom = " and ".join(states.custom)
    told = [
        f"{name!r} is a loop at {states.where}, {row.steps} iterations, found by its data flow; "
        f"its state has the shape {shapes}" + (f", and {inside} is a part of it" if inside else "")
    ]
    if custom:
        told.append(f"the slope of {custom} is that of its backward pass, a surrogate perhaps")
    if states.layout().axes is None and row.states.shape[-1] > states.states[0][0].shape[-1]:
        told.append("no axis of it holds independent sequences, so it is taken as one sequence")
    return "; ".join(told)
