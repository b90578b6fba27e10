"""What the mistakes look at: one captured run, and how far back its task needs to see."""

from __future__ import annotations

from dataclasses import dataclass

from throughtime.trace import LayerTrace, Trace


@dataclass(frozen=True, eq=False)
class View:
    """One captured run.

    Attributes:
        trace: the run.
        span: steps back that the task needs; None where nobody said so.
        broken: a state or its gradient is not finite.
    """

    trace: Trace
    span: int | None
    broken: bool = False

    def span_of(self, layer: LayerTrace) -> int:
        """The span, or where none was given the longest lag of the layer."""
        return span_of(layer, self.span)


def span_of(layer: LayerTrace, span: int | None) -> int:
    """The span; None for T − 1, of a layer that is reset on its way the longest episode's."""
    if span is not None:
        return span
    return max(1, layer.steps - 1 if layer.starts is None else layer.longest_lag())
