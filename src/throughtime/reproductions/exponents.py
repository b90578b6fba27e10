"""The largest Lyapunov exponent of random tanh networks, with and without input."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from throughtime.measures.lyapunov import lyapunov
from throughtime.problem import seeded
from throughtime.recording import observe
from throughtime.reproductions.reproduction import Figure, Measured, Reproduction

UNITS, STEPS, BURN_IN = 200, 1000, 200
DEVIATIONS = (0, 1, 2)  # of the input, which every unit gets its own of

# Gain of W: the exponent without input, and under inputs N(0, 1) and N(0, 4); nats per step.
TABLE = {
    0.5: (-0.677, -1.096, -1.393),
    0.9: (-0.089, -0.551, -0.824),
    1.0: (0.000, -0.459, -0.721),
    1.5: (0.062, -0.144, -0.361),
    2.0: (0.153, 0.043, -0.125),
    3.0: (0.301, 0.256, 0.159),
}
WITHIN = 0.03  # what another draw of W and of the inputs may change


def named(gain: float, deviation: int) -> str:
    """The name of one cell of the table."""
    return f"gain {gain:g}, " + (f"input N(0, {deviation**2})" if deviation else "no input")


def measure(seed: int, *, toy: bool, **_: bool) -> Measured:
    """The whole table, of one draw of W, of the inputs and of the first state."""
    units, steps, burn_in = (20, 40, 10) if toy else (UNITS, STEPS, BURN_IN)
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weight, noise, initial = normal(units, units), normal(steps, 1, units), normal(1, 1, units)
    return {
        named(gain, deviation): largest_exponent(
            gain * weight / math.sqrt(units), deviation * noise, initial, burn_in
        )
        for gain, deviation in cells()
    }


def largest_exponent(weight: Tensor, inputs: Tensor, initial: Tensor, burn_in: int) -> float:
    """Of ``h_t = tanh(W h_{t−1} + x_t)``, in nats per step, measured on an ``nn.RNN``."""
    units = len(weight)
    with seeded(0):  # torch draws weights, which are then replaced
        layer = nn.RNN(units, units, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.get_parameter("weight_ih_l0").copy_(torch.eye(units))
        layer.get_parameter("weight_hh_l0").copy_(weight)

    def closure() -> Tensor:
        loss: Tensor = layer(inputs, initial)[0][-1].sum()
        return loss

    trace = observe(layer, closure)
    return float(lyapunov(trace, k=1, burn_in=burn_in).values[0, 0])


def cells() -> Iterator[tuple[float, int]]:
    """Gain and deviation of every cell of the table."""
    return ((gain, deviation) for gain in TABLE for deviation in DEVIATIONS)


EXPONENTS = Reproduction(
    name="lyapunov-table",
    title="The largest Lyapunov exponent of a random tanh network falls as its input grows",
    paper="Sompolinsky, Crisanti & Sommers 1988 (no input); Molgedey, Schuchhardt & Schuster 1992 "
    "(driven by noise)",
    row=15,
    claim="without input chaos sets in at gain 1, where N is large; noise suppresses it, so that a "
    "gain of 1.5 still contracts",
    settings=(
        f"h = tanh(W h + x), N = {UNITS}, W Gaussian of deviation gain/√N, x drawn for every unit",
        f"{STEPS} steps, {BURN_IN} of them burn-in, float64; one draw for the whole table",
    ),
    figures=tuple(
        Figure(
            named(gain, deviation),
            value := TABLE[gain][deviation],
            round(value - WITHIN, 3),
            round(value + WITHIN, 3),
            "earlier run",
        )
        for gain, deviation in cells()
    ),
    minutes=0.2,
    measure=measure,
)
