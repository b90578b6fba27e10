"""How far back the gradient reaches: gain by lag, the lag matrix, what lies along time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from throughtime.findings import Diagnosis, LayerDiagnosis
from throughtime.report import curves, figures, style, wording
from throughtime.report.language import say
from throughtime.report.plates.plate import Plate

_NARROW = (4.5, 3.4)


def gain(layer: LayerDiagnosis, wide: bool = False) -> Plate | None:
    """Gain by lag; ``wide`` for the top of the page."""
    curve = curves.gain(layer)
    if curve is None:
        return None
    return Plate(
        lambda ax: figures.gain(layer, ax),
        say(
            "Gain by lag: how much of the gradient of one loss is left k steps further back; the "
            "median over the batch and the loss steps, and the band of its quantiles. Under the "
            "dashed line less than 1 % is left, and there the horizon ends."
        )
        + _more(layer),
        say("Gain by lag of {name}.", name=layer.name)
        + f" {_by_lag(curve)} "
        + say("Horizon: {reach}.", reach=wording.reach(layer)),
        *((style.WIDE, _NARROW) if wide else ()),
    )


def _more(layer: LayerDiagnosis) -> str:
    """What else is in the picture: every route, or a gain at the inputs."""
    if curves.every_route(layer) is not None:
        return " " + say(
            "The dashed curve counts every route, also past the recurrence: attention, pooling, "
            "skips, memory."
        )
    if layer.kind == "inputs":
        return " " + say(
            "Measured at the inputs by every route, relative to one step back: at lag 0 a model "
            "with skip connections shows the skip."
        )
    return ""


def compare(diagnoses: Mapping[str, Diagnosis]) -> Plate | None:
    """Gain by lag of several networks."""
    layers = {name: curves.deciding(one) for name, one in diagnoses.items()}
    found = {n: c for n, layer in layers.items() if layer and (c := curves.gain(layer))}
    if not found:
        return None
    return Plate(
        lambda ax: figures.compare(diagnoses, ax),
        say(
            "How much of the gradient of one loss is left k steps further back in each network. "
            "Under the dashed line less than 1 % is left, and there the horizon ends."
        ),
        " ".join([say("Gain by lag."), *(f"{n}: {_by_lag(c)}" for n, c in found.items())]),
        style.WIDE,
        _NARROW,
    )


def inside(layer: LayerDiagnosis) -> list[Plate | None]:
    """What lies behind the gain: the lag matrix, gradients and states through time."""
    return [matrix(layer), gradients(layer), states(layer)]


def matrix(layer: LayerDiagnosis) -> Plate | None:
    """The lag matrix."""
    found = curves.lag_matrix(layer)
    if found is None:
        return None
    finite = found.values[np.isfinite(found.values)]
    zero = np.isneginf(found.values).sum() / max(1, (~np.isnan(found.values)).sum())
    label = say(
        "Lag matrix of {name}: {number} losses, each at every step.",
        name=layer.name,
        number=len(found.anchors),
    )
    if finite.size:
        least, most = wording.power(finite.min()), wording.power(finite.max())
        label += " " + say("From {least} to {most}.", least=least, most=most)
    if zero:
        label += " " + say("{share} of it is exactly zero.", share=wording.share(float(zero)))
    return Plate(
        lambda ax: figures.lag_matrix(layer, ax),
        say(
            "Lag matrix: each row is the loss at one step t, each column the state at a step k "
            "before it. Follow a row from the diagonal to the left, and you see that loss's "
            "gradient travel back. Grey would be exactly zero: a wall that nothing crosses."
        ),
        label,
        style.SQUARE,
    )


def gradients(layer: LayerDiagnosis) -> Plate | None:
    """Total and direct gradient through time."""
    total = curves.gradients(layer, "total")
    if total is None:
        return None
    return Plate(
        lambda ax: figures.gradients(layer, ax),
        say(
            "Gradient through time: the direct one is what the loss at step t alone sends into "
            "the state, the total one adds everything that comes back from later steps. Where "
            "every step has a loss, the total is level even in a network that forgets."
        ),
        say("Gradients through time of {name}.", name=layer.name) + f" {_by_step(total)}",
    )


def states(layer: LayerDiagnosis) -> Plate | None:
    """Norm of the state through time."""
    norms = curves.states(layer)
    if norms is None:
        return None
    return Plate(
        lambda ax: figures.states(layer, ax),
        say("Norm of the state through time: the median over the batch, and its quantiles."),
        say("States through time of {name}.", name=layer.name) + f" {_by_step(norms)}",
    )


def _by_lag(curve: curves.Curve) -> str:
    """Where a curve begins and ends."""
    return say("Median {first} at lag {start}, {last} at lag {end}.", **_ends(curve))


def _by_step(curve: curves.Curve) -> str:
    return say("Median {first} at step {start}, {last} at step {end}.", **_ends(curve))


def _ends(curve: curves.Curve) -> dict[str, str]:
    return {
        "first": wording.power(curve.middle[0]),
        "start": f"{curve.at[0]:g}",
        "last": wording.power(curve.middle[-1]),
        "end": f"{curve.at[-1]:g}",
    }
