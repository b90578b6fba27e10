"""What may befall the files of a directory: each damage changes one thing, and says which."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from throughtime.errors import RunError
from throughtime.runs.sealed import seal

Damage = Callable[[Path, Random, list[Path]], str]

WRONG: list[Any] = ["x", "", [], [1], {}, {"a": 1}, [["1", 2]], True, "\x1b[31m", "nan"]
"""Values of another type than any number, and than most fields."""


def a_file(folder: Path, rng: Random) -> Path:
    return rng.choice(sorted(path for path in folder.iterdir() if path.is_file()))


def flipped_bit(folder: Path, rng: Random, _others: list[Path]) -> str:
    path = a_file(folder, rng)
    content = bytearray(path.read_bytes())
    if content:
        bit = rng.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(content))
    return f"a bit of {path.name} flipped"


def flipped_manifest_bit(folder: Path, rng: Random, _others: list[Path]) -> str:
    return _changed_text(folder / "manifest.json", rng)


def flipped_journal_bit(folder: Path, rng: Random, _others: list[Path]) -> str:
    return _changed_text(folder / "journal.jsonl", rng)


def _changed_text(path: Path, rng: Random) -> str:
    """A bit, or a digit that becomes another digit: valid JSON, another number."""
    content = bytearray(path.read_bytes())
    digits = [n for n, byte in enumerate(content) if chr(byte).isdigit()]
    if digits and rng.random() < 0.5:
        place = rng.choice(digits)
        content[place] = ord(
            rng.choice([one for one in "0123456789" if ord(one) != content[place]])
        )
    else:
        bit = rng.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(content))
    return f"a digit or a bit of {path.name} changed"


def truncated(folder: Path, rng: Random, _others: list[Path]) -> str:
    path = a_file(folder, rng)
    os.truncate(path, rng.randrange(path.stat().st_size + 1))
    return f"{path.name} truncated"


def lengthened(folder: Path, rng: Random, _others: list[Path]) -> str:
    path = a_file(folder, rng)
    more = rng.choice([b"\0" * 4096, b"{}\n", b'{"step": 99, "loss": 0.0, "norm": 0.0}\n', b"x"])
    with path.open("ab") as file:
        file.write(more)
    return f"{path.name} lengthened"


def replaced(folder: Path, rng: Random, _others: list[Path]) -> str:
    """By what is no plain file, by nothing, by other text."""
    path = a_file(folder, rng)
    path.unlink()
    makes: dict[str, Callable[[Path], object]] = {
        "a named pipe": os.mkfifo,
        "a directory": os.mkdir,
        "a link to /dev/zero": lambda one: one.symlink_to("/dev/zero"),
        "a link to nowhere": lambda one: one.symlink_to("nowhere"),
        "nothing": lambda _: None,
        "an empty file": Path.touch,
        "null": lambda one: one.write_text("null"),
        "deep brackets": lambda one: one.write_text("[" * 100_000),
        "a pickle": lambda one: one.write_bytes(b"\x80\x04\x95\x1e\0\0\0\0\0\0\0\x8c\x05posix"),
    }
    name = rng.choice([*makes])
    makes[name](path)
    return f"{name} for {path.name}"


def lines_moved(folder: Path, rng: Random, _others: list[Path]) -> str:
    path = folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    one, other = rng.sample(range(len(lines)), 2)
    how = rng.choice(["taken out", "twice", "exchanged"])
    if how == "taken out":
        del lines[one]
    elif how == "twice":
        lines.insert(one, lines[other])
    else:
        lines[one], lines[other] = lines[other], lines[one]
    path.write_bytes(b"".join(lines))
    return f"a line of journal.jsonl {how}"


def foreign_file(folder: Path, rng: Random, others: list[Path]) -> str:
    """One file of another run, or of this one as it was before, in the place of its own."""
    other = rng.choice(others)
    theirs = a_file(other, rng)
    kind = theirs.name.split("-")[0]
    own = sorted(path for path in folder.iterdir() if path.name.split("-")[0] == kind)
    target = rng.choice(own) if own else folder / theirs.name
    shutil.copyfile(theirs, target)
    return f"{kind} of {other.name}"


def foreign_directory(folder: Path, rng: Random, others: list[Path]) -> str:
    other = rng.choice(others)
    shutil.rmtree(folder)
    shutil.copytree(other, folder)
    return f"all files of {other.name}"


def locked_by_nobody(folder: Path, rng: Random, _others: list[Path]) -> str:
    content = rng.choice(["", "{}", "[1]", "null", "\0", '{"pid": "1"}', "[" * 99_999])
    (folder / "lock").write_text(content)
    return f"a lock of {content[:8]!r}"


def mistyped(folder: Path, rng: Random, _others: list[Path]) -> str:
    """An entry of the manifest of another type, or gone; with its seal broken or made anew."""
    path = folder / "manifest.json"
    found = json.loads(path.read_text())
    del found["sha256"]
    change(found, rng)
    resealed = rng.random() < 0.7
    try:
        path.write_text(seal(found, "it") if resealed else json.dumps(found))
    except RunError:  # it is how a number is written
        path.write_text(json.dumps(found))
    return f"manifest.json mistyped, {'sealed anew' if resealed else 'not sealed'}"


def change(data: Any, rng: Random) -> None:
    """Take one entry out, or put a value of another type there; in place."""
    holder, key = rng.choice([*_entries(data)])
    old = holder[key]
    if rng.random() < 0.3 and isinstance(holder, dict):
        del holder[key]
        return
    holder[key] = rng.choice([one for one in WRONG if type(one) is not type(old)])


def _entries(data: Any) -> Any:
    """(holder, key) of every entry; of a list the first two. What is None may be anything."""
    inner = data.items() if isinstance(data, dict) else enumerate(data[:2])
    for key, value in [*inner]:
        if value is not None:
            yield data, key
        if isinstance(value, dict | list):
            yield from _entries(value)


IN_A_RUN: list[Damage] = [
    flipped_bit, flipped_manifest_bit, flipped_journal_bit, truncated, lengthened, replaced,
    lines_moved, foreign_file, foreign_directory, locked_by_nobody, mistyped,
]  # fmt: skip  # a list, not a column
