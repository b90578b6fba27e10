"""An error as one sentence and an exit code. Nothing heavy is imported: torch may be broken."""

from __future__ import annotations

import errno
import re
import signal
import traceback
from pathlib import Path

import typer

from throughtime.errors import StopRequest, ThroughtimeError, out_of_memory, said, unknown
from throughtime.leaving import LeavingError

BROKEN_PIPE = 141
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
_ENVIRONMENT = {  # what a user's other choice of a path would not mend
    errno.EAGAIN,
    errno.EDQUOT,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EROFS,
}
_CHOICE = re.compile(r"'([^']*)' is not one of ((?:'[^']*'(?:, )?)+)")  # as typer says it
_HERE = Path(__file__).parent.parent


def told(error: BaseException) -> tuple[str, int]:
    """An error as a sentence, and its exit code; no sentence where nobody reads."""
    if isinstance(error, ThroughtimeError):
        return said(error), error.exit_code
    if isinstance(error, typer.TyperException):
        return _usage(error), 2
    if isinstance(error, (StopRequest, KeyboardInterrupt, typer.Abort)):
        number = error.number if isinstance(error, StopRequest) else signal.SIGINT
        return stopped(number)
    if _nobody_reads(error):
        return "", BROKEN_PIPE
    if package := _not_imported(error):
        advice = "check its installation and the memory limit"
        return f"{package} cannot be imported ({_named(error)}): {advice}", 3
    if isinstance(error, SystemExit):
        call = error.call if isinstance(error, LeavingError) else f"exit({said(error.code)})"
        return f"the program called {call} before there was an answer", 2
    if out_of_memory(error):
        text = f" ({said(error)})" if said(error) else ""
        return f"out of memory: take fewer units, fewer steps or a smaller batch{text}", 3
    if isinstance(error, OSError):
        where = f"{said(error.filename)}: " if error.filename else ""
        text = f"{where}{error.strerror or said(error)}"
        return text, 3 if error.errno in _ENVIRONMENT else 2
    if isinstance(error, RuntimeError) and "start new thread" in said(error):
        return f"{said(error)}: the system allows no more of them", 3
    return f"{_named(error)} (--debug shows where)", 2


def stopped(number: int) -> tuple[str, int]:
    """What is said of a process that a signal ended, and its exit code."""
    asked = signal.Signals(number)
    known = asked if asked in _WORDS else signal.SIGTERM  # SIGUSR1 is a warning of that
    return _WORDS[known], 128 + known


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    hint = f" (see {context.command_path} --help)" if context else ""
    message = " ".join(error.format_message().replace("Value error, ", "").split())
    message = _CHOICE.sub(_choices, message)
    return message.rstrip(".") + hint


def _choices(found: re.Match[str]) -> str:
    """The same with the choice that was probably meant."""
    return unknown("choice", found[1], re.findall("'([^']*)'", found[2]))


def _nobody_reads(error: BaseException | None) -> bool:
    """A broken pipe, or the SystemExit that rich and typer make of it."""
    if isinstance(error, SystemExit):
        return not isinstance(error, LeavingError) and _nobody_reads(error.__context__)
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {said(error)}"


def _not_imported(error: BaseException) -> str:
    """The package whose import failed, of those that are not ours; empty for none.

    A user's own file is no such package: its errors have been told by ``loading``.
    """
    frames = traceback.extract_tb(error.__traceback__)
    modules = [Path(frame.filename) for frame in frames if frame.name == "<module>"]
    foreign = [path for path in modules if not path.is_relative_to(_HERE) and path.is_absolute()]
    if foreign:
        path = foreign[0]
        return path.parent.name if path.stem == "__init__" else path.stem
    return error.name or "a package" if isinstance(error, ImportError) else ""
