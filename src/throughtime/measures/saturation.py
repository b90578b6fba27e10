"""``saturation``: how much of tanh and of the gates is stuck, by unit and by time.

Where a squashing function is flat, nothing passes: neither the gradient on its way back, nor a
change of the weights that would move the unit out of there. Stuck: its slope is below a tenth of
its largest. tanh beyond ±0.9487, a gate below 0.0257 or above 0.9743, a ReLU at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from throughtime.errors import UnsupportedError
from throughtime.findings import Measurement
from throughtime.trace import LayerTrace, Trace, one_layer

Floats = NDArray[np.float64]

FIGURES = ("stuck", "stuck low", "stuck high", "dead units", "not finite")
_FLAT = 0.1
_BIN = 0.05


@dataclass(frozen=True, eq=False)
class StuckOutputs:
    """The outputs of one squashing function over the live steps (T B H), and which are stuck."""

    values: Float[Tensor, "T B H"]
    counted: Bool[Tensor, "T B H"]
    low: Bool[Tensor, "T B H"]
    high: Bool[Tensor, "T B H"]
    not_finite: float

    @classmethod
    def of(
        cls, function: str, values: Float[Tensor, "T B H"], alive: Bool[Tensor, "T B"]
    ) -> StuckOutputs:
        """``values`` are outputs of ``function``: ``"tanh"``, ``"sigmoid"`` or ``"relu"``."""
        values = values.float() if values.dtype.itemsize < 4 else values
        live = alive.unsqueeze(-1).expand_as(values)
        counted = live & values.isfinite()
        if function == "relu":
            low, high = values <= 0, torch.zeros_like(counted)
        else:
            # Both are one curve: σ(a) = (1 + tanh(a/2)) / 2, with slopes 1 − y² and (1 − y²)/4.
            y = values if function == "tanh" else 2 * values - 1
            flat = 1 - y.square() < _FLAT
            low, high = flat & (y < 0), flat & (y > 0)
        lost = _share(live & ~counted, live)
        return cls(values, counted, low & counted, high & counted, float(lost))

    @property
    def by_unit(self) -> Floats:
        """Share of the steps of all sequences at which a unit is stuck (H)."""
        return _share(self.low | self.high, self.counted, 0, 1)

    @property
    def by_time(self) -> Floats:
        """Share of the units of all sequences that are stuck at a step (T)."""
        return _share(self.low | self.high, self.counted, 1, 2)

    @property
    def figures(self) -> list[float]:
        """One number for each of ``FIGURES``."""
        low, high = (float(_share(side, self.counted)) for side in (self.low, self.high))
        known = self.by_unit[~np.isnan(self.by_unit)]
        dead = float((known == 1).mean()) if len(known) else float("nan")
        return [low + high, low, high, dead, self.not_finite]

    def histogram(self, edges: Floats) -> Floats:
        """Share of the outputs in each bin; the two outer bins take what lies beyond them."""
        values = (self.values if self.counted.all() else self.values[self.counted]).double()
        inside = values.clamp(float(edges[0]), float(edges[-1]))
        counts = torch.histc(inside, len(edges) - 1, float(edges[0]), float(edges[-1]))
        shares: Floats = (counts / (values.numel() or torch.nan)).cpu().numpy()
        return shares


def saturation(trace: Trace | LayerTrace, layer: str | int | None = None) -> list[Measurement]:
    """Shares of the outputs of every squashing function that are stuck.

    Args:
        trace: a ``Trace``, or one of its layers.
        layer: which layer; None for the only one.

    Returns:
        Float64 shares, 0 to 1, over the live steps of the sequences and the finite outputs alone;
        NaN where there are none. The axis ``squashing`` names the gates: RNN h; LSTM i f g o and c
        (the tanh of the cell); GRU r z n.

        - ``"stuck by unit"`` (squashing, unit).
        - ``"stuck by time"`` (squashing, time), in the time of the sequence.
        - ``"gate histogram"`` (squashing, bin), ``coords["bin"]`` the centres.
        - ``"saturation"`` (squashing, figure): the share that is stuck, at the low and at the high
          end of the function; of units that are stuck at every step of every sequence; and of
          outputs that are not finite.

    Raises:
        InputError: for an unknown layer, or several of which none was chosen.
        UnsupportedError: for a recurrence whose squashing functions are not known.
    """
    one = one_layer(trace, layer, "saturation is that")
    functions = one.linear.squashing
    if not functions or not one.steps:
        raise UnsupportedError(
            f"layer {one.name!r} ({one.kind}) has no squashing functions that are known: "
            "saturation needs a layer whose gates are known: torch's, or one of throughtime.cells"
        )
    alive, made = one.alive(), one.linear.activations()
    stuck = [StuckOutputs.of(functions[name], one.turned(made[name]), alive) for name in made]
    edges = _edges(stuck, set(functions.values()))
    names = {"squashing": tuple(made)}
    how = "share of the live, finite outputs whose slope is below a tenth of the function's largest"
    time = {**names, "time": tuple(range(one.steps))}
    bins = {**names, "bin": tuple(((edges[1:] + edges[:-1]) / 2).tolist())}
    histogram = np.stack([s.histogram(edges) for s in stuck])
    summary = f"{how}; dead: stuck at every step of every sequence; not finite: of all live outputs"
    return [
        _shares("stuck by unit", [s.by_unit for s in stuck], "unit", how, names),
        _shares("stuck by time", [s.by_time for s in stuck], "time", how, time),
        _shares("gate histogram", histogram, "bin", "share of the live, finite outputs", bins),
        _shares(
            "saturation", [s.figures for s in stuck], "figure", summary,
            {**names, "figure": FIGURES},
        ),
    ]  # fmt: skip  # rows of a table


def _shares(
    name: str, values: object, axis: str, how: str, coords: dict[str, tuple[Any, ...]]
) -> Measurement:
    array = np.asarray(values, dtype=np.float64)
    return Measurement(name, array, ("squashing", axis), "share", how, coords)


def _share(part: Tensor, whole: Tensor, *over: int) -> Floats:
    """How much of ``whole`` is ``part``, over these axes (none: all); NaN of nothing."""
    axes = over or tuple(range(part.dim()))
    count: Tensor = whole.sum(axes).double()
    share: Floats = (part.sum(axes) / count.masked_fill(count == 0, torch.nan)).cpu().numpy()
    return share


def _edges(stuck: list[StuckOutputs], functions: set[str]) -> Floats:
    """Bins that hold every output: of tanh and gates on one scale, of ReLU up to its largest."""
    if functions != {"relu"}:
        low = -1.0 if "tanh" in functions else 0.0
        return np.linspace(low, 1.0, round((1.0 - low) / _BIN) + 1)
    largest = max(float(s.values[s.counted].max()) if s.counted.any() else 0.0 for s in stuck)
    return np.linspace(0.0, largest or 1.0, round(1 / _BIN) + 1)
