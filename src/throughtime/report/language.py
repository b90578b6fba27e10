"""The language of what is shown: English words are the keys, ``korean/`` has the Korean ones.

    with speaking("ko"):
        say("Gain by lag of {name}", name="lstm")

The words of a diagnosis itself (``sentence``, ``korean``) were made with it: ``told`` chooses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from throughtime.errors import InputError, unknown
from throughtime.findings import Diagnosis, Finding, LayerDiagnosis
from throughtime.report.korean import KOREAN

LANGUAGES = ("en", "ko")

_spoken: ContextVar[str] = ContextVar("throughtime_language", default="en")


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Everything that is worded inside is worded in that language; ``InputError`` if unknown."""
    if language not in LANGUAGES:
        raise InputError(unknown("language", language, LANGUAGES))
    before = _spoken.set(language)
    try:
        yield
    finally:
        _spoken.reset(before)


def spoken() -> str:
    """The language of this moment: ``en`` or ``ko``."""
    return _spoken.get()


def say(text: str, **values: object) -> str:
    """The text in the language of this moment, ``{name}`` in it replaced by the value given."""
    words = KOREAN.get(text, text) if spoken() == "ko" else text
    return words.format(**values) if values else words


def told(found: Finding | LayerDiagnosis | Diagnosis) -> str:
    """The sentence for a person; the English one where there is no other."""
    return found.korean if spoken() == "ko" and found.korean else found.sentence
