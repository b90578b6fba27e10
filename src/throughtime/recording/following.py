"""Loops whose state is mixed with an older one between the steps (zoneout, a leaky average).

Such a layer's own state is not what goes on: the state that each step starts from is. That one is
followed through the user's graph, as if it were marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from throughtime.errors import ThroughtimeError
from throughtime.recording.calls import Call, Passes
from throughtime.recording.chains import Chain, find_chains
from throughtime.recording.courses import with_marked_course
from throughtime.recording.marked import marked_trace
from throughtime.recording.marks import Marks, Root
from throughtime.recording.passages import MIXED, SKIPPED
from throughtime.recording.witness import Witness
from throughtime.trace import LayerTrace


@dataclass(eq=False)
class Following:
    """The layers of a block that are followed so, each by the first call of its chain."""

    passes: Passes
    marks: dict[int, Marks] = field(default_factory=dict)
    traces: dict[int, LayerTrace] = field(default_factory=dict)

    def look(self, calls: Sequence[Call]) -> list[RemovableHandle]:
        """Before a backward pass: the hooks on all states that a mixed layer's steps start from."""
        fresh = [call for call in calls if call.differentiable and call.after == self.passes.count]
        if not any(call.origin is not None and call.origin.mixed for call in fresh):
            return []
        handles: list[RemovableHandle] = []
        for chain in find_chains(fresh):
            if chain.stepwise and chain.spoilt() in (MIXED, SKIPPED):
                marks = self.marks[id(chain.calls[0])] = Marks(chain.name, self.passes)
                for call in chain.calls[1:]:
                    handles += marks.add(call.read_from[1:], call.inside)
                handles += marks.add(_left(chain.calls[-1]), chain.calls[-1].inside)
        return handles

    def read(self, roots: Sequence[Root], witness: Witness) -> None:
        """While the graph is whole: the traces; none where the weights were changed since."""
        for first, marks in self.marks.items():
            runs = marks.runs()
            if len(runs) != 1 or len(runs[0].numbers) != len(marks.states):
                continue
            try:
                trace = marked_trace(runs[0], marks.name, roots)
            except ThroughtimeError:
                continue
            self.traces[first] = with_marked_course(trace, runs[0].states, witness)

    def instead(self, layers: Sequence[LayerTrace], chains: Sequence[Chain]) -> list[LayerTrace]:
        """The layers, those that were followed in place of what was recorded of them."""
        found = []
        for layer, chain in zip(layers, chains, strict=True):
            followed = self.traces.get(id(chain.calls[0]))
            found.append(layer if followed is None else replace(followed, name=layer.name))
        return found


def _left(call: Call) -> tuple[Tensor, ...]:
    """The final state of a call, as the user's code has it."""
    return call.ends or (() if call.whole is None else (call.whole[-1],))
