"""Files that are whole: the old one or the new one, never half of either; and plain, never a pipe.

A name given by a user may be a device, a pipe or a link, and a rename would replace the device
itself: whatever is not a plain file is refused before it is opened.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from throughtime.errors import InputError, StorageError, plain

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
# Not derived from the target's name, which may already be as long as a name can be.
_SPARE = ".throughtime-{}.tmp"
_SPARE_NAME = re.compile(r"\.throughtime-[0-9a-f]{16}\.tmp")
# Between lstat and open the name may become something else: do not follow it, nor wait for it.
PLAINLY = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write ``content`` (text in UTF-8) to ``path``: a temporary file beside it, fsync, rename.

    The mode is 0666 less the umask. A process killed at any moment leaves the old file or the new
    one, and at most a temporary file, which ``sweep_spares`` removes.

    Raises:
        InputError: the target is a directory, a device, a pipe or a link, or its folder is missing.
        StorageError: the disk is full or cannot be written; what was there is untouched.
    """
    target = Path(path)
    if isinstance(content, str):
        content = content.encode("utf-8", "replace")  # a file name may hold what UTF-8 cannot
    spare = target.with_name(_SPARE.format(secrets.token_hex(8)))
    try:
        _refuse(target)
        _write(spare, content)
        os.replace(spare, target)  # noqa: PTH105  — one system call, by its name
    except OSError as error:
        raise StorageError(error, target, len(content)) from error
    finally:
        with suppress(OSError, ValueError):
            spare.unlink(missing_ok=True)
    flush_folder(target.parent)
    return target


def read_plainly(path: Path, most: int | None = None) -> bytes:
    """The bytes of a plain file.

    Args:
        path: the file.
        most: refuse a file of more bytes than these.

    Raises:
        InputError: it is a directory, a device, a pipe or a link, or too large.
        OSError: it is not there, or cannot be read.
    """
    refuse_special(path)
    with os.fdopen(os.open(path, os.O_RDONLY | PLAINLY), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise InputError(f"{plain(path)} is too large: {size:,} bytes of at most {most:,}")
        return file.read()


def read_end(path: Path, size: int) -> bytes:
    """The last ``size`` bytes of a plain file, fewer where it is shorter; raises as above."""
    refuse_special(path)
    with os.fdopen(os.open(path, os.O_RDONLY | PLAINLY), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - size))
        return file.read(size)


def check_writable(path: Path, size: int = 0) -> None:
    """Find out whether ``write_atomically`` could write so many bytes there; nothing is left.

    Raises as ``write_atomically``.
    """
    spare = path.with_name(_SPARE.format(secrets.token_hex(8)))
    try:
        _refuse(path)
        _write(spare, bytes(size))
    except OSError as error:
        raise StorageError(error, path, size) from error
    finally:
        with suppress(OSError, ValueError):
            spare.unlink(missing_ok=True)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it: one system call may take less, on a disk that fills or beyond 2 GiB."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def refuse_special(path: Path) -> bool:
    """Raise ``InputError`` if ``path`` is there and no plain file; whether it is there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:  # a file in the place of a folder; a NUL in the name
        if isinstance(error, OSError) and error.errno not in (errno.ENOTDIR, errno.ENAMETOOLONG):
            raise
        raise InputError(f"{plain(path)} cannot be a file: choose another path") from None
    if not stat.S_ISREG(mode):
        kind = next((kind for test, kind in _KINDS if test(mode)), "not a plain file")
        raise InputError(f"{plain(path)} is {kind}: name a new file, or one to replace")
    return True


def sweep_spares(folder: Path) -> None:
    """Remove the temporary files that a killed ``write_atomically`` left in ``folder``."""
    for path in folder.iterdir():
        if is_spare(path):
            with suppress(OSError):
                path.unlink()


def is_spare(path: Path) -> bool:
    """Whether ``write_atomically`` made this temporary file: by its name, and plain."""
    return bool(_SPARE_NAME.fullmatch(path.name)) and is_plain(path)


def is_plain(path: Path) -> bool:
    """Whether a plain file is there, and not a link to one."""
    with suppress(OSError):
        return stat.S_ISREG(path.lstat().st_mode)
    return False


def flush_folder(folder: Path) -> None:
    """Have the disk know the names in ``folder`` as well, where its file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _refuse(target: Path) -> None:
    if not refuse_special(target) and not target.parent.is_dir():
        raise InputError(
            f"{plain(target)}: there is no folder {plain(target.parent)}: make it first"
        )


def _write(spare: Path, content: bytes) -> None:
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
