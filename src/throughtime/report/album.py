"""The pictures of one page: drawn, explained once, counted so that the page stays small."""

from __future__ import annotations

from dataclasses import dataclass

from throughtime.report import style, wording
from throughtime.report.plates import Plate
from throughtime.report.svg import to_svg

ROOM = 700_000
"""Bytes for all pictures of a page that is to stay under 1 MB."""

_LARGEST = 50_000
"""No single picture takes more: a heat map of noise, eigenvalues of four gates."""


@dataclass(frozen=True)
class Picture:
    """A picture, what to look for in it, and a second drawing of it for a narrow screen.

    The drawings are SVG from ``to_svg``, whose XML writer has escaped every text in them.
    """

    caption: str
    drawing: str
    narrow: str | None = None


class Album:
    """Draws plates until there is no more room for them."""

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self.drawn = 0
        self.left_out = 0
        self._explained: set[str] = set()

    def add(self, *plates: Plate | None) -> list[Picture]:
        """The pictures of those plates that there are, as far as there is room."""
        return [picture for plate in plates if plate and (picture := self._draw(plate))]

    def _draw(self, plate: Plate) -> Picture | None:
        if self.room < 2 * _LARGEST:
            self.left_out += 1
            return None
        # To be told once on a page what to look for is enough.
        caption = plate.name if plate.caption in self._explained else plate.caption
        self._explained.add(plate.caption)
        drawing = self._svg(plate, plate.size)
        return Picture(caption, drawing, self._svg(plate, plate.narrow) if plate.narrow else None)

    def _svg(self, plate: Plate, size: tuple[float, float]) -> str:
        self.drawn += 1
        figure = plate.draw(style.new_axes(size))
        label = wording.clean(plate.label)
        text = to_svg(figure, style.VARIABLES, f"tt{self.drawn}", label)
        self.room -= len(text.encode())
        return text
