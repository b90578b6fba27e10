"""The exceptions of throughtime; each owns its sentence: what is wrong, where, and what to do.

    ThroughtimeError
    ├── NothingRecordedError   no recurrence ran inside ``capture``
    ├── NoGradientError        a recurrence ran, and no gradient came back to it
    ├── InputError             an input of the wrong shape, type, length or value
    ├── StateCarriedError      a hidden state was carried over from a graph that is gone
    ├── UnsupportedError       asked of a recurrence what it cannot give
    ├── DivergedError          a training whose loss or gradient is no longer finite
    │   └── LostGradientError  ... and a clipper was told to stop there (in ``remedies.clipping``)
    ├── ReachError             the gradient does not reach as far back as was asserted
    ├── LoadError              a user's file, function or text that cannot be used
    ├── RunError               a run directory that cannot be read, written or resumed
    ├── StorageError           a file that could not be written: the disk is full, or read-only
    ├── LostProcessError       another process of the same training has ended
    └── MissingExtraError      an optional package that is not installed

Warnings are ``ThroughtimeWarning``; the clippers' ``LostGradientWarning`` is one. A signal that
asks a command to end is a ``StopRequest``, which is not an error.
"""

from __future__ import annotations

import difflib
import signal
import unicodedata
from collections.abc import Iterable
from typing import Any

_MOST = 40  # names to choose from in one message
_LONGEST = 60  # letters of a name in it


class ThroughtimeError(Exception):
    """Base of all errors raised on purpose here. ``exit_code`` is the command line's."""

    exit_code = 2


class NothingRecordedError(ThroughtimeError, RuntimeError):
    """No recurrence ran inside the capture.

    Attributes:
        seen, korean: what ran instead, in English and in Korean; empty where nothing did.
    """

    def __init__(self, message: str, seen: str = "", korean: str = "") -> None:
        super().__init__(message)
        self.seen, self.korean = seen, korean


class NoGradientError(ThroughtimeError, RuntimeError):
    """A recurrence ran inside the capture, yet no gradient reached it."""


class InputError(ThroughtimeError, ValueError):
    """An input of the wrong shape, type, length or value."""


class StateCarriedError(ThroughtimeError, RuntimeError):
    """A hidden state still hangs on the graph of an earlier forward pass."""


class UnsupportedError(ThroughtimeError, TypeError):
    """Asked of a recurrence or a layer what it cannot give."""


class DivergedError(ThroughtimeError, ArithmeticError):
    """A training whose loss or gradient is no longer finite.

    Attributes:
        training: the ``Training`` until then; None outside of a training.
    """

    exit_code = 1
    training: Any = None


class ReachError(ThroughtimeError, AssertionError):
    """The gradient does not reach as far back as was asserted."""

    exit_code = 1


class LoadError(ThroughtimeError, ValueError):
    """A user's file, function or text that cannot be used."""


class RunError(ThroughtimeError, RuntimeError):
    """A run directory that cannot be read, written or resumed."""


class StorageError(ThroughtimeError, OSError):
    """A file that could not be written; what was there before is untouched.

    Attributes:
        path: the file, as plain text; ``filename`` is the same.
        needed: the bytes that were to be written.
    """

    exit_code = 3

    def __init__(self, cause: OSError, path: object, needed: int) -> None:
        self.path, self.needed, self._cause = plain(path), needed, cause
        reason = f"{cause.strerror}: not written ({needed:,} bytes), nothing was changed"
        super().__init__(cause.errno, reason, self.path)
        if isinstance(cause, PermissionError):  # another path would mend it
            self.exit_code = 2

    def __str__(self) -> str:
        return f"{self.path}: {self.strerror}"

    def __reduce__(self) -> tuple[object, ...]:  # a worker process may have to send it home
        return type(self), (self._cause, self.path, self.needed)


class LostProcessError(ThroughtimeError, RuntimeError):
    """Another process of the same training has ended, or does not answer."""

    exit_code = 3


class MissingExtraError(ThroughtimeError, ImportError):
    """An optional package that is not installed."""

    exit_code = 3

    def __init__(self, package: str) -> None:
        # Not "throughtime[...]": this package itself may have been installed from a folder.
        super().__init__(f"{package} is not installed: run  pip install {package}", name=package)


class StopRequest(BaseException):
    """A signal asked the process to end. No ``except Exception`` of a user's code swallows it.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interrupt(StopRequest, KeyboardInterrupt):
    """Ctrl-C: a ``KeyboardInterrupt`` that no user's code raised."""


def is_stop(error: BaseException) -> bool:
    """Whether a signal raised this, and not somebody's code.

    A command line makes an ``Interrupt`` of Ctrl-C; where Python's own handler stands, or none, a
    bare ``KeyboardInterrupt`` is one.
    """
    bare = type(error) is KeyboardInterrupt
    handler = signal.getsignal(signal.SIGINT)
    pythons = handler is signal.default_int_handler or not callable(handler)
    return isinstance(error, StopRequest) or (bare and pythons)


def out_of_memory(error: BaseException) -> bool:
    """Whether it says so in Python's way, or in one of torch's, which are a plain RuntimeError."""
    of_torch = type(error).__name__ == "OutOfMemoryError" or "allocate memory" in said(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and of_torch)


def said(error: object) -> str:
    """The text of an error, whatever its own ``__str__`` does."""
    try:
        return str(error)
    except BaseException as another:
        if is_stop(another):
            raise
        return f"no text, its __str__ raised {type(another).__name__}"


class ThroughtimeWarning(UserWarning):
    """Something that does not stop the measurement and that its reader must know."""


def plain(text: object) -> str:
    """One line of ``text`` with control characters (ANSI escapes among them) made harmless."""
    return "".join(
        " " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c
        for c in str(text)
        if unicodedata.category(c) != "Cf"
    )


def counted(number: float, thing: str, several: str = "") -> str:
    """``1 step``, ``9 steps``, ``1,000 steps``, ``1.5 minutes``; ``several`` of ``batch``."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {thing}" if shown == "1" else f"{shown} {several or f'{thing}s'}"


def unknown(what: str, name: object, known: Iterable[object], choose: str = "choose from") -> str:
    """``unknown remedy 'cronno'; did you mean 'chrono'? choose from: chrono, gru``.

    Args:
        what: the kind of thing, in a word.
        name: what was given.
        known: the names that there are.
        choose: how they are offered.
    """
    given, choices = plain(name), [plain(choice) for choice in known]
    listed = ", ".join([*choices[:_MOST], *(["..."] if len(choices) > _MOST else [])])
    near = _nearest(given, choices)
    given = given if len(given) <= _LONGEST else f"{given[:_LONGEST]} …"
    hint = "" if near is None else f" did you mean {near!r}?"
    offer = f" {choose}: {listed}" if choices else " there is none"
    return f"unknown {what} {given!r};{hint}{offer}"


def _nearest(given: str, choices: Iterable[str]) -> str | None:
    """The choice that was probably meant: case and the sign between words do not count."""
    spelt = {choice.casefold().replace("_", "-"): choice for choice in choices}
    near = difflib.get_close_matches(given.casefold().replace("_", "-"), spelt, 1)
    return spelt[near[0]] if near else None
