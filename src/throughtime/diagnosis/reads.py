"""What the loss reads: the sequences and steps whose states have a direct gradient."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool
from torch import Tensor

from throughtime.trace import Facts, LayerTrace, ModuleFact, Trace

_OF_A_STACK = re.compile(r"(?P<module>.+)\.l(?P<level>\d+)$")
_FRAGMENT = re.compile(r" \(\d+\)$")


@dataclass(frozen=True, eq=False)
class Reads:
    """What a loss reads of the top of one recurrent module: one layer, or its two directions.

    Attributes:
        module: the module's name in the trace.
        layers: forward, reverse, or both.
        ends: how many inputs each sequence has, as far as that is known or inferred.
        told: whether somebody said so (lengths, or a packed batch), and it was not inferred.
        fact: what is known of the module, or None.
    """

    module: str
    layers: tuple[LayerTrace, ...]
    ends: tuple[int, ...]
    told: bool
    fact: ModuleFact | None

    @property
    def steps(self) -> int:
        """T."""
        return self.layers[0].steps

    @property
    def batch(self) -> int:
        """B."""
        return self.layers[0].batch

    @cached_property
    def read(self) -> Bool[Tensor, "T B"]:
        """Which states have a direct gradient, in the time of the sequence."""
        return torch.stack([direct(layer) for layer in self.layers]).any(0)

    @cached_property
    def sequences(self) -> tuple[int, ...]:
        """The sequences of the batch with a direct gradient at some step."""
        return tuple(self.read.any(0).nonzero().flatten().tolist())

    @cached_property
    def at(self) -> tuple[int, ...]:
        """The steps with a direct gradient for some sequence."""
        return tuple(self.read.any(1).nonzero().flatten().tolist())

    @cached_property
    def beyond(self) -> tuple[int, ...]:
        """The sequences that are read beyond their end."""
        past = ~before(self.ends, self.steps).to(self.read.device) & self.read
        return tuple(past.any(0).nonzero().flatten().tolist())

    @cached_property
    def whole(self) -> bool:
        """Whether every step of every sequence that is read at all is read."""
        alive = before(self.ends, self.steps).to(self.read.device)
        return bool((self.read | ~alive)[:, list(self.sequences)].all())

    @cached_property
    def last(self) -> bool:
        """Whether each direction is read only where it, or the sequence, ends."""
        return bool(self.sequences) and (
            all(_at_its_end(layer, self.ends) for layer in self.layers) or self._at_the_end()
        )

    def _at_the_end(self) -> bool:
        ends = torch.tensor(self.ends, device=self.read.device) - 1
        steps = torch.arange(self.steps, device=self.read.device).unsqueeze(1)
        return not bool((self.read & (steps != ends) & (steps != self.steps - 1)).any())

    def inputs_read(self, layer: LayerTrace) -> list[tuple[int, int]]:
        """For each sequence that is read: inputs that the best read state has seen, and of all."""
        found, read = [], direct(layer)
        for b in read.any(0).nonzero().flatten().tolist():
            steps, end = read[:, b].nonzero().flatten().tolist(), self.ends[b]
            seen = end - steps[0] if layer.reverse else min(steps[-1] + 1, end)
            found.append((max(0, seen), end))
        return found


def direct(layer: LayerTrace) -> Bool[Tensor, "T B"]:
    """Which states of a layer have a direct gradient."""
    return (layer.direct != 0).any(-1)


def of(trace: Trace) -> tuple[Reads, ...]:
    """The recurrent modules that no other layer of their own stack reads, inputs first."""
    groups: dict[tuple[str, str], list[LayerTrace]] = {}
    for layer in _tops(trace):
        base, fragment = _base(layer, trace.facts)
        groups.setdefault((base, fragment), []).append(layer)
    return tuple(_reads(trace, base, layers) for (base, _), layers in groups.items())


def of_the_loss(trace: Trace) -> Reads | None:
    """The last of them, single steps left aside: what the head of an answer tells of."""
    every = of(trace)
    return next((one for one in reversed(every) if one.steps > 1), every[-1] if every else None)


def before(ends: Sequence[int], steps: int) -> Bool[Tensor, "T B"]:
    """Which steps come before the end of each sequence."""
    return torch.arange(steps).unsqueeze(1) < torch.tensor(list(ends), dtype=torch.long)


def module_of(layer: LayerTrace, facts: Facts) -> str:
    """The name of the module whose layer this is, as the trace has it."""
    return _base(layer, facts)[0]


def fact_of(name: str, facts: Facts) -> ModuleFact | None:
    """The module of that name in the trace, where the model itself is called by its kind."""
    for module in facts.modules:
        if name == (module.name or module.kind.lower()) and module.recurrent:
            return module
    return None


def _reads(trace: Trace, module: str, layers: list[LayerTrace]) -> Reads:
    first = layers[0]
    told = next((one.lengths for one in layers if one.lengths is not None), None)
    ends = told
    inferred = trace.facts.ends
    if ends is None and len(inferred) == first.batch and first.steps == trace[0].steps:
        ends = inferred
    known = (first.steps,) * first.batch if ends is None else ends
    return Reads(module, tuple(layers), known, told is not None, fact_of(module, trace.facts))


def _tops(trace: Trace) -> Iterator[LayerTrace]:
    below = {name for link in trace.links for name in link.below}
    highest: dict[str, int] = {}
    for layer in trace:
        base, level = _parted(layer, trace.facts)
        highest[base] = max(level, highest.get(base, 0))
    for layer in trace:
        base, level = _parted(layer, trace.facts)
        if layer.name not in below and level == highest[base]:
            yield layer


def _base(layer: LayerTrace, facts: Facts) -> tuple[str, str]:
    fragment = _FRAGMENT.search(layer.name)
    return _parted(layer, facts)[0], fragment.group() if fragment else ""


def _parted(layer: LayerTrace, facts: Facts) -> tuple[str, int]:
    """The module's name, and the level of this layer in its stack."""
    name = _FRAGMENT.sub("", layer.name).removesuffix(".reverse")
    match = _OF_A_STACK.fullmatch(name)
    if match is None or fact_of(name, facts) is not None:
        return name, 0
    return match["module"], int(match["level"])


def _at_its_end(layer: LayerTrace, ends: tuple[int, ...]) -> bool:
    """Whether a layer is read only at the step that it computes last, for every sequence."""
    last = torch.zeros(layer.batch, dtype=torch.long)
    if not layer.reverse:
        last = torch.tensor(ends if layer.packed else (layer.steps,) * layer.batch) - 1
    steps = torch.arange(layer.steps).unsqueeze(1)
    return not bool((direct(layer).cpu() & (steps != last)).any())
