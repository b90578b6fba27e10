"""The networks that are looked at as they were made: cells × sizes × data × cause."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.diseases import changes
from benchmarks.diseases.networks import Change, Network
from benchmarks.diseases.tasks import Task, bursts, noise, spoilt

GATED = ("LSTM", "GRU")
QUIET = noise(0.02)
FAINT = noise(1e-8, span=30, steps=40)  # too small for tanh to bend


def network(
    cell: str, cause: str, task: Task, change: Change | None = None, hidden: int = 32, **more: int
) -> Network:
    """A network whose name says all."""
    one = Network("", cell, task, change, hidden, **more)
    return replace(one, name=f"{one.built}, {cause}, {task.name}")


def as_torch_makes_them() -> Iterator[Network]:
    """Long spans vanish; for a short one the very same network is healthy."""
    for cell, hidden in (("tanh", 16), ("relu", 64), ("LSTM", 8), ("LSTM", 64), ("GRU", 32)):
        yield network(cell, "as torch makes it", noise(at="all"), hidden=hidden)
    for cell in ("tanh", "LSTM", "GRU"):
        yield network(cell, "as torch makes it", noise(span=5, at="all"))
    yield network("LSTM", "as torch makes it", noise(), layers=2)
    yield network("GRU", "as torch makes it", noise(), layers=2)


def radii() -> Iterator[Network]:
    for gain in (0.5, 0.8, 0.95):
        yield network("tanh", f"spectral radius {gain}", QUIET, changes.gaussian(gain))
    yield network("tanh", "spectral radius 1.5", noise(2.0, at="all"), changes.gaussian(1.5))


def preserving() -> Iterator[Network]:
    """Orthogonal and identity matrices: nothing is lost while the units are not saturated."""
    for hidden in (8, 16, 32, 64):
        yield network("tanh", "orthogonal", QUIET, changes.orthogonal(), hidden)
        yield network("relu", "identity", noise(0.1), changes.identity(), hidden)
    for hidden in (16, 64):
        quiet = noise(0.02, at="all")
        yield network("tanh", "orthogonal", quiet, changes.orthogonal(), hidden)
        yield network("relu", "identity", noise(at="all"), changes.identity(), hidden)
        yield network("relu", "0.98 identity", QUIET, changes.identity(0.98), hidden)
    yield network("tanh", "orthogonal", noise(), changes.orthogonal())
    yield network("tanh", "orthogonal", noise(0.002), changes.orthogonal(), layers=2)


def carrying_gates() -> Iterator[Network]:
    for cell in GATED:
        for value in (-3.0, 1.0, 2.0, 3.0, 4.0, 6.0):
            yield network(cell, f"carry bias {value:+g}", noise(), changes.carry_bias(value))
        for hidden in (8, 16, 64):
            task = noise(at="all")
            yield network(cell, "carry bias +5", task, changes.carry_bias(5.0), hidden)
        for longest in (50, 300, 1000):
            yield network(cell, f"chrono {longest}", noise(0.5), changes.chrono(longest))
        yield network(cell, "carry bias +6", noise(at="all"), changes.carry_bias(6.0), layers=2)
    for value in (-7.0, -4.0):
        change = changes.every(changes.carry_bias(6.0), changes.bias(value, "o"))
        yield network("LSTM", f"carry bias +6, output bias {value:g}", noise(), change)


def growing() -> Iterator[Network]:
    for scale in (1.05, 1.15, 1.3):
        yield network("relu", f"{scale} identity", noise(0.1), changes.identity(scale))
    yield network("relu", "1.15 identity", noise(0.1, at="all"), changes.identity(1.15), 64)
    yield network("relu", "1.2 identity", QUIET, changes.identity(1.2), layers=2)
    for scale in (1.1, 1.3):
        yield network("tanh", f"{scale} orthogonal", FAINT, changes.orthogonal(scale))
    for cell in GATED:
        for scale in (3.0, 4.0):
            change = changes.every(changes.times(0, 1), _no_bias(cell), changes.identity(scale))
            yield network(cell, f"candidate {scale:g} I", FAINT, change)


def chaos() -> Iterator[Network]:
    for gain in (2.0, 3.0, 4.0):
        for hidden in (32, 64):
            task = noise(0.1)
            yield network("tanh", f"gain {gain:g}", task, changes.gaussian(gain), hidden)
    for span, gain in ((10, 2.0), (10, 3.0), (5, 4.0)):
        task = noise(0.1, span=span, at="all")
        yield network("tanh", f"gain {gain:g}", task, changes.gaussian(gain), 64)
    for cell, scale in (("LSTM", 8.0), ("LSTM", 16.0), ("GRU", 8.0), ("GRU", 16.0)):
        yield network(cell, f"recurrent weights × {scale:g}", noise(0.1), changes.times(scale), 64)


def far_from_normal() -> Iterator[Network]:
    """The gradient grows first, whatever it does in the end."""
    for strength, own in ((0.6, 0.7), (0.9, 0.6), (1.2, 0.3), (0.5, 0.9)):
        for cell, task in (("tanh", noise(1e-4)), ("relu", noise(0.1))):
            cause = f"chain {strength} beside {own}"
            yield network(cell, cause, task, changes.chain(strength, own))
    for strength, own in ((20.0, 0.7), (20.0, 0.85), (20.0, 0.9), (40.0, 0.85), (40.0, 0.97)):
        for cell, task in (("tanh", noise(1e-4)), ("relu", noise(0.1))):
            cause = f"half of it reads the other, {strength:g} beside {own}"
            yield network(cell, cause, task, changes.feedforward(strength, own), 16)
    for cell, strength in (("LSTM", 100.0), ("GRU", 200.0)):
        for value in (0.0, 1.0):
            half = changes.feedforward(strength, 0.0)
            change = changes.every(_no_bias(cell), changes.carry_bias(value), half)
            cause = f"carry bias {value:+g}, half of it reads the other"
            yield network(cell, cause, FAINT, change)
            yield network(cell, cause, noise(1e-8, steps=40, span=15), change)


def bursts_of_input() -> Iterator[Network]:
    """Quiet steps at the end let the gradient grow; loud ones before them squash it."""
    for span in (30, 50):
        for gain in (2.0, 3.0):
            cause = f"gain {gain:g}"
            yield network("tanh", cause, bursts(0.1, 30.0, span=span), changes.gaussian(gain), 64)
        for cell in GATED:
            cause = "recurrent weights × 16"
            task = bursts(0.1, 100.0, span=span)
            yield network(cell, cause, task, changes.times(16.0), 32)


def saturation() -> Iterator[Network]:
    yield network("tanh", "6 identity", noise(), changes.identity(6.0))
    yield network("tanh", "bias 4", noise(), changes.bias(4.0), 16)
    yield network("tanh", "as torch makes it", noise(30.0), hidden=16)
    yield network("tanh", "input weights × 20", noise(at="all"), changes.times(1, 20), 64)
    yield network("tanh", "orthogonal", noise(20.0), changes.orthogonal())
    for cell in GATED:
        yield network(cell, "candidate bias 4", noise(), changes.bias(4.0))
        yield network(cell, "as torch makes it", noise(30.0))
    yield network("relu", "bias −5", noise(), changes.bias(-5.0))
    yield network("relu", "bias −20", noise(3.0), changes.bias(-20.0), 64)


def detached() -> Iterator[Network]:
    """The state is carried on, its gradient is not."""
    for cell, change in (
        ("tanh", changes.orthogonal()),
        ("relu", changes.identity()),
        ("LSTM", changes.carry_bias(5.0)),
        ("GRU", changes.carry_bias(5.0)),
    ):
        for window in (10, 25):
            yield network(cell, "preserving", QUIET, change, window=window)
        short = noise(0.02, span=8, at="all")
        yield network(cell, "preserving", short, change, window=40)
    yield network("LSTM", "as torch makes it", noise(at="all"), window=20)
    yield network("tanh", "gain 3", noise(0.1), changes.gaussian(3.0), 64, window=20)
    short = noise(0.1, span=8, at="all")
    yield network("tanh", "gain 3", short, changes.gaussian(3.0), 64, window=40)


def one_direction() -> Iterator[Network]:
    """A loss in many numbers, and one way back; beside it those that keep two ways or more."""
    many = noise(0.1, at="all", outputs=8)
    for hidden in (8, 16, 32, 64):
        at_last = noise(0.02, outputs=8)
        yield network("tanh", "rank one", at_last, changes.rank_one(1.0), hidden)
        change = changes.rank_one(1.0, positive=True)
        yield network("relu", "rank one", many, change, hidden)
    yield network("tanh", "rank one", noise(0.02), changes.rank_one(1.0))
    for cell in GATED:
        for count, hidden in ((1, 8), (1, 12), (1, 16), (2, 8), (4, 32)):
            cause = f"{count} of the carrying gates open"
            task = noise(0.5, at="all", outputs=8)
            yield network(cell, cause, task, changes.open_gates(count), hidden)
    yield network("tanh", "orthogonal", noise(0.02, outputs=8), changes.orthogonal())
    yield network("relu", "identity", many, changes.identity())
    yield network("tanh", "gain 2", many, changes.gaussian(2.0))
    for cell in GATED:
        task = noise(at="all", outputs=8)
        yield network(cell, "carry bias +5", task, changes.carry_bias(5.0))


def not_a_number() -> Iterator[Network]:
    nan, inf = math.nan, math.inf
    for cell in ("tanh", "LSTM", "GRU"):
        yield network(cell, "bad input", spoilt(noise(), nan))
    yield network("relu", "bad input", spoilt(noise(), inf))
    yield network("LSTM", "bad input", spoilt(noise(at="all"), inf))
    for cell, name in (("GRU", "weight_hh"), ("LSTM", "weight_ih"), ("tanh", "bias_hh")):
        yield network(cell, f"NaN in {name}", noise(), changes.entry(name, nan))
    yield network("tanh", "infinity in weight_hh", noise(), changes.entry("weight_hh", inf))
    yield network("relu", "30 identity", noise(), changes.identity(30.0))
    yield network("relu", "10 orthogonal", noise(), changes.orthogonal(10.0), 64)
    huge = noise(0.1, loss_scale=1e35)
    yield network("relu", "1.3 identity, loss × 1e35", huge, changes.identity(1.3))
    huge = noise(0.1, loss_scale=1e33)
    yield network("tanh", "gain 4, loss × 1e33", huge, changes.gaussian(4.0), 64)


def stacks() -> Iterator[Network]:
    """Two layers, taken jointly: what ails both of them."""
    two: dict[str, int] = {"layers": 2}
    yield network("tanh", "6 identity", noise(), changes.identity(6.0), **two)
    yield network("tanh", "gain 3", noise(0.1), changes.gaussian(3.0), 64, **two)
    yield network("LSTM", "carry bias −3", noise(at="all"), changes.carry_bias(-3.0), **two)
    for cell in GATED:
        task = noise(0.1, at="all", outputs=8)
        yield network(cell, "carry bias +5", task, changes.carry_bias(5.0), window=20, **two)
        short = noise(0.1, span=8, at="all", outputs=8)
        yield network(cell, "carry bias +3", short, changes.carry_bias(3.0), window=40, **two)
    yield network("GRU", "bad input", spoilt(noise(), math.nan), **two)
    yield network("relu", "30 identity", noise(), changes.identity(30.0), **two)
    yield network("tanh", "as torch makes it", noise(span=4, at="all", outputs=8), **two)


def _no_bias(cell: str) -> Change:
    return changes.every(*(changes.bias(0.0, gate) for gate in changes.GATES[cell]))


FAMILIES = (
    as_torch_makes_them,
    radii,
    preserving,
    carrying_gates,
    growing,
    chaos,
    far_from_normal,
    bursts_of_input,
    saturation,
    detached,
    one_direction,
    not_a_number,
    stacks,
)

UNTRAINED = tuple(one for family in FAMILIES for one in family())
