"""Signals that ask a training to end: noted at once, obeyed between two updates, then handed on."""

from __future__ import annotations

import signal
import threading
from typing import Any

_ASKING = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
]


class Interruption:
    """Inside the block SIGINT, SIGTERM, SIGHUP and SIGUSR1 (SLURM's warning) set ``number``.

    Nothing is saved in a handler. Afterwards the old handlers are back, and ``hand_on`` gives the
    signal to its old one: Ctrl-C raises ``KeyboardInterrupt`` after all, and SIGTERM ends the
    process. A second signal does not wait. Signals that were ignored stay ignored; outside the main
    thread none is noted.

    Args:
        listening: False leaves all signals as they are.
    """

    def __init__(self, *, listening: bool) -> None:
        self.number = 0
        self._listening = listening and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        for number in _ASKING if self._listening else ():
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN and before is not None:
                self._before[number] = before
                signal.signal(number, self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def hand_on(self) -> None:
        """Give the signal that came, if one did, to the handler that was there before.

        SIGUSR1, where nobody handled it, ends the process as SIGTERM does.
        """
        if not self.number:
            return
        unhandled = self._before[self.number] is signal.SIG_DFL
        is_warning = self.number == getattr(signal, "SIGUSR1", None)
        signal.raise_signal(signal.SIGTERM if unhandled and is_warning else self.number)

    def _note(self, number: int, _frame: object) -> None:
        if self.number:  # asked twice: do not wait for the end of this update
            signal.signal(number, self._before[number])
            signal.raise_signal(number)
        self.number = self.number or number
