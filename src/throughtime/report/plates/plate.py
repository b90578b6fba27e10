"""A plate: how a picture is drawn, what to look for in it, and what it shows to who cannot see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from throughtime.report import style

Size = tuple[float, float]


@dataclass(frozen=True)
class Plate:
    """A picture still to be drawn.

    Attributes:
        draw: draws it on axes and returns their figure.
        caption: its title up to the first colon, then what to look for.
        label: what it shows, for those who cannot see it.
        size: width and height in inches.
        narrow: the size of a second drawing for a narrow screen; None if one does for both.
    """

    draw: Callable[[Axes], Figure]
    caption: str
    label: str
    size: Size = style.COMPACT
    narrow: Size | None = None

    @property
    def name(self) -> str:
        """The caption's title alone."""
        return self.caption.partition(":")[0] + "."
