"""A diagnosis in the terminal: the verdict, why, the layers, the gain by lag in letters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from throughtime.errors import InputError
from throughtime.findings import Diagnosis, Finding, LayerDiagnosis
from throughtime.report import abridged, causes, chart, curves, place, text_why, wording
from throughtime.report.language import say, speaking, told
from throughtime.report.terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

_MOST_ROWS = 60
_COLOURS = ("blue", "yellow", "green", "magenta")


def render_text(diagnosis: Diagnosis, console: Console | None = None, language: str = "en") -> None:
    """Print the whole diagnosis to ``console`` (a new one on standard output if None).

    ``language`` is ``"en"`` or ``"ko"``. Raises ``InputError`` for another one, or if a
    measurement contradicts its own axes.
    """
    wording.check_diagnosis(diagnosis)
    with speaking(language):
        terminal = Terminal(console)
        for line in wording.head(diagnosis):
            terminal.print(terminal.text(line))
        _verdict(terminal, diagnosis)
        text_why.show(terminal, diagnosis)
        _layers(terminal, diagnosis.layers)
        layer = curves.deciding(diagnosis)
        curve = None if layer is None else curves.gain(layer)
        if layer is not None and curve is not None:
            terminal.heading(say("Gain by lag: {name}", name=wording.clean(layer.name)))
            beside = curves.every_route(layer)
            named = [(say("median"), curve)]
            if beside is not None:
                named = [(say("through the recurrence"), curve), (say("by every route"), beside)]
            _chart(terminal, named, layer.span)
        every = [*diagnosis.findings, *(f for one in diagnosis.layers for f in one.findings)]
        said = {diagnosis.sentence, *(cause.sentence for cause in causes.sentences(diagnosis))}
        shown, more = abridged.few(abridged.untold(every, said))
        terminal.listed(say("Findings"), [*map(_named, shown), *more])
        terminal.listed(say("Notes"), diagnosis.notes)


def _named(found: Finding) -> str:
    """The sentence, behind the name of its layer if it does not say it."""
    sentence, name = told(found), wording.clean(found.subject)
    return sentence if name in sentence else f"{name}: {sentence}"


def side_by_side(
    diagnoses: Mapping[str, Diagnosis], console: Console | None = None, language: str = "en"
) -> None:
    """Print the verdicts of several networks beside each other, and their gains in one picture.

    Below one another where the terminal is too narrow. Raises ``InputError`` if there are none.
    """
    if not diagnoses:
        raise InputError("there is nothing to compare: give at least one named diagnosis")
    for diagnosis in diagnoses.values():
        wording.check_diagnosis(diagnosis)
    with speaking(language):
        terminal = Terminal(console)
        _columns(terminal, diagnoses)
        layers = {name: curves.deciding(diagnosis) for name, diagnosis in diagnoses.items()}
        found = [
            (name, curve)
            for name, layer in layers.items()
            if layer is not None and (curve := curves.gain(layer)) is not None
        ]
        if found:
            terminal.heading(say("Gain by lag"))
            _chart(terminal, found, max(diagnosis.span for diagnosis in diagnoses.values()))
        for name, diagnosis in diagnoses.items():
            heading = say("Notes on {name}", name=wording.clean(name))
            terminal.listed(heading, diagnosis.notes)


def _verdict(terminal: Terminal, diagnosis: Diagnosis) -> None:
    terminal.print(terminal.badge(diagnosis))
    for number, one in enumerate(causes.opening(diagnosis)):
        if number:
            terminal.print()
        terminal.print(terminal.text(told(one)))
    if place.first_bad(diagnosis) is None:
        terminal.print()
        for line in _reach(terminal, diagnosis, min(48, terminal.console.width // 2)):
            terminal.print(line)


def _reach(terminal: Terminal, found: Diagnosis, size: int) -> list[Text]:
    """The share of the span within the horizon as a bar, then in figures; and the rate.

    No bar where the horizon is not known.
    """
    if found.horizon is None:
        return [terminal.text(say("horizon {number}", number=wording.reach(found)))]
    full = round(size * wording.covered(found))
    pace = wording.pace(found.rate)
    rate = say("rate {rate}", rate=wording.slope(found.rate)) + (f": {pace}" if pace else "")
    return [
        terminal.text("█" * full + "░" * (size - full)),
        terminal.text(say("horizon {number}", number=wording.reach(found))),
        terminal.text(rate, "dim"),
    ]


def _layers(terminal: Terminal, layers: tuple[LayerDiagnosis, ...]) -> None:
    """A table; on a narrow terminal a paragraph for each layer."""
    if not layers:
        return
    terminal.print()
    shown, more = abridged.rows(layers, _MOST_ROWS)
    if terminal.console.width >= 84:
        _table(terminal, shown)
    else:
        _paragraphs(terminal, shown)
    for line in more:
        terminal.print(terminal.text(line, "dim"))


def _paragraphs(terminal: Terminal, layers: tuple[LayerDiagnosis, ...]) -> None:
    for layer in layers:
        title = terminal.text(f"{layer.name} ({layer.kind})  ", "bold")
        terminal.print(title.append_text(terminal.badge(layer)))
        facts = [say("horizon {number}", number=wording.reach(layer))]
        if layer.rate is not None:
            facts.append(say("rate {rate}", rate=wording.slope(layer.rate)))
        if layer.gain_at_span is not None:
            facts.append(say("gain at span {gain}", gain=wording.power(layer.gain_at_span)))
        facts.append(wording.check(layer))
        terminal.print(terminal.indented("; ".join(facts)))


def _table(terminal: Terminal, layers: tuple[LayerDiagnosis, ...]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(terminal.text(say("layer")), overflow="fold", ratio=3)
    table.add_column(terminal.text(say("verdict")), no_wrap=True)
    for name in (say("horizon"), say("rate"), say("gain at span")):
        table.add_column(terminal.text(name), justify="right", no_wrap=True)
    table.add_column(terminal.text(say("check")), overflow="fold", ratio=2)
    for layer in layers:
        table.add_row(
            terminal.text(f"{layer.name} ({layer.kind})"),
            terminal.badge(layer),
            terminal.text(wording.horizon(layer)),
            terminal.text(wording.rate(layer.rate)),
            terminal.text(wording.power(layer.gain_at_span)),
            terminal.text(wording.check(layer)),
        )
    terminal.print(table)


def _chart(terminal: Terminal, named: list[tuple[str, curves.Curve]], span: int) -> None:
    signs = chart.ASCII if terminal.ascii else chart.BOXES
    for line in chart.by_lag(named, span, terminal.width, signs):
        drawn = terminal.text(line)
        for colour, sign in zip(_COLOURS, signs.points, strict=True):
            drawn.highlight_regex(re.escape(sign), colour)
        drawn.highlight_regex(f"[{re.escape(signs.band + signs.limit + signs.span)}]", "dim")
        drawn.no_wrap = True
        terminal.print(drawn)


def _columns(terminal: Terminal, diagnoses: Mapping[str, Diagnosis]) -> None:
    """One column for each network; one below another where there is no room."""
    from rich.table import Table

    beside = terminal.console.width // len(diagnoses) >= 34
    across = len(diagnoses) if beside else 1
    table = Table.grid(padding=(0, 3, 1, 0), expand=beside)
    for _ in range(across):
        table.add_column(ratio=1, overflow="fold")
    cells = [_summary(terminal, name, one, across) for name, one in diagnoses.items()]
    for start in range(0, len(cells), across):
        table.add_row(*cells[start : start + across])
    terminal.print(table)


def _summary(terminal: Terminal, name: str, diagnosis: Diagnosis, across: int) -> RenderableType:
    from rich.console import Group

    size = max(8, min(40, terminal.console.width // across - 6))
    title = terminal.text(f"{name}  ", "bold").append_text(terminal.badge(diagnosis))
    return Group(title, *_reach(terminal, diagnosis, size), terminal.text(told(diagnosis)))
