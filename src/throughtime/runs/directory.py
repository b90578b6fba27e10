"""``RunDirectory``: the record of one training, safe against kill −9, full disks, second writers.

The order of writing is all of its safety: a checkpoint is a new file, whole and on the disk, before
the manifest names it; and an old one is removed only when no manifest names it any more.
"""

from __future__ import annotations

import copy
import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from throughtime.errors import RunError, StorageError, plain
from throughtime.files import is_plain, is_spare, sweep_spares
from throughtime.runs import checkpoint
from throughtime.runs.journal import Journal
from throughtime.runs.lock import locked, one_at_a_time
from throughtime.runs.manifest import (
    CHECKPOINT,
    MANIFEST,
    Checkpoint,
    Manifest,
    put,
    read_manifest,
    write_manifest,
)

_KEPT = 2  # checkpoints: the last one, and the one before should the last be damaged
_JOURNAL, _LOCK = "journal.jsonl", "lock"


class RunDirectory:
    """A manifest, a journal and the last two checkpoints of one training.

    The format is told in docs/run-directory.md. Anybody may read at any time; to write, hold the
    ``lock()``.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self._take(manifest)
        self._writing = False

    def _take(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._journal = Journal(self.path / _JOURNAL, manifest.run)

    def __repr__(self) -> str:
        return f"RunDirectory({plain(self.path)!r})"

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], manifest: Mapping[str, Any] | None = None
    ) -> RunDirectory:
        """Make a new run directory; ``manifest`` says what is trained and how (plain values).

        Raises:
            RunError: there is a run already, or files of somebody else; or it cannot be written.
            StorageError: the disk is full.
        """
        folder = _absolute(path)
        if not _is_folder(folder):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise StorageError(error, folder, 0) from error
                raise _unusable(folder, error) from error
        _refuse_unwritable(folder)
        with one_at_a_time(folder):
            if (folder / MANIFEST).exists():
                raise RunError(f"{plain(folder)} already holds a run: resume it, or name another")
            if any(not is_spare(found) for found in folder.iterdir()):
                raise RunError(f"{plain(folder)} holds other files: name a new directory")
            facts = {"status": "created", **(manifest or {})}
            written = write_manifest(folder, Manifest.new(facts))
        return cls(folder, written)

    @classmethod
    def open(cls, path: str | os.PathLike[str], for_writing: bool = False) -> RunDirectory:
        """The run that is there; ``for_writing`` says at once if nothing could be written.

        Raises:
            RunError: there is none, it is broken, or written by a newer version.
        """
        folder = _absolute(path)
        if not _is_folder(folder):
            raise RunError(f"there is no run directory {plain(folder)}: check the path")
        if for_writing:
            _refuse_unwritable(folder)
        return cls(folder, read_manifest(folder))

    @classmethod
    def is_at(cls, path: str | os.PathLike[str]) -> bool:
        """Whether a run was created at ``path``, readable or not."""
        with suppress(OSError, ValueError):
            return (_absolute(path) / MANIFEST).is_file()
        return False

    @contextmanager
    def lock(self) -> Iterator[RunDirectory]:
        """Be the only writer inside the block; what a killed one left behind is removed first.

        Everything is read and checked before the first file is changed.

        Raises:
            RunError: another process writes, or one of another machine may; the manifest or the
                journal was changed, or they do not belong together.
            StorageError: the disk is full.
        """
        with locked(self.path / _LOCK):
            self._take(read_manifest(self.path))
            self._refuse_forgotten()
            self._journal.begin({one.journal for one in self._manifest.checkpoints})
            self._sweep()
            self._writing = True
            try:
                yield self
            finally:
                self._writing = False

    @property
    def manifest(self) -> dict[str, Any]:
        """What is trained and how, and the status: as it was opened, or last written here."""
        return copy.deepcopy(self._manifest.facts)

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints that can be loaded, the last saved one last."""
        return list(self._manifest.checkpoints)

    def update(self, **facts: Any) -> None:
        """Set entries of the manifest, all or none.

        Raises ``RunError`` (no lock; a value that JSON cannot hold) or ``StorageError``.
        """
        self._refuse_unlocked()
        self._manifest = write_manifest(self.path, self._manifest.with_facts(facts))

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line to the journal. See ``history``.

        Raises ``RunError`` (no lock; a value that JSON cannot hold) or ``StorageError``.
        """
        self._refuse_unlocked()
        self._journal.append(record)

    def history(self) -> list[dict[str, Any]]:
        """The records of the journal in order; the last of one ``"step"`` supersedes others of it.

        A record whose step lies further back than what stands before it (a training was resumed)
        supersedes all from there on. Raises ``RunError`` with the number of a line that is broken,
        was changed, or is of another run.
        """
        return self._journal.history()

    def save(self, state: Mapping[str, Any], step: int) -> None:
        """Make ``state`` the last checkpoint: all of it or, whatever happens, nothing.

        Args:
            state: tensors and plain values, nested in dictionaries, lists and tuples.
            step: after how many training steps; those of this step or a later one are superseded.

        Raises:
            RunError: no lock, or a value that a checkpoint cannot hold, with its place.
            StorageError: the disk is full; the checkpoints so far are as they were.
        """
        self._refuse_unlocked()
        if type(step) is not int or step < 0:
            raise RunError(f"step is {step!r}, and must be a whole number from 0")
        content = checkpoint.encode(state, self._manifest.run, step)
        new = Checkpoint.of(content, step, self._journal.head)
        self._journal.flush()  # a checkpoint never knows of steps that the journal does not
        put(self.path / new.file, content)
        before = self._manifest.checkpoints
        kept = [*(old for old in before if old.step < step), new][-_KEPT:]
        try:
            self._manifest = write_manifest(self.path, self._manifest.with_checkpoints(kept))
        except StorageError:
            if new.file not in {old.file for old in before}:
                with suppress(OSError):
                    (self.path / new.file).unlink()
            raise
        self._sweep()

    def load(self, step: int | None = None) -> tuple[int, Any] | None:
        """The last checkpoint, or that of ``step``, as ``(step, state)``; None if none was saved.

        Tensors come back on the CPU, without a graph. A file that somebody has removed is passed
        over for the one before.

        Raises:
            RunError: the file is not whole, was changed or is of another run or step, with what to
                do; the journal has lost lines that the checkpoint remembers; or none is left.
        """
        if not self._writing:
            self._take(read_manifest(self.path))
        checkpoints = self._manifest.checkpoints
        if not checkpoints and step is None:
            return None
        asked = [one for one in checkpoints if step is None or one.step == step]
        for entry in reversed(asked):
            with suppress(FileNotFoundError):
                state = self._state(entry)
                self._journal.refuse_loss([entry.journal])
                return entry.step, state
        wanted = "its checkpoints are gone" if step is None else f"no checkpoint of step {step}"
        there = ", ".join(str(one.step) for one in checkpoints) or "none"
        raise RunError(f"{plain(self.path)}: {wanted}; the manifest names steps: {there}")

    def _state(self, entry: Checkpoint) -> Any:
        try:
            content = entry.read(self.path)
            file = plain(self.path / entry.file)
            try:
                held = checkpoint.decode(content)
            except ValueError as error:
                raise RunError(f"{file} is not a checkpoint: {plain(error)}") from None
            if (held.run, held.step) != (self._manifest.run, entry.step):
                raise RunError(f"{file} is the checkpoint of another run or another step")
            return held.state
        except RunError as error:
            before = [one.step for one in self._manifest.checkpoints if one.step < entry.step]
            advice = f"go on from step {before[-1]}" if before else "the run cannot be resumed"
            raise RunError(f"{error}: {'remove it to ' * bool(before)}{advice}") from error

    def _sweep(self) -> None:
        """Remove what a killed writer left: temporary files, and checkpoints without an entry."""
        with suppress(OSError):  # what cannot be removed now is removed at another start
            sweep_spares(self.path)
            for path in self._unnamed():
                path.unlink()

    def _unnamed(self) -> list[Path]:
        """Plain files with the name of a checkpoint that the manifest does not list."""
        named = {entry.file for entry in self._manifest.checkpoints}
        found = [one for one in self.path.iterdir() if CHECKPOINT.fullmatch(one.name)]
        return [one for one in found if one.name not in named and is_plain(one)]

    def _refuse_forgotten(self) -> None:
        """Refuse an earlier manifest, by which the sweep would remove the only checkpoints.

        A killed writer leaves one that is not named at most, before the first or beside others.
        """
        forgotten = len(self._unnamed())
        named = self._manifest.checkpoints
        there = any(is_plain(self.path / entry.file) for entry in named)
        if forgotten > (0 if named else 1) and not there:
            raise RunError(
                f"{plain(self.path / MANIFEST)} names none of the {forgotten} checkpoints "
                "that lie beside it: put the manifest back that belongs to them, or name a new "
                "directory"
            )

    def _refuse_unlocked(self) -> None:
        if not self._writing:
            raise RunError(f"{plain(self.path)} is not locked: write inside `with run.lock():`")


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(os.fsdecode(path)).absolute()  # a training may change the working directory


def _is_folder(path: Path) -> bool:
    """Whether there is a directory, or a link to one. Raises ``RunError`` if something else is."""
    try:
        if path.is_dir():
            return True
        path.lstat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error
    raise RunError(f"{plain(path)} is not a directory: name another")


def _refuse_unwritable(folder: Path) -> None:
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise RunError(f"{plain(folder)} cannot be written: allow it, or name another directory")


def _unusable(path: Path, error: Exception) -> RunError:
    reason = error.strerror if isinstance(error, OSError) else error
    return RunError(f"{plain(path)} cannot be a run directory ({plain(reason)}): name another")
