"""What is wrong with the program around the recurrence, one file each: told before any verdict.

A mistake looks at the ``View`` of a whole run and yields what it finds. The rules of ``rules/``
look at one layer, and say what ails the recurrence itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from throughtime.diagnosis.mistakes import (
    assumed_span,
    axes_swapped,
    dead_parameters,
    non_finite,
    partial_loss,
    partly_detached,
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
    assumed_span.find,
)


def find(view: View) -> tuple[Finding, ...]:
    """All that is found, in the order of ``MISTAKES``."""
    return tuple(finding for mistake in MISTAKES for finding in mistake(view))


__all__ = ["MISTAKES", "View", "find"]
