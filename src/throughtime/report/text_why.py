"""Why, in the terminal: the causes, where the decades go, where a number broke."""

from __future__ import annotations

from throughtime.findings import Diagnosis, Finding, LayerDiagnosis
from throughtime.report import bars, causes, reading, wording
from throughtime.report.language import say, told
from throughtime.report.place import Place, advice, first_bad
from throughtime.report.terminal import Terminal

_INDENT = 2


def show(terminal: Terminal, diagnosis: Diagnosis) -> None:
    """Print why the verdict is what it is; nothing where nothing explains it."""
    found, layer = causes.sentences(diagnosis), causes.explaining(diagnosis)
    broken = first_bad(diagnosis)
    if broken is not None:
        _place(terminal, broken)
    said = {one.sentence for one in causes.opening(diagnosis)}
    if any(one.sentence not in said for one in found):
        terminal.heading(say("Why"))
        for number, one in enumerate(found, 1):
            terminal.print(terminal.indented(_cause(one, said), f"{number}"))
    if layer is not None:
        _ledger(terminal, layer)
        _shares(terminal, layer)
        terminal.listed(say("What else was measured"), causes.in_words(layer))


def _cause(found: Finding, said: set[str]) -> str:
    """The disease, where, how sure; and the sentence, unless the verdict has said it already."""
    about = [wording.clean(found.subject), wording.confidence(found)]
    title = say(found.disease).capitalize()
    head = f"{title} ({', '.join(part for part in about if part)})"
    return head if found.sentence in said else f"{head}: {told(found)}"


def _place(terminal: Terminal, broken: Place) -> None:
    terminal.heading(say("Where it begins"))
    if broken.step is not None and broken.steps and broken.step < broken.steps:
        width = min(60, terminal.width - _INDENT)
        terminal.picture(bars.strip(broken.step, broken.steps, broken.to_earlier, width))
    facts = "; ".join(f"{name}: {value}" for name, value in broken.facts())
    terminal.print(terminal.indented(facts))
    terminal.heading(say("What to do next"))
    terminal.print(terminal.indented(advice(broken)))


def _ledger(terminal: Terminal, layer: LayerDiagnosis) -> None:
    """The budget, and under it what would be: bars on one scale."""
    budget = reading.row(layer, "budget", "cause")
    changes = reading.row(layer, "counterfactuals", "change")
    if budget is not None and changes is not None:  # the whole is already there as it is
        others = [n for n, label in enumerate(changes.labels) if label != causes.AS_IT_IS]
        changes = reading.Row(tuple(changes.labels[n] for n in others), changes.values[others])
    groups = [
        (say("Where the decades go, per step"), budget),
        (say("What if, on the same run"), changes),
    ]
    entries = [_entries(row) if row else [] for _, row in groups]
    lines = bars.ledger([one for group in entries for one in group], terminal.width - _INDENT)
    for (heading, _), group in zip(groups, entries, strict=True):
        if group:
            terminal.heading(heading)
            terminal.picture(lines[: len(group)])
            lines = lines[len(group) :]


def _entries(row: reading.Row) -> list[tuple[str, str, float]]:
    pairs = zip(row.labels, row.values.tolist(), strict=True)
    return [(say(label), wording.decades(value), value) for label, value in pairs]


def _shares(terminal: Terminal, layer: LayerDiagnosis) -> None:
    """Bars of shares: the paths, and which lags the update comes from."""
    update = reading.table(layer, "contributions", "figure", "bucket")
    shares = None if update is None else update.get("share of the update")
    rows = [(say("By which path it came"), reading.row(layer, "paths", "path"))]
    if update is not None and shares is not None:
        lags = tuple(wording.short(lag, 12) for lag in update.columns)
        rows.append((say("Which lags the update comes from"), reading.Row(lags, shares)))
    for heading, row in rows:
        if row is not None:
            pairs = zip(row.labels, row.values.tolist(), strict=True)
            entries = [(say(label), wording.share(value), value) for label, value in pairs]
            terminal.heading(heading)
            terminal.picture(bars.shares(entries, terminal.width - _INDENT))
