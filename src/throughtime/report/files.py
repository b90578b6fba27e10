"""Writing a file so that there is always a whole one: the old or the new, never half of either."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from throughtime.errors import InputError, plain

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def write_atomically(path: str | os.PathLike[str], text: str) -> Path:
    """Write ``text`` in UTF-8 to ``path``: a temporary file beside it, fsync, rename.

    The mode is 0666 less the umask. Raises ``InputError`` if the target is a directory, a device,
    a pipe or a link, or its folder is not there; ``OSError`` (disk full, no permission) with the
    path and the bytes needed. Whatever was there before is then untouched.
    """
    target = Path(path)
    _refuse(target)
    content = text.encode("utf-8", "replace")  # a file name may hold what UTF-8 cannot
    # Not derived from the target's name, which may already be as long as a name can be.
    spare = target.with_name(f".throughtime-{secrets.token_hex(8)}.tmp")
    try:
        _write(spare, content)
        spare.replace(target)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}: not written ({len(content):,} bytes), nothing was changed",
            plain(target),
        ) from error
    finally:
        with suppress(OSError):
            spare.unlink(missing_ok=True)
    return target


def _refuse(target: Path) -> None:
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        mode = None
    except (NotADirectoryError, ValueError):  # a file in the place of a folder; a NUL in the name
        raise InputError(f"{plain(target)} cannot be a file: choose another path") from None
    if mode is not None and not stat.S_ISREG(mode):
        kind = next((kind for test, kind in _KINDS if test(mode)), "not a plain file")
        raise InputError(f"{plain(target)} is {kind}: name a new file, or one to replace")
    if not target.parent.is_dir():
        raise InputError(
            f"{plain(target)}: there is no folder {plain(target.parent)}: make it first"
        )


def _write(spare: Path, content: bytes) -> None:
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
