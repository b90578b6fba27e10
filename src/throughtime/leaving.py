"""Who may end this process: not a user's file, by ``os._exit`` or by becoming another program.

The exit code of a command is its answer, and 0 says that all is well. And a copy of the process
that a file made with ``os.fork`` must not give that answer a second time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

# All of os.exec… come down to these two.
_CALLS: dict[str, Callable[..., Any]] = {
    name: getattr(os, name) for name in ("_exit", "execv", "execve")
}
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

    For a process of ours. Those that it forks may end as they like; once there is an answer, it is
    kept.
    """
    process = os.getpid()
    _set({name: _guarded(name, call, process) for name, call in _CALLS.items()})


def keep_answer(code: int) -> None:
    """The command has come to its end: whoever ends the process now ends it with this code."""
    _Answer.code = code


def end_now(code: int) -> NoReturn:
    """What ``os._exit`` was, for a process of ours."""
    _exit(code)


@contextmanager
def one_answer() -> Iterator[None]:
    """Inside the block nobody ends this process, as after ``guard_exits``.

    A copy of it that is forked inside the block ends with the block, in silence.
    """
    process, before = os.getpid(), {name: getattr(os, name) for name in _CALLS}
    guard_exits()
    try:
        yield
    finally:
        if os.getpid() != process:
            _exit(0 if sys.exc_info()[0] is None else 1)
        _set(before)


def _set(calls: Mapping[str, Callable[..., Any]]) -> None:
    for name, call in calls.items():
        setattr(os, name, call)
        if "posix" in sys.modules:
            setattr(sys.modules["posix"], name, call)


def _guarded(name: str, call: Callable[..., Any], process: int) -> Callable[..., Any]:
    def guard(*arguments: Any, **keywords: Any) -> Any:
        if os.getpid() != process:
            return call(*arguments, **keywords)
        if _Answer.code is not None:
            _exit(_Answer.code)
        shown = [os.fsdecode(one) if isinstance(one, bytes) else one for one in arguments[:1]]
        raise LeavingError(f"os.{name}({', '.join(map(repr, shown))})")

    return guard
