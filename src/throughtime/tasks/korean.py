"""Korean particles: written without a space after a word, and chosen by how that word ends.

A syllable of Hangul holds its final consonant in its code point: the syllables start at U+AC00, 28
in a row share their first consonant and vowel, and the first of each row has no final consonant
(The Unicode Standard, section 3.12, Conjoining Jamo Behavior).
"""

from __future__ import annotations

from typing import Literal

from throughtime.errors import InputError

FIRST_SYLLABLE, LAST_SYLLABLE = "가", "힣"
FINALS = 28
RIEUL = 8  # index of the final consonant ㄹ, after which the particle is 로 and not 으로

Ending = Literal["consonant", "vowel", "any"]

# Each particle with the ending of the word that it follows, longest first: 에서 before 에.
PARTICLES: tuple[tuple[str, Ending], ...] = (
    ("에서는", "any"),
    ("에는", "any"),
    ("에서", "any"),
    ("에게", "any"),
    ("한테", "any"),
    ("까지", "any"),
    ("부터", "any"),
    ("으로", "consonant"),
    ("은", "consonant"),
    ("는", "vowel"),
    ("이", "consonant"),
    ("가", "vowel"),
    ("을", "consonant"),
    ("를", "vowel"),
    ("과", "consonant"),
    ("와", "vowel"),
    ("로", "vowel"),
    ("에", "any"),
    ("의", "any"),
    ("도", "any"),
    ("만", "any"),
)

# After a single syllable these end too many plain nouns: 결과, 도로, 회의, 지도, 불만.
NEEDS_LONGER_WORD = frozenset({"과", "와", "로", "의", "도", "만"})


def is_syllable(character: str) -> bool:
    """Whether ``character`` is one composed syllable of Hangul."""
    return FIRST_SYLLABLE <= character <= LAST_SYLLABLE


def ends_in_consonant(word: str) -> bool:
    """Whether the last syllable of ``word`` has a final consonant: 영민 has one, 철수 has none.

    Raises:
        InputError: ``word`` does not end in a syllable of Hangul.
    """
    if not word or not is_syllable(word[-1]):
        raise InputError(f"{word!r} does not end in a syllable of Hangul: its particle is unknown")
    return _final(word) != 0


def topic(word: str) -> str:
    """``word`` with the topic particle: 철수는, 영민은."""
    return word + ("은" if ends_in_consonant(word) else "는")


def subject(word: str) -> str:
    """``word`` with the subject particle: 영희가, 지은이."""
    return word + ("이" if ends_in_consonant(word) else "가")


def object_(word: str) -> str:
    """``word`` with the object particle: 영희를, 지은을."""
    return word + ("을" if ends_in_consonant(word) else "를")


def split_particle(word: str) -> tuple[str, str]:
    """``word`` (Hangul alone) as stem and particle; the particle is empty where none fits.

    A rule by spelling, not a grammar: it knows which particle may follow which ending, so that
    사이 and 마을 stay whole, yet it will also split some nouns that only look like a stem and a
    particle, such as 고양이.
    """
    for particle, ending in PARTICLES:
        stem = word.removesuffix(particle)
        shortest = 2 if particle in NEEDS_LONGER_WORD else 1
        if stem != word and len(stem) >= shortest and _fits(stem, particle, ending):
            return stem, particle
    return word, ""


def _fits(stem: str, particle: str, ending: Ending) -> bool:
    if ending == "any":
        return True
    if particle in ("로", "으로") and _final(stem) == RIEUL:
        return particle == "로"
    return (_final(stem) != 0) == (ending == "consonant")


def _final(word: str) -> int:
    return (ord(word[-1]) - ord(FIRST_SYLLABLE)) % FINALS
