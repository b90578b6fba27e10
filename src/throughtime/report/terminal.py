"""What a terminal can show: text of any name in any encoding, paragraphs, lists, bars of letters.

Every name is shown as text: no markup, no escape sequence and no control character in it has any
effect. Where the terminal's encoding lacks a letter (the C locale, a pipe on some machines) plain
ASCII takes its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from throughtime.findings import Diagnosis, LayerDiagnosis
from throughtime.report import wording

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

_COLOURS = {
    "healthy": "green",
    "vanishing": "blue",
    "exploding": "red",
    "non-finite": "magenta",
    "unknown": "yellow",
}
_PLAINER = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "×": "x", "·": ".", "…": "...", "≤": "<=", "≥": ">=", "≈": "~",
     "✓": "+", "↓": "v", "↑": "^", "→": "->", "←": "<-", "∂": "d", "δ": "delta", "‖": "|",
     "█": "#", "░": ".", "∞": "inf", "²": "^2", "ρ": "rho", "λ": "lambda", "σ": "sigma",
     "φ": "phi", "‘": "'", "’": "'", "“": '"', "”": '"'}
)  # fmt: skip  # what belongs together, on one line
_SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


class Terminal:
    """A console, and what its encoding can show."""

    def __init__(self, console: Console | None) -> None:
        from rich.console import Console

        self.console = console or Console()
        self.ascii = self.console.options.ascii_only

    @property
    def width(self) -> int:
        """Columns for text and pictures: those of the terminal, at most 100."""
        return min(self.console.width, 100)

    def print(self, item: RenderableType = "") -> None:
        """Print without reading anything into it."""
        self.console.print(item, highlight=False, markup=False, emoji=False)

    def text(self, text: object, style: str = "") -> Text:
        """Exactly these letters, as far as the terminal has them."""
        from rich.text import Text

        shown = wording.clean(text)
        try:
            shown.encode(self.console.encoding)
            fits = not self.ascii
        except UnicodeEncodeError:
            fits = False
        if not fits:
            shown = _plainer(shown, self.console.encoding)
        return Text(shown, style=style)

    def heading(self, text: str) -> None:
        """A line in bold after an empty one."""
        self.print()
        self.print(self.text(text, "bold"))

    def badge(self, diagnosis: Diagnosis | LayerDiagnosis) -> Text:
        """The verdict as a symbol and a word in its colour."""
        words = wording.verdict(diagnosis.verdict)
        colour = _COLOURS.get(words.tone, "yellow")
        return self.text(f"{words.symbol} {words.title.upper()}", f"bold {colour}")

    def picture(self, lines: Iterable[str], style: str = "") -> None:
        """Lines that are not to be folded, indented by two."""
        for line in lines:
            drawn = self.text(f"  {line}", style)
            drawn.no_wrap = True
            drawn.truncate(self.console.width)
            self.print(drawn)

    def listed(self, heading: str, sentences: Iterable[str]) -> None:
        """A list under its heading, each sentence once; nothing at all if there is none."""
        once = dict.fromkeys(sentences)
        if not once:
            return
        self.heading(heading)
        for sentence in once:
            self.print(self.indented(sentence, "-"))

    def indented(self, sentence: str, bullet: str = "") -> RenderableType:
        """A paragraph whose every line stands under its first letter."""
        from rich.table import Table

        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(width=2, justify="right")
        grid.add_column(overflow="fold")
        grid.add_row(bullet, self.text(sentence))
        return grid


def _plainer(text: str, encoding: str) -> str:
    """The text in letters that the encoding has; any other as its number, never an exception."""
    text = re.sub(r"[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda m: "^" + m[0].translate(_SUPERSCRIPTS), text)
    text = text.translate(_PLAINER)
    return text.encode(encoding, "backslashreplace").decode(encoding)
