"""The loops of Python code that a call was made from, read off the bytecode."""

from __future__ import annotations

from typing import NamedTuple

from throughtime.recording.discovery.code import Code
from throughtime.recording.discovery.events import Site


class Context(NamedTuple):
    """One loop in one frame, as it was reached.

    Attributes:
        around: the instructions of the frames around it, the outermost first.
        code, first, last: the loop itself, from its first instruction to the jump back.
    """

    around: tuple[tuple[Code, int], ...]
    code: Code
    first: int
    last: int

    @property
    def line(self) -> int:
        """The line of the file at which the loop begins."""
        return self.code.line(self.first, self.last)


def contexts_of(site: Site) -> tuple[Context, ...]:
    """The loops that a site lies in, the outermost first."""
    frames = site.frames[::-1]
    return tuple(
        Context(frames[:depth], code, first, last)
        for depth, (code, at) in enumerate(frames)
        for first, last in code.loops
        if first <= at <= last
    )
