"""How parameters are named in a sentence: three at most, and the rest counted."""

from __future__ import annotations

from collections.abc import Sequence

from throughtime.diagnosis.words import Said

_MOST = 3


def names(found: Sequence[str]) -> Said:
    """``'a', 'b', 'c' and 9 more``."""
    shown = ", ".join(map(repr, found[:_MOST]))
    left = len(found) - _MOST
    if left <= 0:
        return Said(shown, shown)
    return Said(f"{shown} and {left} more", f"{shown} 외 {left}개")


def counted(number: int) -> str:
    """``1 parameter``, ``12 parameters``."""
    return f"{number} parameter" if number == 1 else f"{number} parameters"
