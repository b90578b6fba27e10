"""Single steps of a layer, none of which goes on from another: one row, and one note, for all."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from throughtime.recording.chains import Chain
from throughtime.trace import LayerTrace

# So many single steps of a layer are a loop, and not a few inputs of one step each.
_MANY_STEPS = 3


@dataclass(frozen=True, eq=False)
class Fragments:
    """Chains of which those of a single step stand together, by the name of their layer."""

    kept: tuple[Chain, ...]
    by_first: dict[int, tuple[Chain, ...]]
    """The fragments of a row, by the identity of the first of them, which is kept."""

    @classmethod
    def of(cls, chains: Sequence[Chain]) -> Fragments:
        """Sort the chains that a gradient reached."""
        single: dict[str, list[Chain]] = {}
        for chain in chains:
            if chain.single:
                single.setdefault(chain.name, []).append(chain)
        by_first = {id(group[0]): tuple(group) for group in single.values() if len(group) > 1}
        dropped = {id(chain) for group in by_first.values() for chain in group[1:]}
        return cls(tuple(chain for chain in chains if id(chain) not in dropped), by_first)

    def whole(self) -> set[str]:
        """The names of the layers that did not fall apart, and whose record is not spoilt."""
        broken = {group[0].name for group in self.by_first.values()}
        broken |= {chain.name for chain in self.kept if chain.spoilt()}
        return {chain.name for chain in self.kept} - broken

    def rows(
        self, chains: Sequence[Chain], names: Sequence[str], traces: Sequence[LayerTrace]
    ) -> list[LayerTrace]:
        """The traces of the chains that are kept, by these names."""
        trace_of = {id(chain): trace for chain, trace in zip(chains, traces, strict=True)}
        rows = []
        for chain, name in zip(self.kept, names, strict=True):
            group = self.by_first.get(id(chain), ())
            row = replace(
                trace_of[id(chain)],
                name=name,
                fragments=max(1, len(group)),
                thrown_away=_thrown_away(group),
            )
            findings = tuple(replace(one, subject=name) for one in row.findings)
            rows.append(replace(row, findings=findings))
        return rows

    def notes(self, replaced: Collection[str] = ()) -> Iterator[str]:
        """What each row of fragments is, and what to do; ``replaced``: layers that are measured."""
        for group in self.by_first.values():
            name, count = group[0].name, len(group)
            if _thrown_away(group) or name in replaced:
                continue  # a finding says so, or another row
            if count >= _MANY_STEPS:
                yield (
                    f"each of {count} steps of layer {name!r} is a sequence of its own here "
                    f"({count} fragments of one step, shown as one row), since its state is "
                    "changed between the steps (a normalisation, attention, another layer): show "
                    "the state that is carried on with throughtime.mark(state, 'name')"
                )


def _thrown_away(group: Sequence[Chain]) -> bool:
    """Whether all start from one state, and none is made from where another ended."""
    if len(group) < _MANY_STEPS:
        return False
    calls = [chain.calls[0] for chain in group]
    known = all(call.origin is not None and not call.origin.opaque for call in calls)
    return known and all(
        call.origin is not None
        and call.origin.call is None
        and len(call.initial[0]) == len(calls[0].initial[0])
        and all(map(torch.equal, call.initial, calls[0].initial))
        for call in calls
    )
