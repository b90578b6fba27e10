"""What a deep look measures: exponents, the spectrum of W_hh, memory, shares of the update."""

from __future__ import annotations

import numpy as np

from throughtime.findings import LayerDiagnosis
from throughtime.report import curves, figures, reading, style, wording
from throughtime.report.figures.causes import height
from throughtime.report.language import say
from throughtime.report.plates.plate import Plate


def all_of(layer: LayerDiagnosis) -> list[Plate | None]:
    """Every picture of a deep look, those first that a person grasps at once."""
    return [
        contributions(layer),
        exponents(layer),
        input_memory(layer),
        memory_capacity(layer),
        eigenvalues(layer),
        norm_condition(layer),
        singular_values(layer),
    ]


def contributions(layer: LayerDiagnosis) -> Plate | None:
    """Which lags move the weights."""
    table = reading.table(layer, "contributions", "figure", "bucket")
    update = None if table is None else table.get("share of the update")
    if table is None or update is None:
        return None
    shares = "; ".join(
        f"{lag}: {wording.share(share)}"
        for lag, share in zip(table.columns, update.tolist(), strict=True)
    )
    return Plate(
        lambda ax: figures.contributions(layer, ax),
        say(
            "Share of the update by lag: how much of the gradient of W_hh comes from how many "
            "steps back. Bars that are next to nothing are a past that never moves the weights."
        ),
        say("Share of the update of {name} by lag.", name=layer.name) + f" {shares}.",
    )


def input_memory(layer: LayerDiagnosis) -> Plate | None:
    """The forward side: what the state holds of earlier inputs."""
    curve = curves.input_memory(layer)
    if curve is None:
        return None
    return Plate(
        lambda ax: figures.input_memory(layer, ax),
        say(
            "Input memory: how strongly the state still depends on the input of k steps ago, "
            "‖∂sₜ/∂xₜ₋ₖ‖; the median and the band of its quantiles."
        ),
        say("Input memory of {name}.", name=layer.name)
        + f" {wording.power(curve.middle[0])} … {wording.power(curve.middle[-1])}.",
    )


def memory_capacity(layer: LayerDiagnosis) -> Plate | None:
    """What a linear read-out recovers of earlier inputs."""
    table = reading.table(layer, "memory capacity", "figure", "lag")
    held = None if table is None else table.get("held out")
    if held is None:
        return None
    return Plate(
        lambda ax: figures.memory_capacity(layer, ax),
        say(
            "Memory capacity: how well a linear read-out of the state recovers the input of k "
            "steps ago, on data that it was not fitted to. The dashed baseline reads the present "
            "input in place of the state: what lies above it is memory."
        ),
        say("Memory capacity of {name}.", name=layer.name)
        + f" R² {np.nanmax(held, initial=0):.2f} … {held[-1]:.2f}.",
    )


def exponents(layer: LayerDiagnosis) -> Plate | None:
    """Lyapunov exponents."""
    table = reading.table(layer, "lyapunov", "figure", "exponent")
    mean = None if table is None else table.get("mean")
    if mean is None:
        return None
    return Plate(
        lambda ax: figures.exponents(layer, ax),
        say(
            "Lyapunov exponents: the rates at which nearby states part along your data. One above "
            "the dashed line is chaos: gradients grow without end. All well below it: they vanish."
        ),
        say("Lyapunov exponents of {name}.", name=layer.name)
        + f" {', '.join(f'{value:+.3f}' for value in mean)}.",
    )


def eigenvalues(layer: LayerDiagnosis) -> Plate | None:
    """Eigenvalues of W_hh on the unit circle."""
    found = layer.measurement("eigenvalues")
    if found is None or reading.array(layer, found, ("gate", "part", "index")) is None:
        return None
    return Plate(
        lambda ax: figures.eigenvalues(layer, ax),
        say(
            "Eigenvalues of W_hh: for each gate, around the unit circle; ρ is the spectral radius. "
            "They say what W_hh alone would do after many steps, not what the network does on data."
        ),
        say("Eigenvalues of W_hh of {name}.", name=layer.name),
        (style.COMPACT[0], 2.0),
    )


def singular_values(layer: LayerDiagnosis) -> Plate | None:
    """Singular values of W_hh."""
    if reading.table(layer, "singular values", "gate", "index") is None:
        return None
    return Plate(
        lambda ax: figures.singular_values(layer, ax),
        say(
            "Singular values of W_hh: what one step of W_hh can do to a gradient, direction by "
            "direction. Those under the dashed line shrink it."
        ),
        say("Singular values of W_hh of {name}.", name=layer.name),
    )


def norm_condition(layer: LayerDiagnosis) -> Plate | None:
    """The norm condition beside what was measured; gated cells have no such bound."""
    row = reading.row(layer, "norm condition", "figure")
    if row is None or row.get("bound, decades per step") is None:
        return None
    numbers = "; ".join(
        f"{say(label.partition(',')[0])} {wording.decades(value)}"
        for label, value in zip(row.labels, row.values.tolist(), strict=True)
    )
    return Plate(
        lambda ax: figures.norm_condition(layer, ax),
        say(
            "Norm condition: the rate that the largest singular value of W_hh allows at most, and "
            "the rate that was measured. A bound above 0 proves nothing; one below 0 proves that "
            "gradients vanish."
        ),
        f"{say('Norm condition')}. {numbers}.",
        (style.COMPACT[0], height(len(row.labels))),
    )
