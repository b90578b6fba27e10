"""``journal.jsonl``: one JSON object a line, written once and only ever added to.

The last entry of each line is a running digest: of this line and, through the line before, of all
lines so far and of the run that they belong to. A process killed in the middle of a line leaves
half of it, always the last: readers skip it, and the next writer removes it. Anything else that
does not fit was not done here, and is refused by its number.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from throughtime.errors import RunError, StorageError, plain
from throughtime.files import PLAINLY, read_plainly, refuse_special, write_all
from throughtime.runs.plain_json import from_json, to_json

DIGEST = "digest"
_DIGEST = re.compile(rb'(?P<body>\{.*?)(, )?"digest": "(?P<digest>[0-9a-f]{16})"\}', re.DOTALL)


class _Read(NamedTuple):
    """The lines of a journal: their records, their digests, and how many bytes of it are whole."""

    records: list[dict[str, Any]]
    digests: list[str]
    whole: int
    ended: bool  # whether the last line has its line feed


class Journal:
    """The journal of one run.

    Args:
        path: its file.
        run: the identity of the run: lines of another run do not fit.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._path = path
        self._first = self.head = _running("", run.encode())
        """The digest of the last line; where there is none, that of the run."""

    def begin(self, known: Collection[str]) -> None:
        """Prepare to write: check every line, remove half a last one, go on from its digest.

        Args:
            known: digests that checkpoints remember: a journal without one of them has lost lines.

        Raises ``RunError`` with the file, and the number of a line that does not fit, before
        anything is changed.
        """
        found = self._read()
        self.refuse_loss(known, found)
        self.head = ([self._first, *found.digests])[-1]
        if not refuse_special(self._path) or (found.ended and self._size() == found.whole):
            return
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | PLAINLY)
        try:
            os.ftruncate(descriptor, found.whole)
            if not found.ended:
                _add(descriptor, b"\n")
        except OSError as error:
            raise StorageError(error, self._path, 1) from error
        finally:
            os.close(descriptor)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line; it is with the system when this returns, and survives the process.

        Raises:
            RunError: the record holds what JSON cannot.
            StorageError: the disk is full; the journal is as it was, without half a line.
        """
        if DIGEST in record:
            raise RunError(f"the journal keeps {DIGEST!r} itself: name this entry otherwise")
        body = to_json(record, "the record")
        digest = _running(self.head, body.encode("ascii"))
        comma = ", " if record else ""
        content = f'{body[:-1]}{comma}"{DIGEST}": "{digest}"}}\n'.encode("ascii")
        refuse_special(self._path)
        try:
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | PLAINLY, 0o666
            )
        except OSError as error:
            raise StorageError(error, self._path, len(content)) from error
        try:
            _add(descriptor, content)
        except OSError as error:
            raise StorageError(error, self._path, len(content)) from error
        finally:
            os.close(descriptor)
        self.head = digest

    def history(self) -> list[dict[str, Any]]:
        """All records in order. One of a step supersedes those before it of that step or later.

        So a training that was resumed further back shows its second try alone. Raises ``RunError``
        for a line that does not fit, with its number.
        """
        kept: list[dict[str, Any]] = []
        for record in self._read().records:
            step = _step(record)
            if step is not None:
                _go_back(kept, step)
            kept.append(record)
        return kept

    def refuse_loss(self, known: Collection[str], found: _Read | None = None) -> None:
        """Raise ``RunError`` if lines are gone that checkpoints remember, see ``begin``."""
        found = self._read() if found is None else found
        if not {*known} <= {self._first, *found.digests}:
            raise RunError(
                f"{plain(self._path)} ends at line {len(found.records)}, and a checkpoint was "
                "saved after a later one: put the whole journal back, or name a new directory"
            )

    def flush(self) -> None:
        """Have the disk hold all lines so far, where it can."""
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | PLAINLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _size(self) -> int:
        return self._path.lstat().st_size

    def _read(self) -> _Read:
        try:
            content = read_plainly(self._path)
        except FileNotFoundError:
            return _Read([], [], 0, ended=True)
        found = _Read([], [], 0, ended=True)
        lines = _split(content)
        digest = self._first
        for number, line in enumerate(lines, start=1):
            record = _parsed(line)
            if record is None and number == len(lines):
                break
            expected = _DIGEST.fullmatch(line.rstrip(b"\n"))
            if record is None or expected is None:
                raise self._broken(number, f"not a record ({plain(repr(line[:40]))})")
            digest = _running(digest, expected["body"] + b"}")
            if digest != expected["digest"].decode():
                raise self._broken(number, "its digest is not that of this run's lines so far")
            del record[DIGEST]
            found.records.append(record)
            found.digests.append(digest)
            found = found._replace(whole=found.whole + len(line), ended=line.endswith(b"\n"))
        return found

    def _broken(self, number: int, what: str) -> RunError:
        return RunError(
            f"{plain(self._path)}, line {number}: {what}: put the journal back as it was, or name "
            "a new directory"
        )


def _split(content: bytes) -> list[bytes]:
    """The lines, each with its line feed; nothing else ends one."""
    return [line + b"\n" for line in content.split(b"\n")[:-1]] + (
        [last] if (last := content.rpartition(b"\n")[2]) else []
    )


def _running(before: str, body: bytes) -> str:
    return hashlib.sha256(before.encode("ascii") + body).hexdigest()[:16]


def _add(descriptor: int, content: bytes) -> None:
    before = os.fstat(descriptor).st_size
    try:
        write_all(descriptor, content)
    except BaseException:
        os.ftruncate(descriptor, before)
        raise


def _go_back(kept: list[dict[str, Any]], to: int) -> None:
    """Remove the records of step ``to`` and later; those without a step stay."""
    stepless = []
    while kept and ((step := _step(kept[-1])) is None or step >= to):
        record = kept.pop()
        if step is None:
            stepless.append(record)
    kept.extend(reversed(stepless))


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        return from_json(line)
    except ValueError:
        return None


def _step(record: Mapping[str, Any]) -> int | None:
    step = record.get("step")
    return step if isinstance(step, int) and not isinstance(step, bool) else None
