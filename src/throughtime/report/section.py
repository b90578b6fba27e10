"""What a caller may add to the page: a ``Section``."""

from __future__ import annotations

from dataclasses import dataclass

from throughtime.errors import InputError, plain


@dataclass(frozen=True)
class Section:
    """Something that a caller adds to the page: a title, text, a table.

    Everything is shown as text. ``text`` is split into paragraphs at blank lines; each of ``rows``
    has one entry for each of ``columns``.
    """

    title: str
    text: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[object, ...], ...] = ()

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.columns):
                raise InputError(
                    f"section {plain(self.title)!r}: row {number} has {len(row)} entries, "
                    f"and there are {len(self.columns)} columns"
                )

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs of ``text``."""
        return [part.strip() for part in self.text.split("\n\n") if part.strip()]
