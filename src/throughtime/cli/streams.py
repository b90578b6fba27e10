"""Standard output and standard error of a command: never a reason for another exit code."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper


class _Forgiving(TextIOWrapper):
    """Standard error that may be full, or a terminal that is gone: what it cannot take is lost."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def prepare_streams() -> None:
    """A closed stream swallows all, standard error what it cannot take; no letter is refused."""
    if isinstance(sys.stderr, TextIOWrapper):
        sys.stderr = _Forgiving(sys.stderr.buffer, sys.stderr.encoding, line_buffering=True)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            _open_on(number)
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _open_on(number: int) -> None:
    """Have a closed descriptor lead nowhere, before a file of ours is opened under its number."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
