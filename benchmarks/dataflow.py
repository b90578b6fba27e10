"""Recurrences written as loops in Python, found with no mark: what it costs to record them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

import throughtime as tt
from benchmarks.networks import Size
from benchmarks.tables import Table, at_most, milliseconds
from benchmarks.timing import interleaved, ratio, total
from throughtime.problem import seeded

SIZES = (Size(100, 16, 64), Size(100, 64, 256), Size(100, 64, 512))
BAR, ROUNDS = 2.0, 9


class Gru(nn.Module):
    """A GRU as people write it, with a loss at every step."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.inputs, self.states = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, 3 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], x.shape[2])
        out = []
        for step in x:
            ri, zi, ni = self.inputs(step).chunk(3, -1)
            rh, zh, nh = self.states(h).chunk(3, -1)
            update = torch.sigmoid(zi + zh)
            new = torch.tanh(ni + torch.sigmoid(ri + rh) * nh)
            h = update * h + (1 - update) * new
            out.append(h)
        return torch.stack(out)


def measure(sizes: Sequence[Size] = SIZES, rounds: int = ROUNDS) -> Table:
    """A captured training step of the loop, up to its trace, beside a plain one."""
    return Table(
        "Loops found by their data flow",
        "A GRU written by hand, float32: a training step; the same in `tt.capture`, and its trace, "
        "verified. "
        f"Medians of at most {rounds} interleaved rounds, quartiles of the ratio in brackets.",
        ("size", "plain step ms", "captured ms", "plain steps", "bar"),
        tuple(_row(size, rounds) for size in sizes),
        "The recorder sees each torch call in Python, and the trace asks autograd for the step of "
        "every state: small steps pay most.",
    )


def _row(size: Size, rounds: int) -> tuple[str, ...]:
    with seeded(0):
        model = Gru(size.hidden)
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(size.steps, size.batch, size.hidden, generator=draw)

    def step(*_: object) -> None:
        model.zero_grad()
        model(inputs).square().mean().backward()

    def captured(*_: object) -> tt.Trace:
        with tt.capture(model) as run:
            step()
        return run.trace

    laps = interleaved({"plain": (step,), "captured": (captured,)}, rounds)
    plain, looked = total(laps["plain"]), total(laps["captured"])
    found = ratio(looked, plain)
    return (str(size), milliseconds(plain), milliseconds(looked), str(found), at_most(BAR, found))
