"""One writer at a time: a file ``lock`` that names the process which writes.

The lock of a process that is gone is taken over, if that process ran on this machine. Of another
machine nothing can be known, so its lock is refused, with what to do. Containers of one machine do
not see each other's processes, but the system's own lock (flock), which is held beside the name.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from throughtime.errors import RunError, ThroughtimeError, plain
from throughtime.files import PLAINLY, read_plainly, refuse_special, write_atomically

_PATIENCE, _TICK = 2.0, 0.01  # seconds before it is said who is waited for; between two tries
_HIDDEN = "hidden"  # a namespace in which /proc shows the processes of another
_ours: set[int] = set()  # descriptors that hold a lock of the system's


@dataclass(frozen=True)
class Owner:
    """A process that writes into a run directory.

    Attributes:
        host: the name of its machine.
        pid: its number there.
        started: when it started, as its system tells: numbers are used again, times are not. Empty
            where the system does not tell.
        since: when it took the lock (UTC).
        space: the namespace that counts it (Linux): in another one its number means nothing. Empty
            where the system does not tell.
    """

    host: str
    pid: int
    started: str
    since: str
    space: str = ""

    @classmethod
    def me(cls) -> Owner:
        """This process, now."""
        pid = os.getpid()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), pid, _started(pid) or "", now, _space())

    def is_here(self) -> bool:
        """Whether it ran on this machine."""
        return self.host == socket.gethostname()

    def is_seen(self) -> bool:
        """Whether its number means something to this process."""
        return self.space in ("", _space()) and self.space != _HIDDEN

    def is_alive(self) -> bool:
        """Whether it is still there; asked on its own machine, where its number means something."""
        started = _started(self.pid)
        if self.started and Path("/proc/self/stat").exists():
            return started == self.started
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            return True
        return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` inside the block.

    Raises:
        RunError: another process holds it, or one of another machine may.
        StorageError: it cannot be written.
    """
    me = Owner.me()
    with one_at_a_time(path.parent):
        _refuse_owner(path)
        write_atomically(path, json.dumps(asdict(me)) + "\n")
        held = _flocked(path)
    try:
        yield
    finally:
        with suppress(OSError, ThroughtimeError), one_at_a_time(path.parent):
            if _owner(path) == me:
                path.unlink()
        _close(held)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Only one process inside the block, for the moment that a look and a deed must not part.

    The system lets go of it with the process. Who waits for long says for whom.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    _ours.add(descriptor)
    try:
        with suppress(OSError):  # a file system without such locks
            _wait_for(descriptor, folder)
        yield
    finally:
        _close(descriptor)


def _wait_for(descriptor: int, folder: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_TICK)
    sys.stderr.write(
        f"throughtime: waiting for {_holder(descriptor)}, at work in {plain(folder)}\n"
    )
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def _holder(descriptor: int) -> str:
    """Who holds the system's lock, where it tells (Linux)."""
    entry = os.fstat(descriptor)
    place = f"{os.major(entry.st_dev):02x}:{os.minor(entry.st_dev):02x}:{entry.st_ino}"
    with suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5] == place and words[4] != "0":
                return f"process {words[4]} on {plain(socket.gethostname())}"
    return "another process"


def _flocked(path: Path) -> int | None:
    """A descriptor that holds the system's lock on a file; None where there are no such locks.

    Raises ``BlockingIOError`` where another process holds it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | PLAINLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return None
    _ours.add(descriptor)
    return descriptor


def _close(descriptor: int | None) -> None:
    if descriptor in _ours:  # not in a fork, which has let go of it
        _ours.discard(descriptor)
        os.close(descriptor)


def _let_go() -> None:
    """A forked process holds nothing: it might outlive the one that does."""
    while _ours:
        with suppress(OSError):
            os.close(_ours.pop())


os.register_at_fork(after_in_child=_let_go)


def _refuse_owner(path: Path) -> None:
    owner = _owner(path)
    if owner is None:
        return
    who = f"process {owner.pid} on {plain(owner.host)} since {plain(owner.since)}"
    unknown = f"{plain(path.parent)} is locked by {who}: if that process has ended, remove "
    if not owner.is_here():
        raise RunError(f"{unknown}{plain(path)}")
    held = _is_held(path, owner)
    if held is None:
        raise RunError(f"{unknown}{plain(path)}")
    if held:
        raise RunError(
            f"{plain(path.parent)} is being written by {who}: wait for it, or name another"
        )


def _is_held(path: Path, owner: Owner) -> bool | None:
    """Whether the owner, of this machine, still holds its lock; None where nothing tells."""
    try:
        descriptor = _flocked(path)
    except BlockingIOError:
        return True
    _close(descriptor)
    if owner.is_seen():
        return owner.is_alive()
    return None if descriptor is None else False


def _owner(path: Path) -> Owner | None:
    """Who holds the lock; None for nobody. What is no lock of ours is refused."""
    if not refuse_special(path):
        return None
    try:
        found = json.loads(read_plainly(path))
        owner = Owner(**found)
        texts = (owner.host, owner.started, owner.since, owner.space)
        if type(owner.pid) is not int or not all(isinstance(text, str) for text in texts):
            raise TypeError
    except (ValueError, TypeError, RecursionError):
        raise RunError(f"{plain(path)} names no process: remove it if nobody writes") from None
    return owner


def _started(pid: int) -> str | None:
    """Boot and start time of a living process (Linux), else None."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    state, *rest = line.rpartition(")")[2].split()  # the name in brackets may hold anything
    return None if state in "ZX" else f"{boot}:{rest[18]}"


def _space() -> str:
    """The namespace that this process is counted in (Linux); empty where there are none."""
    if not Path("/proc/self/ns/pid").exists():
        return _HIDDEN if Path("/proc/1/ns").exists() else ""
    seen = Path("/proc/self").readlink() == Path(str(os.getpid()))  # else it shows another one
    return str(Path("/proc/self/ns/pid").readlink()) if seen else _HIDDEN
