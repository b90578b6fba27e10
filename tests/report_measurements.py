"""Measurements made by hand that say why: budget, gates, exponents, memory."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from throughtime.findings import Measurement

QUANTILES = (0.1, 0.5, 0.9)

GATES = {
    "RNN": ("h",),
    "LSTM": ("i", "f", "g", "o", "c"),
    "GRU": ("r", "z", "n"),
}
STAGES = {
    "RNN": {"nonlinearity": -0.09, "recurrent matrix": -0.151},
    "LSTM": {"read-out": 0.021, "gates": -0.148, "recurrent matrix": -0.071},
    "GRU": {"gates": -0.163, "reset": -0.008, "recurrent matrix": -0.04},
}
CHANGES = {
    "RNN": {"no squashing": -0.142, "W_hh orthogonal": -0.1},
    "LSTM": {
        "forget gate at 1": -0.004, "no way through the gates": -0.301, "W_hh orthogonal": -0.12,
    },
    "GRU": {"update gate at 1": -0.002, "no way through the gates": -0.29},
}  # fmt: skip  # rows of a table


def measured(
    name: str,
    values: np.ndarray | Sequence[float],
    dimension: str = "share",
    **labels: Sequence[object],
) -> Measurement:
    """A measurement whose axes are named by keyword, in order, each with its labels."""
    coords = {axis: tuple(given) for axis, given in labels.items()}
    return Measurement(
        name, np.asarray(values, float), tuple(labels), dimension, f"{name}, by hand", coords
    ).plain()


def causes(kind: str) -> tuple[Measurement, ...]:
    """What every diagnosis has that explains: budget, paths, gates."""
    stages, gates = STAGES[kind], GATES[kind]
    whole = sum(stages.values())
    changes = {"as it is": whole, **CHANGES[kind]}
    noise = np.random.default_rng(3)
    unit, time = np.arange(64), np.arange(100)
    centres = np.linspace(-0.975, 0.975, 40)
    histogram = noise.gamma(2.0, 1.0, (len(gates), 40)) * np.abs(centres) ** 2
    histogram[[gate in "ifozr" for gate in gates]] *= centres > 0
    by_unit = np.clip(noise.normal(0.15, 0.35, (len(gates), unit.size)), 0, 1)
    by_time = np.clip(0.2 + 0.2 * np.sin(time / 9) + noise.normal(0, 0.05, (len(gates), 100)), 0, 1)
    summary = np.stack(
        [by_unit.mean(1), by_unit.mean(1) / 3, by_unit.mean(1) / 1.5, by_unit.min(1)]
    )
    paths = () if kind == "RNN" else (measured("paths", [0.62, 0.38], path=("carousel", "gates")),)
    return (
        measured("budget", [*stages.values(), whole], "decades per step", cause=(*stages, "whole")),
        measured("counterfactuals", [*changes.values()], "decades per step", change=(*changes,)),
        *paths,
        measured(
            "gate histogram", histogram / np.nansum(histogram, 1, keepdims=True),
            squashing=gates, bin=centres.tolist(),
        ),
        measured("stuck by unit", by_unit, squashing=gates, unit=unit.tolist()),
        measured("stuck by time", by_time, squashing=gates, time=time.tolist()),
        measured(
            "saturation", summary.T, squashing=gates,
            figure=("stuck", "stuck low", "stuck high", "dead units"),
        ),
    )  # fmt: skip  # a list, not a column


BUCKETS = ("0", "1", "2-3", "4-7", "8-15", "16-31", "32-63", "64-99")


def depths(kind: str, hidden: int = 64) -> tuple[Measurement, ...]:
    """What a deep diagnosis has beside that: exponents, spectra, memory, contributions."""
    noise = np.random.default_rng(4)
    gates = ("a",) if kind == "RNN" else GATES[kind][:4]
    matrices = noise.normal(0, 0.58 / hidden**0.5, (len(gates), hidden, hidden))
    eigen = np.linalg.eigvals(matrices)
    singular = np.linalg.svd(matrices, compute_uv=False)
    mean = np.array([-0.21, -0.24, -0.26, -0.31, -0.33, -0.36, -0.4, -0.41])
    lags = np.arange(40)
    fading = -0.2 * lags - 0.4
    held = np.clip(1.05 * np.exp(-lags / 6) + noise.normal(0, 0.02, 40), -0.02, 1)
    norms = np.array([0.4, 0.27, 0.2, 0.1, 0.024, 0.005, 0.0008, 0.0002])
    share = np.array([0.44, 0.27, 0.18, 0.08, 0.025, 0.004, 0.0006, 0.0])
    figures = (
        "spectral radius",
        "largest singular value",
        "smallest singular value",
        "numerical radius",
        "departure from normality",
        "Kreiss bound",
        "largest power",
    )
    summary = noise.uniform(0.4, 1.4, (len(gates), len(figures)))
    return (
        measured(
            "lyapunov",
            np.stack([mean, mean - 0.03, mean + 0.04, mean * 0 + 0.012, mean * 0 + 1e-5]),
            "nats per step",
            figure=("mean", "low", "high", "statistical error", "numerical error"),
            exponent=range(1, 9),
        ),
        measured(
            "eigenvalues", np.stack([eigen.real, eigen.imag], axis=1), "factor per step",
            gate=gates, part=("real", "imaginary"), index=range(hidden),
        ),
        measured("singular values", singular, "factor per step", gate=gates, index=range(hidden)),
        measured("spectrum summary", summary, "as named", gate=gates, figure=figures),
        measured(
            "norm condition", [0.062, -0.241], "decades per step",
            figure=("bound, decades per step", "measured, decades per step"),
        ),
        measured(
            "input memory", np.stack([fading - 0.3, fading, fading + 0.3]), "log10",
            quantile=QUANTILES, lag=lags.tolist(),
        ),
        measured(
            "memory capacity", np.stack([held, lags * 0 + 0.02]), "R^2",
            figure=("held out", "baseline"), lag=lags.tolist(),
        ),
        measured(
            "effective rank", [11.3, 4.1, hidden], "count",
            figure=("effective rank", "participation ratio", "state size"),
        ),
        measured(
            "contributions", np.stack([share, norms]),
            figure=("share of the update", "share of the norm"), bucket=BUCKETS,
        ),
        measured("directions", [7.2, 1.3], "count", figure=("asked", "left")),
    )  # fmt: skip  # a list, not a column


def labelled(found: Measurement, words: Sequence[str]) -> Measurement:
    """The same numbers under other words, wherever labels are words."""
    given = {
        axis: tuple(words[n % len(words)] for n in range(len(labels)))
        if isinstance(labels[0], str) and axis not in ("part", "figure")
        else labels
        for axis, labels in found.coords.items()
    }
    return replace(found, name=found.name, how=words[0], coords=given)


def spoilt(found: Measurement) -> Measurement:
    """The same measurement with every second number undefined or infinite."""
    values = np.array(found.values, float)
    flat = values.reshape(-1)
    flat[::4], flat[1::4] = math.nan, math.inf
    flat[2::8] = -math.inf
    return replace(found, values=values).plain()
