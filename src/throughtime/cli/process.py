"""The process around a command: its exit code, its one line of error, signals and broken pipes.

Exit codes: 0 healthy or done; 1 a finding; 2 bad usage or input; 3 the environment; 129, 130 and
143 after SIGHUP, SIGINT and SIGTERM; 141 when the reader of a pipe has gone.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from throughtime.cli.app import app
from throughtime.cli.failures import BROKEN_PIPE, stopped, told
from throughtime.cli.streams import prepare_streams
from throughtime.errors import Interrupt, StopRequest, plain
from throughtime.leaving import guard_exits, keep_answer

_STOPS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_LONGEST = 1000  # characters of an error's line
_INTERRUPTED = 130
_asked: list[int] = []  # the signals that came: imports, and users' code, make other errors of them


def _stop(number: int, _frame: object) -> NoReturn:
    _asked.append(number)
    raise Interrupt(number) if number == signal.SIGINT else StopRequest(number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; an error is one line on standard error.

    Without ``arguments`` those of this process, which is then ours alone: its signals and streams
    are set up for it.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [one for one in given if one != "--debug"]
    if arguments is not None:
        return _run(given, debug=debug)
    prepare_streams()
    _listen(_stop)
    guard_exits()
    try:
        code = _run(given, debug=debug)
        _listen(signal.SIG_DFL)  # nothing is left to be told
    except StopRequest as error:  # while the last word was printed
        code = 128 + error.number
    keep_answer(code)
    if code == BROKEN_PIPE:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what Python flushes when it ends
    elif "--json" in given:
        os.dup2(2, 1)  # exit handlers, and what C has buffered, must not follow the JSON
    return code


def _listen(handler: object) -> None:
    """Handle the signals that ask for an end; those that are ignored (nohup) stay so."""
    for number in _STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)  # type: ignore[arg-type]  # a handler, or SIG_DFL


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        code = app(arguments, prog_name="throughtime", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001  — each is told
        if debug:
            traceback.print_exception(error)
        return _fail(*(stopped(_asked[0]) if _asked else told(error)))
    if code == _INTERRUPTED:  # typer turns a KeyboardInterrupt into it
        return _fail(*stopped(signal.SIGINT))
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]} ... (--debug shows the rest)"
    if message:
        print(f"throughtime: {plain(message)}", file=sys.stderr)  # noqa: T201  — the one place
    return code
