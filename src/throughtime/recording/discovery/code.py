"""What is known of a function's bytecode: its instructions and its loops, looked at once."""

from __future__ import annotations

import dis
from bisect import bisect_right
from types import CodeType

_MOST = 4096


class Code:
    """A function's code, compared by identity: torch calls it in every step.

    Attributes:
        code: the code itself, which is held so that its identity is not used again.
        loops: its loops as ranges of instructions, the outermost first.
    """

    __slots__ = ("_starts", "code", "loops")

    def __init__(self, code: CodeType) -> None:
        self.code = code
        self._starts: list[int] = []
        ends: dict[int, int] = {}
        before = ""
        for one in dis.get_instructions(code):
            # Python 3.11 runs a call that it has specialised in the instruction before.
            if (before, one.opname) != ("PRECALL", "CALL"):
                self._starts.append(one.offset)
            before = one.opname
            if "JUMP_BACKWARD" in one.opname and "NO_INTERRUPT" not in one.opname:
                ends[one.argval] = max(ends.get(one.argval, 0), one.offset)
        self.loops = tuple(sorted(ends.items(), key=lambda pair: pair[0] - pair[1]))

    def instruction(self, last: int) -> int:
        """The instruction that runs: a specialised one may point into the cache behind it."""
        return self._starts[max(0, bisect_right(self._starts, last) - 1)]

    def line(self, first: int, last: int) -> int:
        """The line of the file at which a range of instructions begins."""
        lines = [
            line
            for start, end, line in self.code.co_lines()
            if line is not None and start <= last and end > first
        ]
        return min(lines, default=self.code.co_firstlineno)


_known: dict[int, Code] = {}


def code_of(code: CodeType) -> Code:
    """What is known of it."""
    found = _known.get(id(code))
    if found is None:
        if len(_known) >= _MOST:
            _known.clear()
        found = _known[id(code)] = Code(code)
    return found
