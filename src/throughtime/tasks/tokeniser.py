"""Text into words and signs: the one tokeniser of every task on text."""

from __future__ import annotations

import re
import unicodedata

from throughtime.tasks.korean import split_particle

# A ruled line (four or more of one sign) is one token, whatever its length.
TOKEN = re.compile(
    r"""
      (?P<rule>(?P<sign>[-=*~\#+_.^])(?P=sign){3,})
    | (?P<hangul>[가-힣]+)
    | (?P<word>[^\W가-힣]+(?:['’][^\W\d_가-힣]+)?)
    | (?P<other>[^\w\s])
    """,
    re.VERBOSE,
)


def tokenise(text: str) -> list[str]:
    """The words and signs of ``text``, in order.

    A word is a run of letters, digits and underscores, with what follows an apostrophe (don't).
    Every other sign is a token of its own. A Korean word is split from its particle, so that a name
    is the same token whether 는, 가 or 에게 follows it. Hangul and Latin letters share no token:
    "TV를" is "TV" and "를". The text is composed first (Unicode NFC), since files from some
    systems hold Hangul in parts.
    """
    tokens: list[str] = []
    for match in TOKEN.finditer(unicodedata.normalize("NFC", text)):
        token = match.group()
        if match["hangul"]:
            stem, particle = split_particle(token)
            tokens += [stem, particle] if particle else [stem]
        else:
            tokens.append(token[:4] if match["rule"] else token)
    return tokens
