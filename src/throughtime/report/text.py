"""A diagnosis in the terminal: the verdict, the layers, the gain by lag as a picture of letters.

Every name is shown as text: no markup, no escape sequence and no control character in it has any
effect. Where the terminal's encoding lacks a letter (the C locale, a pipe on some machines) plain
ASCII takes its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from throughtime.errors import InputError
from throughtime.findings import Diagnosis, LayerDiagnosis
from throughtime.report import chart, curves, wording

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

_COLOURS = {"healthy": "green", "vanishing": "blue", "exploding": "red", "non-finite": "magenta"}
_PLAINER = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "×": "x", "·": ".", "…": "...", "≤": "<=", "≥": ">=", "≈": "~",
     "✓": "+", "↓": "v", "↑": "^", "→": "->", "∂": "d", "δ": "delta", "‖": "|", "█": "#", "░": ".",
     "‘": "'", "’": "'", "“": '"', "”": '"'}
)  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def render_text(diagnosis: Diagnosis, console: Console | None = None) -> None:
    """Print the whole diagnosis to ``console`` (a new one on standard output if None).

    Raises ``InputError`` if a measurement contradicts its own axes.
    """
    page = _Page(console)
    page.verdict(diagnosis)
    page.layers(diagnosis.layers)
    layer = curves.deciding(diagnosis)
    curve = None if layer is None else curves.gain(layer)
    if layer is not None and curve is not None:
        page.heading(f"Gain by lag: {wording.clean(layer.name)}")
        page.chart([("median", curve)], layer.span)
    findings = [*diagnosis.findings, *(f for layer in diagnosis.layers for f in layer.findings)]
    said = {diagnosis.sentence}
    page.listed("Findings", [f.sentence for f in findings if f.sentence not in said])
    page.listed("Notes", diagnosis.notes)


def side_by_side(diagnoses: Mapping[str, Diagnosis], console: Console | None = None) -> None:
    """Print the verdicts of several networks beside each other, and their gains in one picture.

    Below one another where the terminal is too narrow. Raises ``InputError`` if there are none.
    """
    if not diagnoses:
        raise InputError("there is nothing to compare: give at least one named diagnosis")
    page = _Page(console)
    page.columns(diagnoses)
    layers = {name: curves.deciding(diagnosis) for name, diagnosis in diagnoses.items()}
    found = [
        (name, curve)
        for name, layer in layers.items()
        if layer is not None and (curve := curves.gain(layer)) is not None
    ]
    if found:
        page.heading("Gain by lag")
        page.chart(found, max(diagnosis.span for diagnosis in diagnoses.values()))
    for name, diagnosis in diagnoses.items():
        page.listed(f"Notes on {wording.clean(name)}", diagnosis.notes)


class _Page:
    """A console, and what its encoding can show."""

    def __init__(self, console: Console | None) -> None:
        from rich.console import Console

        self.console = console or Console()
        self.ascii = self.console.options.ascii_only

    def print(self, item: RenderableType = "") -> None:
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
        self.print()
        self.print(self.text(text, "bold"))

    def verdict(self, diagnosis: Diagnosis) -> None:
        self.print(self.badge(diagnosis))
        self.print(self.text(diagnosis.sentence))
        self.print()
        for line in self.reach(diagnosis, min(48, self.console.width // 2)):
            self.print(line)

    def badge(self, diagnosis: Diagnosis | LayerDiagnosis) -> Text:
        words = wording.verdict(diagnosis.verdict)
        colour = _COLOURS.get(words.tone, "yellow")
        return self.text(f"{words.symbol} {words.title.upper()}", f"bold {colour}")

    def reach(self, found: Diagnosis, size: int) -> list[Text]:
        """The share of the span within the horizon as a bar, then in figures; and the rate."""
        full = round(size * wording.covered(found))
        pace = wording.pace(found.rate)
        rate = f"rate {wording.slope(found.rate)}" + (f": {pace}" if pace else "")
        return [
            self.text("█" * full + "░" * (size - full)),
            self.text(f"horizon {wording.reach(found)}"),
            self.text(rate, "dim"),
        ]

    def layers(self, layers: tuple[LayerDiagnosis, ...]) -> None:
        """A table; on a narrow terminal a paragraph for each layer."""
        self.print()
        if self.console.width >= 84:
            self.table(layers)
            return
        for layer in layers:
            title = self.text(f"{layer.name} ({layer.kind})  ", "bold")
            self.print(title.append_text(self.badge(layer)))
            facts = (
                f"horizon {wording.reach(layer)}",
                f"rate {wording.slope(layer.rate)}",
                f"gain at span {wording.power(layer.gain_at_span)}",
                wording.check(layer),
            )
            self.print(self.indented("; ".join(facts)))

    def table(self, layers: tuple[LayerDiagnosis, ...]) -> None:
        from rich.table import Table

        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("layer", overflow="fold", ratio=3)
        table.add_column("verdict", no_wrap=True)
        table.add_column("horizon", justify="right", no_wrap=True)
        table.add_column("rate", justify="right", no_wrap=True)
        table.add_column("gain at span", justify="right", no_wrap=True)
        table.add_column("check", overflow="fold", ratio=2)
        for layer in layers:
            table.add_row(
                self.text(f"{layer.name} ({layer.kind})"),
                self.badge(layer),
                self.text(wording.horizon(layer)),
                self.text(wording.rate(layer.rate)),
                self.text(wording.power(layer.gain_at_span)),
                self.text(wording.check(layer)),
            )
        self.print(table)

    def chart(self, named: list[tuple[str, curves.Curve]], span: int) -> None:
        signs = chart.ASCII if self.ascii else chart.BOXES
        for line in chart.by_lag(named, span, min(self.console.width, 100), signs):
            drawn = self.text(line)
            for place, sign in enumerate(signs.points):
                drawn.highlight_regex(
                    re.escape(sign), ("blue", "yellow", "green", "magenta")[place]
                )
            drawn.highlight_regex(f"[{re.escape(signs.band + signs.limit + signs.span)}]", "dim")
            drawn.no_wrap = True
            self.print(drawn)

    def columns(self, diagnoses: Mapping[str, Diagnosis]) -> None:
        """One column for each network; one below another where there is no room."""
        from rich.table import Table

        beside = self.console.width // len(diagnoses) >= 34
        across = len(diagnoses) if beside else 1
        table = Table.grid(padding=(0, 3, 1, 0), expand=beside)
        for _ in range(across):
            table.add_column(ratio=1, overflow="fold")
        cells = [self.summary(name, diagnosis, across) for name, diagnosis in diagnoses.items()]
        for start in range(0, len(cells), across):
            table.add_row(*cells[start : start + across])
        self.print(table)

    def summary(self, name: str, diagnosis: Diagnosis, across: int) -> RenderableType:
        from rich.console import Group

        size = max(8, min(40, self.console.width // across - 6))
        title = self.text(f"{name}  ", "bold").append_text(self.badge(diagnosis))
        return Group(title, *self.reach(diagnosis, size), self.text(diagnosis.sentence))

    def listed(self, heading: str, sentences: tuple[str, ...] | list[str]) -> None:
        if not sentences:
            return
        self.heading(heading)
        for sentence in dict.fromkeys(sentences):
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
