"""``manifest.json``: what a run is, and which checkpoints of it are whole."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from throughtime.errors import InputError, RunError, StorageError, plain
from throughtime.files import read_plainly, write_atomically
from throughtime.runs.plain_json import from_json
from throughtime.runs.sealed import SEAL, seal, unseal

MANIFEST = "manifest.json"
SCHEMA = 2
RESERVED = frozenset({"schema", "run", "checkpoints", SEAL})
_RUN, _HEAD = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{16}")
_LARGEST = 2**28  # bytes of a manifest: one that is larger was not written here
# Nothing else is ever opened or removed for a checkpoint: a manifest cannot name what is not ours.
CHECKPOINT = re.compile(r"checkpoint-\d{12,}-[0-9a-f]{16}\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """One entry of the manifest: a checkpoint file and how to know that it is whole.

    Attributes:
        file: its name in the run directory.
        step: after how many training steps it was taken.
        size: its length in bytes.
        sha256: its digest, in hexadecimal.
        journal: the digest of the journal's last line when it was taken.
    """

    file: str
    step: int
    size: int
    sha256: str
    journal: str

    @classmethod
    def of(cls, content: bytes, step: int, journal: str) -> Checkpoint:
        """The entry for the content of a new file; its name is its own, whatever was saved before.

        (A file that the manifest already names is never written again with other content: a kill
        between the two would leave a digest that does not fit.)
        """
        digest = hashlib.sha256(content).hexdigest()
        return cls(_name(step, digest), step, len(content), digest, journal)

    def read(self, folder: Path) -> bytes:
        """Its content, if that is what was saved.

        Raises ``RunError`` if it is not whole, was changed, or is no plain file;
        ``FileNotFoundError`` if it is not there.
        """
        path = folder / self.file
        try:
            content = read_plainly(path)
        except FileNotFoundError:
            raise
        except (InputError, OSError) as error:
            raise RunError(f"{plain(path)} cannot be read: {_reason(error)}") from error
        if len(content) != self.size:
            raise RunError(
                f"{plain(path)} is not a complete checkpoint ({len(content):,} bytes, and "
                f"{self.size:,} were saved)"
            )
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise RunError(
                f"{plain(path)} is not what was saved: its sha256 is not that of the manifest"
            )
        return content


@dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    Attributes:
        run: the identity of the run: its journal and its checkpoints carry it as well.
        facts: what whoever trains has put there.
        checkpoints: in the order in which they were saved.
    """

    run: str
    facts: dict[str, Any]
    checkpoints: tuple[Checkpoint, ...] = ()

    @classmethod
    def new(cls, facts: Mapping[str, Any]) -> Manifest:
        """That of a new run, with an identity of its own."""
        return cls(secrets.token_hex(16), dict(facts))

    def with_facts(self, facts: Mapping[str, Any]) -> Manifest:
        """The same run with these entries set."""
        return replace(self, facts={**self.facts, **facts})

    def with_checkpoints(self, checkpoints: Sequence[Checkpoint]) -> Manifest:
        """The same run with these checkpoints alone."""
        return replace(self, checkpoints=tuple(checkpoints))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run directory.

    Raises ``RunError`` if there is none, if it was changed, or if another version has written it.
    """
    path = folder / MANIFEST
    try:
        content = read_plainly(path, _LARGEST)
        _refuse_schema(path, from_json(content).get("schema"))
        found = unseal(content)
    except FileNotFoundError:
        raise RunError(f"{plain(folder)} is not a run directory: it has no {MANIFEST}") from None
    except (InputError, OSError) as error:
        raise RunError(f"{plain(path)} cannot be read: {_reason(error)}") from error
    except ValueError as error:
        raise RunError(f"{plain(path)} is not a manifest: {plain(error)}") from None
    del found["schema"]
    run, checkpoints = found.pop("run", None), found.pop("checkpoints", None)
    if not isinstance(run, str) or not _RUN.fullmatch(run):
        raise RunError(f"{plain(path)} is not a manifest: it does not say which run it is of")
    return Manifest(run, found, _checkpoints(path, checkpoints))


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write it whole, and return it as a reader finds it.

    Raises ``RunError`` for a fact that JSON cannot hold, or one by the name of what is kept here;
    ``StorageError`` if the disk is full, with the old manifest untouched.
    """
    if taken := RESERVED & manifest.facts.keys():
        raise RunError(f"the manifest keeps {', '.join(sorted(taken))} itself: name it otherwise")
    text = seal(
        {
            "schema": SCHEMA,
            "run": manifest.run,
            **manifest.facts,
            "checkpoints": [asdict(one) for one in manifest.checkpoints],
        },
        "the manifest",
    )
    put(folder / MANIFEST, text)
    written = from_json(text)
    facts = {name: value for name, value in written.items() if name not in RESERVED}
    return replace(manifest, facts=facts)


def put(path: Path, content: str | bytes) -> None:
    """``write_atomically``, for a training under way: a folder that has gone is a lost disk to it.

    Raises ``StorageError``.
    """
    if not os.access(path.parent, os.F_OK):
        gone = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        raise StorageError(gone, path, len(content))
    write_atomically(path, content)


def _refuse_schema(path: Path, schema: object) -> None:
    if type(schema) is not int or schema < 1:
        raise RunError(f"{plain(path)} is not a manifest: its schema is {plain(repr(schema))}")
    if schema > SCHEMA:
        raise RunError(
            f"{plain(path)} has schema {schema}, and this version of throughtime reads up to "
            f"{SCHEMA}: use a newer version"
        )
    if schema < SCHEMA:
        raise RunError(
            f"{plain(path)} has schema {schema}, of an older version whose records carry no digest "
            "and cannot be checked: train again in a new directory"
        )


def _checkpoints(path: Path, entries: Any) -> tuple[Checkpoint, ...]:
    if isinstance(entries, list):
        try:
            found = tuple(Checkpoint(**entry) for entry in entries)
        except TypeError:
            found = ()
        if len(found) == len(entries) and all(map(_is_sound, found)):
            return found
    raise RunError(f"{plain(path)} is not a manifest: its list of checkpoints is broken")


def _is_sound(entry: Checkpoint) -> bool:
    """Whether an entry is of the right types, and its name says the same step and digest."""
    texts = (entry.file, entry.sha256, entry.journal)
    return (
        all(isinstance(text, str) for text in texts)
        and (type(entry.step), type(entry.size)) == (int, int)
        and bool(CHECKPOINT.fullmatch(entry.file) and _HEAD.fullmatch(entry.journal))
        and entry.file == _name(entry.step, entry.sha256)
    )


def _name(step: int, sha256: str) -> str:
    return f"checkpoint-{step:012d}-{sha256[:16]}.safetensors"


def _reason(error: Exception) -> str:
    return plain(error.strerror if isinstance(error, OSError) else error)
