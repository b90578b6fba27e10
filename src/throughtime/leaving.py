"""Who may end this process: not a user's file, by ``os._exit`` or by becoming another program.

The exit code of a command is its answer, and 0 says that all is well. And a copy of the process
that a file made with ``os.fork`` must not give that answer a second time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

_ENDING = ("_exit", "execv", "execve")  # all of os.exec… come down to these
_exit = os._exit


class LeavingError(SystemExit):
    """A user's file asked for the end of the process.

    Attributes:
        call: what it called.
    """

    def __init__(self, call: str) -> None:
        super().__init__(2)
        self.call = call


class _Answer:
    """The exit code of a command that has come to its end."""

    code: int | None = None


def guard_exits() -> None:
    """Have ``os._exit`` and ``os.exec…`` raise ``LeavingError`` in this process from now on.

    The processes that it forks may end as they like. Once there is an answer, it is kept.
    """
    if getattr(os._exit, "is_guard", False):
        return
    for name in _ENDING:
        guard = _guarded(name, getattr(os, name), os.getpid())
        for module in (os, sys.modules.get("posix")):
            if module is not None:
                setattr(module, name, guard)


def keep_answer(code: int) -> None:
    """The command has come to its end: whoever ends the process now ends it with this code."""
    _Answer.code = code


def end_now(code: int) -> NoReturn:
    """What ``os._exit`` was, for a process of ours."""
    _exit(code)


@contextmanager
def one_answer() -> Iterator[None]:
    """A copy of this process that was forked inside the block ends with the block, in silence."""
    process = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != process:
            _exit(0 if sys.exc_info()[0] is None else 1)


def _guarded(name: str, call: Callable[..., Any], process: int) -> Callable[..., Any]:
    def guard(*arguments: Any, **keywords: Any) -> Any:
        if os.getpid() != process:
            return call(*arguments, **keywords)
        if _Answer.code is not None:
            _exit(_Answer.code)
        raise LeavingError(f"os.{name}({repr(arguments[0])[:40] if arguments else ''})")

    guard.is_guard = True  # type: ignore[attr-defined]
    return guard
