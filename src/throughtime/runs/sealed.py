"""Sealed JSON: an object whose last entry is the sha256 of every byte before that entry.

One flipped bit, also in the spaces, and the text is refused. The seal is against damage and
mixed-up files; anybody who writes another text can write another seal.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from throughtime.errors import RunError
from throughtime.runs.plain_json import from_json, to_json

SEAL = "sha256"
_SEAL = re.compile(rb',\n  "sha256": "([0-9a-f]{64})"\n\}\n')
_LENGTH = len(f',\n  "{SEAL}": "{"0" * 64}"\n}}\n')


def seal(record: Mapping[str, Any], what: str) -> str:
    """The text of a record with its seal; the record has at least one entry.

    Raises ``RunError``, naming ``what``, for a value that JSON cannot hold or an entry ``sha256``.
    """
    if SEAL in record:
        raise RunError(f"{what} keeps {SEAL} itself: name this entry otherwise")
    body = to_json(record, what, indent=2).removesuffix("\n}")
    return f'{body},\n  "{SEAL}": "{_digest(body.encode("ascii"))}"\n}}\n'


def unseal(content: bytes) -> dict[str, Any]:
    """The record of a text that ``seal`` made. Raises ``ValueError`` for every other text."""
    record = from_json(content)
    found = _SEAL.fullmatch(content[-_LENGTH:])
    if found is None:
        raise ValueError(f"it does not end with its {SEAL}")
    if found[1].decode() != _digest(content[:-_LENGTH]):
        raise ValueError(f"its {SEAL} is not that of its text, which was changed")
    del record[SEAL]
    return record


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
