"""Why: where the decades go, by which path, what is stuck, and where a number broke."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from throughtime.findings import Diagnosis, LayerDiagnosis
from throughtime.report import causes, figures, place, reading, style, wording
from throughtime.report.figures.causes import height, rows_of_budget
from throughtime.report.figures.gates import size
from throughtime.report.language import say
from throughtime.report.plates.plate import Plate

_WIDEST = 1e3  # an output of a squashing function that one axis can show
_STUCK = 0.2  # a share of units or steps from which on they are worth a picture


def first_non_finite(diagnosis: Diagnosis) -> Plate | None:
    """The step of the first number that is not finite."""
    found = place.first_bad(diagnosis)
    if found is None or found.step is None or not found.steps or found.step >= found.steps:
        return None
    return Plate(
        lambda ax: figures.first_non_finite(diagnosis, ax),
        say(
            "Where it begins: the first number that is not finite, and the steps that it spread "
            "to. Forward it spreads the way that the layer reads; back through time against it."
        ),
        "; ".join(f"{name}: {value}" for name, value in found.facts()),
        style.STRIP,
        (4.5, 1.5),
    )


def all_of(layer: LayerDiagnosis) -> list[Plate | None]:
    """Every picture that says why, the budget first."""
    return [
        budget(layer),
        paths(layer),
        gates(layer),
        stuck_by_unit(layer),
        stuck_by_time(layer),
    ]


def budget(layer: LayerDiagnosis) -> Plate | None:
    """Where the decades go, and what another recurrence would lose on the same trajectory."""
    rows = rows_of_budget(layer)
    if not rows:
        return None
    parts = reading.row(layer, "budget", "cause")
    changes = reading.row(layer, "counterfactuals", "change")
    caption = say(
        "Where the decades go: each cause of a step of the gradient begins where the one before "
        "it ended, and together they are the whole."
    )
    if changes is not None:
        caption += " " + say(
            "Below, the same trajectory with one thing changed: green keeps the gradient between "
            "1 % and a hundredfold over the span."
        )
    return Plate(
        lambda ax: figures.budget(layer, ax),
        caption,
        say("Decades per step of {name}.", name=layer.name)
        + f" {_listed(parts, wording.decades)} {_listed(changes, wording.decades)}",
        (style.COMPACT[0], height(rows)),
    )


def paths(layer: LayerDiagnosis) -> Plate | None:
    """Which path the gradient took."""
    row = reading.row(layer, "paths", "path")
    if row is None:
        return None
    return Plate(
        lambda ax: figures.paths(layer, ax),
        say(
            "Paths: by which way the gradient came back. The carousel is the straight way through "
            "the cell; the other leads through the gates and W_hh."
        ),
        say("Paths of {name}.", name=layer.name) + f" {_listed(row, wording.share)}",
        (style.COMPACT[0], height(len(row.labels))),
    )


def gates(layer: LayerDiagnosis) -> Plate | None:
    """Histogram of every gate; a ReLU without bound has no scale to show one on."""
    table = reading.table(layer, "gate histogram", "squashing", "bin")
    if table is not None and not all(abs(at) < _WIDEST for at in table.columns):
        return None
    return _by_gate(
        layer,
        "gate histogram",
        "bin",
        lambda ax: figures.gate_histogram(layer, ax),
        say(
            "Gates: how often each squashing function gave which output. At its ends it is stuck: "
            "its slope is below a tenth of its largest, and hardly a gradient passes."
        ),
    )


def stuck_by_unit(layer: LayerDiagnosis) -> Plate | None:
    """Which share of the units is stuck, if any are to speak of."""
    return _by_gate(
        layer,
        "stuck by unit",
        "unit",
        lambda ax: figures.stuck_by_unit(layer, ax),
        say(
            "Stuck by unit: the more colour, the more of its steps and sequences a unit is stuck. "
            "Full colour is a dead unit."
        ),
        least=_STUCK,
    )


def stuck_by_time(layer: LayerDiagnosis) -> Plate | None:
    """At which steps how much is stuck, if anything is to speak of."""
    return _by_gate(
        layer,
        "stuck by time",
        "time",
        lambda ax: figures.stuck_by_time(layer, ax),
        say("Stuck by time: the share of units and sequences that is stuck at each step."),
        least=_STUCK,
    )


def _by_gate(
    layer: LayerDiagnosis,
    name: str,
    along: str,
    draw: Callable[[Axes], Figure],
    caption: str,
    least: float = 0.0,
) -> Plate | None:
    """A picture with a row for each gate; none where no share exceeds ``least``."""
    table = reading.table(layer, name, "squashing", along)
    if table is None or not (table.values > least).any():
        return None
    label = f"{caption.partition(':')[0]}, {layer.name}. {_stuck(layer, table.rows)}"
    return Plate(draw, caption, label, size(len(table.rows)))


def _stuck(layer: LayerDiagnosis, gates: Sequence[str]) -> str:
    row = causes.stuck(layer)
    return ", ".join(gates) if row is None else _listed(row, wording.share)


def _listed(row: reading.Row | None, worded: Callable[[float], str]) -> str:
    if row is None:
        return ""
    pairs = zip(row.labels, row.values.tolist(), strict=True)
    return "; ".join(f"{say(label)} {worded(value)}" for label, value in pairs) + "."
