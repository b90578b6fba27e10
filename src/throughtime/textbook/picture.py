"""Bars of log10 size over time, as lines of text. Knows nothing of terminals or colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .page import Picture

TICK_WIDTH = 7
GAP = 2
LEAST_PANEL = 15


@dataclass(frozen=True)
class Strokes:
    """The characters that a picture is drawn with; `bars` from empty to full."""

    bars: str
    side: str
    corner: str
    floor: str
    rule: str


UNICODE = Strokes(bars=" ▁▂▃▄▅▆▇█", side="│", corner="└", floor="─", rule="─")
ASCII = Strokes(bars=" .:#", side="|", corner="+", floor="-", rule="-")


def scale(pictures: Sequence[Picture]) -> tuple[float, float]:
    """Lowest and highest finite value of all pictures, at least 1 apart; (0, 1) for none."""
    finite = [v for picture in pictures for v in picture.values if math.isfinite(v)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    return (low, high) if high - low >= 1.0 else (high - 1.0, high)


def column(
    value: float, low: float, high: float, height: int, width: int, strokes: Strokes
) -> list[str]:
    """One bar, top row first. -inf (a true zero) is an empty bar, +inf a full one, NaN a `?`."""
    if math.isnan(value):
        return [" " * width] * (height - 1) + ["?" * width]
    steps = len(strokes.bars) - 1
    share = min(1.0, max(0.0, (value - low) / (high - low)))
    filled = 0 if value == -math.inf else max(1, round(share * height * steps))
    fills = (min(steps, max(0, filled - row * steps)) for row in reversed(range(height)))
    return [strokes.bars[fill] * width for fill in fills]


def panel(
    picture: Picture, bars: Sequence[Sequence[str]], every: int, width: int, strokes: Strokes
) -> list[str]:
    """One picture in `width` columns: its label, the rows of its bars, the floor and the axis."""
    last = len(picture.values) - 1
    first = f"{picture.axis}={picture.start + last % every}"
    floor = sum(len(bar[0]) for bar in bars)
    axis = first + f"{picture.start + last}".rjust(floor - len(first))
    rows = [strokes.side + "".join(row) for row in zip(*bars, strict=True)]
    lines = [picture.label, *rows, strokes.corner + strokes.floor * floor, " " + axis]
    return [line[:width].ljust(width) for line in lines]


def ticks(low: float, high: float, height: int) -> list[str]:
    """The numbers left of the bars: the highest beside the top row, the lowest at the bottom."""
    top, bottom = (f"{round(tick, 2) + 0.0:+.2f} ".rjust(TICK_WIDTH) for tick in (high, low))
    blank = " " * TICK_WIDTH
    return [blank, top, *[blank] * (height - 2), bottom, blank, blank]


def draw(
    pictures: Sequence[Picture], width: int, height: int = 6, strokes: Strokes = UNICODE
) -> list[str]:
    """All pictures on one vertical scale, side by side where `width` allows, else stacked.

    All bars are equally wide. Where a picture has more values than columns one value in n is drawn,
    counted from the last, and a line says so.
    """
    low, high = scale(pictures)
    longest = max(len(picture.values) for picture in pictures)
    room = max(LEAST_PANEL, width - TICK_WIDTH)
    beside = max(1, min(len(pictures), (room + GAP) // (LEAST_PANEL + GAP)))
    panel_width = (room - GAP * (beside - 1)) // beside
    every = math.ceil(longest / (panel_width - 1))
    bar_width = max(1, (panel_width - 1) // longest)
    panels = []
    for picture in pictures:
        shown = picture.values[(len(picture.values) - 1) % every :: every]
        bars = [column(value, low, high, height, bar_width, strokes) for value in shown]
        panels.append(panel(picture, bars, every, panel_width, strokes))
    lines: list[str] = []
    for first in range(0, len(panels), beside):
        rows = zip(ticks(low, high, height), *panels[first : first + beside], strict=True)
        lines += [(tick + (" " * GAP).join(parts)).rstrip()[:width] for tick, *parts in rows]
    if every > 1:
        lines.append(f"{' ' * TICK_WIDTH} one value in {every} is drawn"[:width])
    return lines
