"""Exponents along the data, and the spectrum of W_hh: what it does, and what it could do."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, PathPatch
from matplotlib.path import Path

from throughtime.findings import Diagnosis, LayerDiagnosis
from throughtime.report import reading, style, wording
from throughtime.report.figures.subject import explaining, titled
from throughtime.report.language import say
from throughtime.report.reading import Array

MOST = 300
"""No more eigenvalues of one gate are drawn: the largest, and an even choice of the rest."""


def exponents(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """Lyapunov exponents: mean, the extremes over sequences, and twice the error of the mean.

    Above the zero line two nearby states part, and the gradient grows on its way back.
    """
    layer, axes = explaining(subject), ax or style.new_axes(style.COMPACT)
    table = None if layer is None else reading.table(layer, "lyapunov", "figure", "exponent")
    mean = None if table is None else table.get("mean")
    if layer is None or table is None or mean is None:
        return style.nothing(axes, say("No exponents were measured."))
    at = np.arange(1, len(mean) + 1)
    low, high = (table.get(name) for name in ("low", "high"))
    if low is not None and high is not None:
        axes.vlines(
            at, reading.drawable(low), reading.drawable(high), color=style.SERIES[0], alpha=0.3,
            linewidth=6, label=say("lowest to highest sequence"),
        )  # fmt: skip  # what belongs together, on one line
    axes.errorbar(
        at, reading.drawable(mean), yerr=_error(table), fmt="o", markersize=4.5,
        color=style.SERIES[0], ecolor=style.INK, elinewidth=1.2, capsize=3,
        label=say("mean, and its error"),
    )  # fmt: skip  # what belongs together, on one line
    for place in at[~np.isfinite(mean)]:
        axes.text(
            place, 0.02, wording.decades(float(mean[place - 1])), ha="center", va="bottom",
            transform=axes.get_xaxis_transform(), color=style.MUTED, fontsize=9.5,
        )  # fmt: skip  # what belongs together, on one line
    axes.axhline(0, color=style.LIMIT, linewidth=1.1, linestyle=(0, (4, 3)))
    style.dress(axes, say("exponent"), say("nats per step"))
    axes.grid(axis="y", color=style.RULE, linewidth=0.8)
    axes.set_xlim(0.4, len(mean) + 0.6)
    low_end, high_end = axes.get_ylim()
    margin = 0.08 * (high_end - low_end)
    axes.set_ylim(min(low_end, -margin), max(high_end, margin))
    style.legend(axes)
    return titled(axes, ax, say("Lyapunov exponents: {name}", name=layer.name))


def _error(table: reading.Table) -> Array | None:
    """Twice the statistical and the numerical error together; None where none is known."""
    known = [table.get(name) for name in ("statistical error", "numerical error")]
    errors = [reading.drawable(one, 0.0) for one in known if one is not None]
    return 2 * np.hypot.reduce(np.abs(errors)) if errors else None


def eigenvalues(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """Eigenvalues of W_hh and the unit circle, side by side for each gate, with their radius."""
    layer, axes = explaining(subject), ax or style.new_axes(style.COMPACT)
    found = layer.measurement("eigenvalues") if layer else None
    values = reading.array(layer, found, ("gate", "part", "index")) if layer and found else None
    if layer is None or found is None or values is None:
        return style.nothing(axes, say("No eigenvalues were measured."))
    gates = reading.words(layer, found, "gate", len(values))
    parts = reading.words(layer, found, "part", values.shape[1])
    if not {"real", "imaginary"} <= set(parts):
        raise reading.damaged(layer, found, "axis part is to have a real and an imaginary entry")
    real, imaginary = (values[:, parts.index(part)] for part in ("real", "imaginary"))
    modulus = np.hypot(real, imaginary)
    largest = float(max(1.0, modulus[np.isfinite(modulus)].max(initial=0.0)))
    step = 2.3 * largest
    for place, gate in enumerate(gates):
        centre, colour = step * place, style.SERIES[place % len(style.SERIES)]
        axes.add_patch(Circle((centre, 0), 1.0, fill=False, color=style.LIMIT, linewidth=1.1))
        axes.add_patch(_dots(real[place] + centre, imaginary[place], modulus[place], colour))
        finite = modulus[place][np.isfinite(modulus[place])]
        radius = f"ρ {finite.max():.2f}" if finite.size else say("not finite")
        axes.text(
            centre, -1.1 * largest, f"{gate}\n{radius}", ha="center", va="top", color=style.INK,
            fontsize=9.5, parse_math=False, linespacing=1.4,
        )  # fmt: skip  # what belongs together, on one line
    axes.set_xlim(-0.55 * step, step * (len(gates) - 0.45))
    axes.set_ylim(-1.75 * largest, 1.1 * largest)
    axes.set_aspect("equal")
    axes.set_axis_off()
    return titled(axes, ax, say("Eigenvalues of W_hh: {name}", name=layer.name))


def _dots(across: Array, upward: Array, modulus: Array, colour: str) -> PathPatch:
    """All points of one colour as one path of dots: a tenth of the bytes of as many markers."""
    order = np.argsort(-reading.drawable(modulus, 0.0))
    order = order[np.isfinite(modulus[order])]
    rest = order[MOST // 3 :]
    if len(order) > MOST:
        rest = rest[np.linspace(0, len(rest) - 1, MOST - MOST // 3).round().astype(int)]
    points = np.stack([across, upward], axis=1)[np.r_[order[: MOST // 3], rest]]
    path = Path(
        np.repeat(points, 2, axis=0) if len(points) else np.zeros((1, 2)),
        [Path.MOVETO, Path.LINETO] * len(points) or [Path.MOVETO],
    )
    path.should_simplify = False
    return PathPatch(path, edgecolor=colour, facecolor="none", linewidth=2.6, capstyle="round")


def singular_values(subject: Diagnosis | LayerDiagnosis, ax: Axes | None = None) -> Figure:
    """Singular values of W_hh, the largest first, for each gate."""
    layer, axes = explaining(subject), ax or style.new_axes(style.COMPACT)
    table = None if layer is None else reading.table(layer, "singular values", "gate", "index")
    if layer is None or table is None:
        return style.nothing(axes, say("No singular values were measured."))
    for place, (gate, values) in enumerate(zip(table.rows, table.values, strict=True)):
        finite = -np.sort(-values[np.isfinite(values)])
        keep = np.unique(np.linspace(0, len(finite) - 1, min(len(finite), 200)).round().astype(int))
        axes.plot(
            keep + 1, finite[keep], color=style.SERIES[place % len(style.SERIES)],
            label=f"\u200b{gate}", linewidth=1.6,
        )  # fmt: skip  # what belongs together, on one line
    axes.axhline(1, color=style.LIMIT, linewidth=1.1, linestyle=(0, (4, 3)))
    style.dress(axes, say("singular value"), say("size"))
    axes.set_ylim(0, None)
    axes.grid(axis="y", color=style.RULE, linewidth=0.8)
    style.legend(axes)
    return titled(axes, ax, say("Singular values of W_hh: {name}", name=layer.name))
