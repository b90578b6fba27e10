"""Errors of a user's own file, told in one line with the file and the line number."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from throughtime.errors import LoadError, ThroughtimeError, is_stop, out_of_memory, plain, said
from throughtime.leaving import LeavingError, one_answer


class UserFile(NamedTuple):
    """A Python file as its user named it, and where that is, wherever the file may ``chdir`` to."""

    named: Path
    real: Path


@contextmanager
def users_code(file: UserFile) -> Iterator[None]:
    """Errors of the user's own code as one line, with its file and line number.

    Whatever they are: what ends a process, or is no ``Exception``, as well.
    """
    with one_answer():
        try:
            yield
        except (ThroughtimeError, MemoryError):
            raise
        except BaseException as error:
            if is_stop(error) or out_of_memory(error):
                raise
            raise LoadError(f"{_place(error, file)}: {_message(error)}") from error


def _message(error: BaseException) -> str:
    """What happened, in one line."""
    if isinstance(error, LeavingError):
        return f"it called {plain(error.call)}"
    if isinstance(error, SystemExit):
        shown = error.code if isinstance(error.code, int | str) else type(error.code).__name__
        return f"it called exit({'' if error.code is None else plain(repr(shown))})"
    text = said(error.msg if isinstance(error, SyntaxError) else error)
    return f"{type(error).__name__}: {plain(text)}" if text else type(error).__name__


def _place(error: BaseException, file: UserFile) -> str:
    """The deepest line of the user's own files on the way to the error."""
    home, library = file.real.parent, sysconfig.get_path("stdlib")
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    for filename, line in reversed(frames):
        path = Path(filename)
        installed = path.is_relative_to(library) or "site-packages" in path.parts
        if path.is_relative_to(home) and not installed and line:
            return f"{plain(file.named.parent / path.relative_to(home))}:{line}"
    return plain(file.named)
