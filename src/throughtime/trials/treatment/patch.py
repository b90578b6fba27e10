"""The patch to apply: a unified diff of the user's file that puts a remedy into its function."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patch:
    """What to change in a file so that its function returns the treated problem.

    Attributes:
        diff: a unified diff, for ``patch -p0`` or ``git apply -p0``; None where the function is too
            unusual to be changed by a program.
        lines: what to do with the problem before it is returned.
        reason: why there is no diff; empty where there is one.
    """

    diff: str | None
    lines: tuple[str, ...]
    reason: str = ""
