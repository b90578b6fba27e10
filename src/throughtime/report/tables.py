"""The numbers behind the pictures, as tables of text that stand folded at the end of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from throughtime.findings import Finding, LayerDiagnosis
from throughtime.report import curves, reading, wording
from throughtime.report.language import say

_MOST = 12

# Name, axis; of two axes the second is across. Long ones are left to their pictures.
_ROWS = (
    ("budget", "cause"), ("counterfactuals", "change"), ("paths", "path"),
    ("norm condition", "figure"), ("effective rank", "figure"), ("directions", "figure"),
)  # fmt: skip  # a list, not a column
_TABLES = (
    ("saturation", "squashing", "figure"), ("contributions", "bucket", "figure"),
    ("lyapunov", "exponent", "figure"), ("spectrum summary", "figure", "gate"),
    ("memory capacity", "lag", "figure"),
)  # fmt: skip  # a list, not a column


@dataclass(frozen=True)
class Grid:
    """A table of text: the first of ``columns`` names the rows, the others what stands in them.

    ``numeric``: these are numbers, that stand below one another by their last digit.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: bool = True


def evidence(findings: Iterable[Finding]) -> tuple[Grid, ...]:
    """The figures that each rule used."""
    return tuple(
        Grid(
            say("Evidence of {disease} in {name}", disease=say(one.disease), name=one.subject),
            ("", say("evidence")),
            tuple((say(wording.named(key)), wording.value(it)) for key, it in one.evidence.items()),
            numeric=False,
        )
        for one in findings
        if one.evidence
    )


def of(layers: Iterable[LayerDiagnosis]) -> tuple[Grid, ...]:
    """All tables of these layers that there are numbers for."""
    every = [
        table
        for layer in layers
        for table in (
            _gain(layer),
            *(_row(layer, *wanted) for wanted in _ROWS),
            *(_table(layer, *wanted) for wanted in _TABLES),
        )
    ]
    return tuple(table for table in every if table is not None)


def _gain(layer: LayerDiagnosis) -> Grid | None:
    """The gain at lags 0, 1, 2, 5, 10, ...: the picture as a table."""
    curve = curves.gain(layer)
    if curve is None:
        return None
    wanted = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]
    places = {0, len(curve.at) - 1}
    places |= {int(place) for place in np.flatnonzero(np.isin(curve.at, wanted))}
    edges = (curve.low, curve.middle, curve.high)
    return Grid(
        say("Gain by lag of {name}", name=layer.name),
        (say("Lag"), say("Lowest quantile"), say("Median"), say("Highest quantile")),
        tuple(
            (f"{curve.at[place]:,.0f}", *(wording.power(edge[place]) for edge in edges))
            for place in sorted(places)
        ),
    )


def _row(layer: LayerDiagnosis, name: str, axis: str) -> Grid | None:
    row, found = reading.row(layer, name, axis), layer.measurement(name)
    if row is None or found is None:
        return None
    return Grid(
        _title(layer, name),
        ("", say(found.unit)),
        tuple(
            (say(label), _number(value))
            for label, value in zip(row.labels, row.values.tolist(), strict=True)
        ),
    )


def _table(layer: LayerDiagnosis, name: str, down: str, across: str) -> Grid | None:
    """At most a dozen rows, evenly chosen."""
    found = layer.measurement(name)
    values = None if found is None else reading.array(layer, found, (down, across))
    if found is None or values is None:
        return None
    rows, columns = (
        reading.words(layer, found, axis, size)
        for axis, size in zip((down, across), values.shape, strict=True)
    )
    keep = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST)).round().astype(int))
    worded = wording.share if found.unit == "share" else _number
    return Grid(
        _title(layer, name),
        (_axis(down), *(say(column) for column in columns[:_MOST])),
        tuple((say(rows[n]), *_worded(values[n, :_MOST].tolist(), worded)) for n in keep),
    )


def _axis(name: str) -> str:
    return say({"squashing": "gate", "bucket": "lag"}.get(name, name)).capitalize()


def _worded(values: list[float], worded: Callable[[float], str]) -> list[str]:
    return [worded(value) for value in values]


def _title(layer: LayerDiagnosis, name: str) -> str:
    return say("{measurement} of {name}", measurement=say(name).capitalize(), name=layer.name)


def _number(value: float) -> str:
    if not np.isfinite(value):
        return say("unknown") if np.isnan(value) else say("infinite")
    return f"{value:.4g}".replace("-", "−")
