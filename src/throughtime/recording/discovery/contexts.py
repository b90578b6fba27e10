"""The loops of Python code that a call was made from, read off the bytecode."""

from __future__ import annotations

import dis
from functools import lru_cache
from types import CodeType
from typing import NamedTuple

from throughtime.recording.discovery.events import Site


class Context(NamedTuple):
    """One loop in one frame, as it was reached.

    Attributes:
        around: the instructions of the frames around it, the outermost first.
        code, first, last: the loop itself, from its first instruction to the jump back.
    """

    around: tuple[tuple[CodeType, int], ...]
    code: CodeType
    first: int
    last: int

    @property
    def line(self) -> int:
        """The line of the file at which the loop begins."""
        inside = [
            line
            for start, end, line in self.code.co_lines()
            if line is not None and start <= self.last and end > self.first
        ]
        return min(inside, default=self.code.co_firstlineno)


@lru_cache(maxsize=4096)
def loops_of(code: CodeType) -> tuple[tuple[int, int], ...]:
    """The loops of a function, as ranges of instructions, the outermost first."""
    ends: dict[int, int] = {}
    for one in dis.get_instructions(code):
        if "JUMP_BACKWARD" in one.opname and "NO_INTERRUPT" not in one.opname:
            ends[one.argval] = max(ends.get(one.argval, 0), one.offset)
    return tuple(sorted(ends.items(), key=lambda pair: pair[0] - pair[1]))


def contexts_of(site: Site) -> tuple[Context, ...]:
    """The loops that a site lies in, the outermost first."""
    frames = site.frames[::-1]
    return tuple(
        Context(frames[:depth], code, first, last)
        for depth, (code, at) in enumerate(frames)
        for first, last in loops_of(code)
        if first <= at <= last
    )
