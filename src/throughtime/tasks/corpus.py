"""Real text without a download: the manual and the library that come with Python, or any file."""

from __future__ import annotations

import math
import sysconfig
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from throughtime.errors import InputError, LoadError, plain, unknown
from throughtime.tasks.tokeniser import tokenise

UNKNOWN = "<unk>"
LARGEST_FILE = 64 * 2**20  # bytes; beyond it a word-level vocabulary of one machine says little
FEWEST_TOKENS = 200

Unit = Literal["words", "characters"]
UNITS: dict[str, Callable[[str], list[str]]] = {
    "words": tokenise,
    "characters": lambda text: list(unicodedata.normalize("NFC", text)),
}
CALLED = {"words": "words and signs", "characters": "characters"}


@dataclass(frozen=True)
class Corpus:
    """A text as token numbers, split into a training part and a validation part.

    Attributes:
        vocabulary: the tokens by number; number 0 is ``<unk>``, the rest by falling frequency.
        train: token numbers (N,), int64: the first part of the text.
        validation: token numbers (M,), int64: the last part of the text.
    """

    vocabulary: tuple[str, ...]
    train: Tensor
    validation: Tensor

    @classmethod
    def from_text(
        cls, text: str, *, largest: int = 2000, held_out: float = 0.1, unit: Unit = "words"
    ) -> Corpus:
        """Number the words or characters of ``text``, keeping the last part for validation.

        Args:
            text: any text.
            largest: size of the vocabulary, ``<unk>`` included; rarer tokens become ``<unk>``.
            held_out: the share kept for validation, in (0, 1).
            unit: what a token is: a word or a sign, or a character (Unicode NFC: a syllable of
                Hangul is one).

        Raises:
            LoadError: the text has fewer than 200 tokens.
            InputError: an argument is out of range.
        """
        if unit not in UNITS:
            raise InputError(unknown("unit", unit, UNITS))
        if largest < 2:
            raise InputError(f"vocabulary of {largest}: it needs at least 2, <unk> and one word")
        if not 0 < held_out < 1:
            raise InputError(f"held_out is {held_out}, and must lie between 0 and 1")
        tokens = UNITS[unit](text)
        if len(tokens) < FEWEST_TOKENS:
            raise LoadError(
                f"the text has {len(tokens)} {CALLED[unit]}, "
                f"fewer than {FEWEST_TOKENS}: give a longer text"
            )
        cut = len(tokens) - math.ceil(len(tokens) * held_out)
        # Ties in frequency go by spelling, so that the numbering is the same everywhere.
        ranked = sorted(Counter(tokens[:cut]).items(), key=lambda item: (-item[1], item[0]))
        vocabulary = (UNKNOWN, *(token for token, _ in ranked[: largest - 1]))
        number = {token: n for n, token in enumerate(vocabulary)}
        numbers = torch.tensor([number.get(token, 0) for token in tokens])
        return cls(vocabulary, train=numbers[:cut], validation=numbers[cut:])

    @property
    def unigram_entropy(self) -> float:
        """Loss in nats per token of the best answer that ignores its input: word frequencies."""
        counts = torch.bincount(self.train, minlength=len(self.vocabulary)).double()
        shares = counts / counts.sum()
        return float(-torch.xlogy(shares, shares).sum())


def excerpts(
    tokens: Tensor, length: int, batch: int, generator: torch.Generator, unit: Unit = "words"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Contiguous pieces of ``tokens`` (N,) from random places, without end.

    Yields:
        Inputs (T B) and targets (T B): the target at step t is the token that follows step t.

    Raises:
        LoadError: ``tokens`` is shorter than one window and its last target.
    """
    starts = len(tokens) - length
    if starts < 1:
        raise _too_short(tokens, unit, f"a window of {length} needs {length + 1}")
    steps = torch.arange(length + 1).unsqueeze(1)
    while True:
        piece = tokens[steps + torch.randint(starts, (batch,), generator=generator)]
        yield piece[:-1], piece[1:]


def streams(
    tokens: Tensor, length: int, batch: int, generator: torch.Generator, unit: Unit = "words"
) -> Iterator[tuple[Tensor, Tensor]]:
    """``batch`` readers of ``tokens`` (N,), each going on where its last piece ended, without end.

    They read the text as if it were a ring, a share of it apart, from a random place.

    Yields:
        Inputs (T B) and targets (T B), as ``excerpts`` does.

    Raises:
        LoadError: ``tokens`` is shorter than one piece for each reader.
    """
    if len(tokens) < batch * (length + 1):
        raise _too_short(
            tokens, unit, f"{batch} windows of {length} side by side need {batch * (length + 1)}"
        )
    begin = torch.randint(len(tokens), (), generator=generator)
    readers = begin + torch.arange(batch) * (len(tokens) // batch)
    steps = torch.arange(length + 1).unsqueeze(1)
    for first in count(0, length):
        piece = tokens[(first + steps + readers) % len(tokens)]
        yield piece[:-1], piece[1:]


def _too_short(tokens: Tensor, unit: Unit, need: str) -> LoadError:
    return LoadError(
        f"the text has {len(tokens)} {CALLED[unit]} here, and {need}: "
        "give a longer text or a shorter window"
    )


def python_manual() -> str:
    """The English manual of Python that ``help()`` shows, from ``pydoc_data.topics``.

    Raises:
        LoadError: this Python was installed without it.
    """
    try:
        topics: dict[str, str] = import_module("pydoc_data.topics").topics
    except ImportError as error:
        raise LoadError(
            f"this Python has no manual ({error}): name a text file of your own"
        ) from error
    return "\n".join(topics[name] for name in sorted(topics))


def standard_library(characters: int = 1_000_000) -> str:
    """Source text of the standard library's public top-level modules, in order of their names.

    Args:
        characters: where to stop, at most.

    Raises:
        LoadError: this Python was installed without the source of its library.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    pieces: list[str] = []
    room = characters
    for path in sorted(folder.glob("[a-z]*.py")):
        if room <= 0:
            break
        pieces.append(path.read_text(encoding="utf-8")[:room])
        room -= len(pieces[-1])
    if not pieces:
        raise LoadError(f"{folder}: no source of the standard library: name a text file")
    return "".join(pieces)


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        LoadError: the file is missing, no plain file, empty, too large, binary or not UTF-8.
    """
    path = Path(path)
    name = plain(path)
    try:
        if not path.exists():
            raise LoadError(f"{name}: no such file: check the path")
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "not a plain file"
            raise LoadError(f"{name}: is {kind}: name a text file")
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise LoadError(
                f"{name}: has {size:,} bytes, more than {LARGEST_FILE:,}: give a part of it"
            )
        data = path.read_bytes()
    except OSError as error:
        raise LoadError(f"{name}: cannot be read ({error.strerror}): check the path") from error
    if b"\0" in data:
        raise LoadError(f"{name}: is binary, not text: name a UTF-8 text file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LoadError(
            f"{name}: is not UTF-8 (byte {error.start:,}): save it as UTF-8 text"
        ) from error
    if not text.strip():
        raise LoadError(f"{name}: is empty: name a file with text in it")
    return text
