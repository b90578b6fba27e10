"""``Trace``: everything that one captured run left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from throughtime.errors import InputError, plain, unknown
from throughtime.findings import Diagnosis, Finding
from throughtime.trace.course import Source
from throughtime.trace.facts import Facts
from throughtime.trace.joint import Joint
from throughtime.trace.layer import LayerTrace


@dataclass(frozen=True, eq=False)
class Link:
    """Layer ``above`` reads what the layers ``below`` wrote at the same step.

    ``scale`` is the dropout mask of the run (T B I, zero or 1/(1−p)), or None.
    """

    below: tuple[str, ...]
    above: str
    scale: Float[Tensor, "T B I"] | None = None

    def __repr__(self) -> str:
        dropout = "" if self.scale is None else ", through dropout"
        return plain(f"Link({' + '.join(self.below)} -> {self.above}{dropout})")


@dataclass(frozen=True, eq=False)
class Trace:
    """Everything one captured run left behind.

    ``sources``: where numbers that are not finite came from, in the order of the run.
    ``loss_finite``: whether what the backward passes started from was finite.
    """

    layers: tuple[LayerTrace, ...]
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    run: dict[str, object] = field(default_factory=dict)
    feeds: tuple[tuple[str, str], ...] = ()
    """Pairs of layers: the second reads, through whatever lies between, what the first wrote."""
    sources: tuple[Source, ...] = ()
    loss_finite: bool = True
    facts: Facts = field(default_factory=Facts)
    jointly: Callable[[], tuple[Joint, ...]] = field(default=tuple, repr=False)

    @cached_property
    def joints(self) -> tuple[Joint, ...]:
        """Layers that read one another, measured jointly through whatever lies between."""
        return self.jointly()

    def __getitem__(self, key: str | int) -> LayerTrace:
        if isinstance(key, int):
            if not -len(self) <= key < len(self):
                raise InputError(f"no layer {key} in this trace: it has {len(self)}, from 0")
            return self.layers[key]
        for layer in self.layers:
            if layer.name == key:
                return layer
        raise InputError(unknown("layer", key, self.names))

    def __iter__(self) -> Iterator[LayerTrace]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers' names, inputs first."""
        return tuple(layer.name for layer in self.layers)

    def __repr__(self) -> str:
        return "Trace(\n" + "".join(f"  {layer!r},\n" for layer in self.layers) + ")"


def one_layer(given: object, layer: str | int | None, what: str) -> LayerTrace:
    """The layer that is meant, None for the only one; ``what`` is measured, for the error."""
    trace = checked_trace(given)
    if isinstance(trace, LayerTrace):
        return trace
    if layer is None and len(trace) > 1:
        names = ", ".join(map(repr, trace.names))
        raise InputError(f"{what} of one layer, choose one with layer=: {names}")
    return trace[layer or 0]


def checked_trace(given: object) -> Trace | LayerTrace:
    """A ``Trace`` or one of its layers, if that is what this is; else ``InputError``."""
    if isinstance(given, (Trace, LayerTrace)):
        return given
    hint = "tt.observe(model, closure) makes one"
    if hasattr(given, "trace"):
        hint = "take its .trace"
    elif isinstance(given, Diagnosis):
        hint = "its layers hold what was measured; a Trace is made by tt.observe(model, closure)"
    kind = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
    raise InputError(f"a measure takes a Trace, or one of its layers, not {plain(kind)}: {hint}")
