"""A prescription shown: a table and the lines to paste in the terminal, JSON, a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from throughtime.cli.output import working
from throughtime.errors import counted, plain

if TYPE_CHECKING:
    from rich.table import Table

    from throughtime.prescription import Option, Prescription
    from throughtime.report import Section
    from throughtime.report.terminal import Terminal

_CODE = 3  # options whose code is shown: the others are in the table, and in the JSON
_COLUMNS = ("", "remedy", "verdict", "horizon", "gain there", "loss", "cost")


def show_prescription(found: Prescription, report: Path | None, as_json: bool) -> None:
    """Print what was tried, and write the page if one is asked for.

    Raises ``InputError`` or ``OSError`` if the page cannot be written; the answer is printed then
    as well.
    """
    try:
        if report is not None:
            with working("drawing the report"):
                from throughtime.report import write_report

                write_report(found.before, report, sections(found))
    finally:
        if as_json:
            sys.stdout.write(f"{found.to_json()}\n")
        else:
            _show(found)
    if report is not None and not as_json:
        sys.stdout.write(f"\nThe report is in {plain(report)}\n")


def _show(found: Prescription) -> None:
    from throughtime.report.terminal import Terminal

    terminal = Terminal(None)
    terminal.print(terminal.badge(found.before))
    terminal.print(terminal.text(found.before.sentence))
    terminal.listed("Found", found.found)
    terminal.print()
    terminal.print(terminal.text(found.sentence, "bold"))
    if found.options:
        terminal.print()
        terminal.print(_table(terminal, found))
        terminal.print(terminal.text(_legend(found), "dim"))
    for place, option in enumerate(found.options[:_CODE], 1):
        _option(terminal, place, option)
    terminal.listed("Does not fit", [f"{names}: {why}" for names, why in found.refusals])
    terminal.listed("Notes", found.notes)


def _table(terminal: Terminal, found: Prescription) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in _COLUMNS:
        numeric = name in ("horizon", "gain there", "loss", "cost")
        table.add_column(
            terminal.text(name), justify="right" if numeric else "left", no_wrap=name != "remedy"
        )
    for row in _rows(found):
        table.add_row(*(terminal.text(entry) for entry in row))
    return table


def _rows(found: Prescription) -> list[tuple[str, ...]]:
    """The untreated model, then the options: the same in the terminal and on the page."""
    untreated = [] if found.untreated is None else [found.untreated]
    return [_row("", "untreated", one) for one in untreated] + [
        _row(str(place), option.name, option) for place, option in enumerate(found.options, 1)
    ]


def _row(place: str, name: str, option: Option) -> tuple[str, ...]:
    from throughtime.report import wording

    reading = option.reading
    words = wording.verdict(reading.verdict)
    at_least = "≥ " if reading.reaches_end else ""
    horizon = "none" if reading.horizon is None else f"{at_least}{reading.horizon:,}"
    loss = "diverged" if option.loss is None else f"{option.loss:.3g}"
    gain = wording.power(reading.gain_at_span)
    verdict = f"{words.symbol} {words.title.lower()}"
    return place, name, verdict, horizon, gain, loss, f"{option.cost:.1f}"


def _legend(found: Prescription) -> str:
    return (
        f"After {counted(found.updates, 'update')} of each copy. gain there: of the gradient "
        f"{counted(found.span, 'step')} back; loss: on the captured batch, which no update saw; "
        "cost: the time of an update, untreated 1, as measured here and now; it has no say in the "
        "order."
    )


def _option(terminal: Terminal, place: int, option: Option) -> None:
    terminal.print()
    terminal.print(terminal.text(f"{place}  {option.name}", "bold"))
    terminal.print(terminal.indented(f"{option.sentence} ({option.paper}). {option.note}"))
    terminal.print()
    for line in option.code.splitlines():
        code = terminal.text(f"    {line}", "cyan")
        terminal.console.print(code, soft_wrap=True, highlight=False)


def sections(found: Prescription) -> list[Section]:
    """What the page says beside the diagnosis."""
    from throughtime.report import Section

    notes = [note for note in found.notes if note not in found.before.notes]  # the page has those
    told = [Section("Notes", "\n\n".join(notes))] if notes else []
    if not found.options:
        return [Section("Prescription", found.sentence), *told]
    parts = [
        Section(
            "Prescription", f"{found.sentence}\n\n{_legend(found)}", _COLUMNS, tuple(_rows(found))
        ),
        Section("What they do", "", ("remedy", "what it does", "paper"), _said(found)),
        Section("The lines to paste", "", ("remedy", "line"), _lines(found)),
    ]
    if found.refused:
        parts.append(Section("Does not fit", "", ("remedy", "why"), found.refusals))
    return [*parts, *told]


def _said(found: Prescription) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (option.name, f"{option.sentence}. {option.note}".strip(), option.paper)
        for option in found.options
    )


def _lines(found: Prescription) -> tuple[tuple[str, ...], ...]:
    """A row for each line: a cell would run them together."""
    return tuple(
        (option.name if number == 0 else "", line)
        for option in found.options
        for number, line in enumerate(option.code.splitlines())
    )
