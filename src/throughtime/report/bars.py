"""Pictures made of letters: bars beside their names and numbers, and the strip of time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from throughtime.report import wording

FULL, EMPTY, BROKEN = "█", "░", "!"
_LEAST = 8  # columns for the bars, however narrow the terminal
_MOST = 40


def ledger(entries: Sequence[tuple[str, str, float]], width: int) -> list[str]:
    """One line for each name, number and value: losses to the left of the zero, gains to the right.

    A value that is not finite has no bar; its number says what it is.
    """
    names, numbers = _columns(entries, width)
    room = max(_LEAST, min(_MOST, width - names - numbers - 3))
    sizes = [value for _, _, value in entries if math.isfinite(value)]
    low, high = min([0.0, *sizes]), max([0.0, *sizes])
    extent = (high - low) or 1.0
    zero = round(-low / extent * room)
    lines = []
    for name, number, value in entries:
        size = round(abs(value) / extent * room) if math.isfinite(value) else 0
        bar = " " * (zero - size) + FULL * size if value < 0 else " " * zero + FULL * size
        lines.append(f"{_padded(name, names)} {number:>{numbers}} {bar}".rstrip())
    return lines


def shares(entries: Sequence[tuple[str, str, float]], width: int) -> list[str]:
    """One line for each name, number and share: a full bar is all of it."""
    names, numbers = _columns(entries, width)
    room = max(_LEAST, min(_MOST, width - names - numbers - 3))
    lines = []
    for name, number, value in entries:
        size = round(min(1.0, max(0.0, value)) * room) if math.isfinite(value) else 0
        bar = FULL * size + EMPTY * (room - size)
        lines.append(f"{_padded(name, names)} {number:>{numbers}} {bar}")
    return lines


def strip(step: int, steps: int, to_earlier: bool, width: int) -> list[str]:
    """The steps of a sequence: finite, and broken from ``step`` on, or up to it."""
    room = max(_LEAST, width)
    place = min(room - 1, step * room // steps)
    before, after = (FULL, EMPTY) if to_earlier else (EMPTY, FULL)
    last = f"{steps - 1:,}"
    return [
        before * place + BROKEN + after * (room - place - 1),
        f"0{last:>{room - 1}}",
    ]


def _columns(entries: Sequence[tuple[str, str, float]], width: int) -> tuple[int, int]:
    numbers = max((wording.width(number) for _, number, _ in entries), default=0)
    longest = max((wording.width(name) for name, _, _ in entries), default=0)
    return max(4, min(longest, width - numbers - _LEAST - 3)), numbers


def _padded(name: str, columns: int) -> str:
    shown = wording.short(name, columns)
    return shown + " " * (columns - wording.width(shown))
