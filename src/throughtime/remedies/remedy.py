"""``Remedy``: a verb on a user's module, with what a prescription must know of it.

A file of ``initialisation/`` that holds one is all that a new remedy takes: ``catalogue`` finds it,
and ``prescribe`` and ``treat`` read the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Generator, nn

Slot = Literal[
    "cell", "matrix", "decays", "gates", "gain", "constraint", "gradient", "states", "clipping",
    "window",
]  # fmt: skip  # a list, not a column
"""What a remedy sets, in the order in which several are applied: one remedy for each."""

SLOTS: tuple[Slot, ...] = (
    "cell", "matrix", "decays", "gates", "gain", "constraint", "gradient", "states", "clipping",
    "window",
)  # fmt: skip  # a list, not a column


@dataclass(frozen=True)
class Remedy:
    """One remedy by name, for the modules that have the parameters it sets.

    Attributes:
        name: as it is typed: ``"step-sizes"``.
        slot: what it sets: of two remedies of one slot the second would undo the first.
        sentence, korean: what it does, in one line.
        paper: whose it is.
        fits: the diseases (``findings.DISEASES``) that it is meant for.
        found_in: whether a model has what it sets; elsewhere it is not tried.
        do: ``do(model, span, generator)`` changes the model in place; raises ``InputError`` where
            it does not fit.
        call: the same as a user types it: ``"step_sizes_({model}, t_max={span})"``.
    """

    name: str
    slot: Slot
    sentence: str
    korean: str
    paper: str
    fits: tuple[str, ...]
    found_in: Callable[[nn.Module], bool]
    do: Callable[[nn.Module, int, Generator], object]
    call: str
