"""``Treatment``: a remedy as something to do to a whole ``Problem``, and the line that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator

from throughtime.problem import Problem
from throughtime.remedies.remedy import SLOTS, Slot

__all__ = ["SLOTS", "Slot", "Treatment"]


@dataclass(frozen=True)
class Treatment:
    """One remedy by name.

    Attributes:
        name: as it is typed: ``"forget-bias"``.
        slot: what it sets: of two treatments of one slot the second would undo the first.
        sentence: what it does, in one line.
        paper: whose it is.
        fits: the diseases (``findings.DISEASES``) that it is meant for.
        apply: ``apply(problem, span, generator)`` changes ``problem.model``, a copy already, and
            returns the problem, with another clip, window, backward … where these change; raises
            ``InputError`` where it does not fit.
        code: ``code(problem, span)``: the lines to paste, with the attribute path of this model.
    """

    name: str
    slot: Slot
    sentence: str
    paper: str
    fits: tuple[str, ...]
    apply: Callable[[Problem, int, Generator], Problem]
    code: Callable[[Problem, int], str]
