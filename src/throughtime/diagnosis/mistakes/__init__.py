"""What is wrong with the program around the recurrence, one file each: told before any verdict.

A mistake looks at the ``View`` of a whole run and yields what it finds. The rules of ``rules/``
look at one layer, and say what ails the recurrence itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from throughtime.diagnosis.mistakes import (
    assumed_span,
    axes_swapped,
    dead_parameters,
    non_finite,
    partial_loss,
    partly_detached,
    silent_part,
    weights_changed,
)
from throughtime.diagnosis.mistakes.view import View
from throughtime.findings import Finding

MISTAKES: tuple[Callable[[View], Iterator[Finding]], ...] = (
    non_finite.find,
    weights_changed.find,
    axes_swapped.find,
    partial_loss.find,
    dead_parameters.find,
    partly_detached.find,
    silent_part.find,
    assumed_span.find,
)


def find(view: View) -> tuple[Finding, ...]:
    """All that is found, in the order of ``MISTAKES``."""
    return tuple(finding for mistake in MISTAKES for finding in mistake(view))


def apart(faults: Sequence[Finding], findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings of the layers, without what a fault of the program says already.

    A direction that the loss reads at its first step is short of lags, and a layer that it never
    reads has no gradient: the fault says why.
    """
    partial = {one.subject for one in faults if one.disease == "partial loss"}
    dead = any(one.disease == "dead parameters" for one in faults)
    return tuple(
        one
        for one in findings
        if not (one.disease == "too short" and one.subject in partial)
        and not (one.disease == "no gradient" and dead)
    )


__all__ = ["MISTAKES", "View", "apart", "find"]
