"""The process around a command: its exit code, its one line of error, signals and broken pipes.

Exit codes: 0 healthy or done; 1 a finding; 2 bad usage or input; 3 the environment; 130 and 143
after SIGINT and SIGTERM; 141 when the reader of a pipe has gone.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

import typer

from throughtime.cli.app import app
from throughtime.errors import ThroughtimeError, plain, unknown

_INTERRUPTED, _TERMINATED, _BROKEN_PIPE = 130, 143, 141
_LONGEST = 1000  # characters of an error's line
_ENVIRONMENT = {  # what a user's other choice of a path would not mend
    errno.EDQUOT,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EROFS,
}


_CHOICE = re.compile(r"'([^']*)' is not one of ((?:'[^']*'(?:, )?)+)")  # as typer says it


class _Terminated(BaseException):
    """SIGTERM came. No ``except Exception`` of a user's code swallows it."""


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise _Terminated


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; an error is one line on standard error.

    Without ``arguments`` those of this process, which is then ours alone: its signals and streams
    are set up for it.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    ours = arguments is None
    if ours:
        signal.signal(signal.SIGTERM, _terminate)
        _prepare_streams()
    code = _run([one for one in given if one != "--debug"], debug="--debug" in given)
    if ours and code == _BROKEN_PIPE:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what Python flushes when it ends
    elif ours and "--json" in given:
        os.dup2(2, 1)  # exit handlers, and what C has buffered, must not follow the JSON
    return code


def _prepare_streams() -> None:
    """Letters that the locale lacks become question marks; a closed stream swallows all."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  — until Python ends
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        code = app(arguments, prog_name="throughtime", standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        return _BROKEN_PIPE  # rich and typer turn the one into the other
    except (Exception, KeyboardInterrupt, _Terminated) as error:  # noqa: BLE001  — each is told
        if debug:
            traceback.print_exception(error)
        return _fail(*_told(error))
    if code == _INTERRUPTED:  # typer turns a KeyboardInterrupt into it
        return _fail("interrupted", code)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]} ... (--debug shows the rest)"
    print(f"throughtime: {plain(message)}", file=sys.stderr)  # noqa: T201  — the one place
    return code


def _choices(found: re.Match[str]) -> str:
    """The same with the choice that was probably meant."""
    return unknown("choice", found[1], re.findall("'([^']*)'", found[2]))


def _told(error: BaseException) -> tuple[str, int]:
    """An error as a sentence, and its exit code."""
    if isinstance(error, ThroughtimeError):
        return str(error), error.exit_code
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        message = " ".join(error.format_message().replace("Value error, ", "").split())
        message = _CHOICE.sub(_choices, message)
        return message.rstrip(".") + hint, 2
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return "interrupted", _INTERRUPTED
    if isinstance(error, _Terminated):
        return "terminated", _TERMINATED
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}", 3 if error.errno in _ENVIRONMENT else 2
    from throughtime.loading import out_of_memory

    if out_of_memory(error):
        said = f" ({error})" if str(error) else ""
        return f"out of memory: take fewer units, fewer steps or a smaller batch{said}", 3
    return f"{type(error).__name__}: {error} (--debug shows where)", 2
