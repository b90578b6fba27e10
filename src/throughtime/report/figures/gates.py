"""How much is stuck: the histogram of every gate, and the stuck share by unit and by time."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from throughtime.findings import Diagnosis, LayerDiagnosis
from throughtime.report import causes, reading, style, wording
from throughtime.report.figures.drawing import POINTS
from throughtime.report.figures.subject import explaining, titled
from throughtime.report.language import say
from throughtime.report.reading import Array, Table

_ROW, _FRAME = 0.42, 0.75  # inches


def size(rows: int) -> tuple[float, float]:
    """Width and height in inches of a picture with one row for each gate."""
    return style.COMPACT[0], _FRAME + _ROW * max(rows, 2)


def gate_histogram(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """What values each squashing function gave, over all units, steps and sequences.

    One row for each gate, scaled to its own highest bar, with its stuck share at the right.
    """
    layer = explaining(subject)
    table = None if layer is None else reading.table(layer, "gate histogram", "squashing", "bin")
    axes = ax or style.new_axes(size(len(table.rows) if table else 0))
    found = layer.measurement("gate histogram") if layer else None
    if layer is None or table is None or found is None:
        return style.nothing(axes, say("No gates were measured."))
    at = reading.numbers(layer, found, "bin", table.values.shape[1])
    width = float(np.diff(at).min()) if len(at) > 1 else 1.0
    for place, shares in enumerate(table.values):
        tallest = shares[np.isfinite(shares)].max(initial=0.0) or 1.0
        heights = reading.drawable(shares / tallest, 0.0)
        foot = len(table.rows) - 1 - place
        colour = style.SERIES[place % len(style.SERIES)]
        axes.bar(at, 0.86 * heights, width, bottom=foot, color=colour, linewidth=0)
        axes.axhline(foot, color=style.RULE, linewidth=0.8)
    style.dress(axes, say("output of the squashing function"), "")
    style.fractions(axes, 6)
    axes.set_xlim(float(at.min()) - width, float(at.max()) + width)
    axes.set_ylim(0, len(table.rows))
    style.named_rows(axes, [len(table.rows) - 0.6 - n for n in range(len(table.rows))], table.rows)
    _stuck_shares(axes, layer, table)
    return titled(axes, ax, say("Gates: {name}", name=layer.name))


def _stuck_shares(axes: Axes, layer: LayerDiagnosis, table: Table) -> None:
    stuck = causes.stuck(layer)
    for place, name in enumerate(table.rows):
        share = None if stuck is None else stuck.get(name)
        if share is None:
            continue
        axes.text(
            1.01, len(table.rows) - 0.6 - place,
            say("{share} stuck", share=wording.share(share)),
            transform=axes.get_yaxis_transform(), va="center", color=style.MUTED, fontsize=9.5,
        )  # fmt: skip  # what belongs together, on one line


def stuck_by_unit(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """How often each unit is stuck, one row for each gate: those stuck most at the left."""
    layer = explaining(subject)
    table = None if layer is None else reading.table(layer, "stuck by unit", "squashing", "unit")
    axes = ax or style.new_axes(size(len(table.rows) if table else 0))
    if layer is None or table is None:
        return style.nothing(axes, say("No gates were measured."))
    ordered = -np.sort(-reading.drawable(table.values, 0.0), axis=1)
    _strips(axes, table.rows, ordered, (0.5, ordered.shape[1] + 0.5))
    style.dress(axes, say("units, those stuck most first"), "")
    style.named_rows(axes, range(len(table.rows)), table.rows)
    return titled(axes, ax, say("Stuck by unit: {name}", name=layer.name))


def stuck_by_time(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """What share of the units is stuck at each step, one row for each gate."""
    layer = explaining(subject)
    table = None if layer is None else reading.table(layer, "stuck by time", "squashing", "time")
    axes = ax or style.new_axes(size(len(table.rows) if table else 0))
    found = layer.measurement("stuck by time") if layer else None
    if layer is None or table is None or found is None:
        return style.nothing(axes, say("No gates were measured."))
    at = reading.numbers(layer, found, "time", table.values.shape[1])
    _strips(axes, table.rows, table.values, (float(at[0]) - 0.5, float(at[-1]) + 0.5))
    style.dress(axes, say("step t"), "")
    style.named_rows(axes, range(len(table.rows)), table.rows)
    return titled(axes, ax, say("Stuck by time: {name}", name=layer.name))


def _strips(axes: Axes, rows: tuple[str, ...], shares: Array, ends: tuple[float, float]) -> None:
    """One strip for each row: empty where nothing is stuck, full in colour where all is."""
    keep = np.linspace(0, shares.shape[1] - 1, min(shares.shape[1], POINTS)).round().astype(int)
    full = LinearSegmentedColormap.from_list("stuck", [f"{style.STUCK}00", f"{style.STUCK}ff"])
    for place, strip in enumerate(shares[:, keep]):
        axes.imshow(
            np.clip(strip[None, :], 0, 1), cmap=full, vmin=0, vmax=1, interpolation="none",
            aspect="auto", extent=(*ends, place + 0.36, place - 0.36),
        )  # fmt: skip  # what belongs together, on one line
        axes.add_patch(style.frame(ends[0], place - 0.36, ends[1] - ends[0], 0.72))
    axes.set_xlim(*ends)
    axes.set_ylim(len(rows) - 0.5, -0.5)
