"""``Trial``: one training of several that are compared, whatever the comparison is about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Protocol

from throughtime.problem import Problem


class Trial(Protocol):
    """One training: what is trained, and how; and the name that it keeps for ever.

    It is a key of dictionaries and is sent to other processes: frozen, hashable, picklable.
    """

    @property
    def steps(self) -> int:
        """Updates."""

    @property
    def key(self) -> str:
        """The name of its run directory, from ``keyed``."""

    @property
    def facts(self) -> dict[str, Any]:
        """All that its numbers depend on, in plain values; what is None is left to the problem."""

    @property
    def cost(self) -> float:
        """How long it takes beside the other trials, in any unit."""

    def problem(self) -> Problem:
        """What is trained, with its first weights: a new one at every call.

        Raises ``InputError`` for what cannot be.
        """

    def options(self) -> dict[str, Any]:
        """How: the keywords of ``train``, steps and seed among them."""


def keyed(readable: str, facts: Mapping[str, Any]) -> str:
    """A readable name and a short digest of all facts."""
    return f"{readable}-{digest_of(facts)}"


def digest_of(facts: Mapping[str, Any]) -> str:
    """A short digest of all facts.

    What is None is no part of the digest, so that a trial keeps its key when a later version learns
    to vary something more.
    """
    said = {name: value for name, value in facts.items() if value is not None}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]
