"""The rate of the lag matrix: the products that it is made of, against the machine's peak."""

from __future__ import annotations

import torch

import throughtime as tt
from benchmarks.networks import Size, Task
from benchmarks.peak import peak
from benchmarks.tables import Table, milliseconds
from benchmarks.timing import Spread, Stage, interleaved, total

SIZES = (Size(256, 16, 128), Size(256, 16, 256))
KINDS = {"RNN": 1, "LSTM": 4, "GRU": 3}
"""Blocks of W_hh, each (H H)."""
ROUNDS = 9
BAR = 0.6

HEADER = ("layer", "T, B, H", "ms", "GFLOP", "GFLOP/s", "share of peak", "bar")


def measure(sizes: tuple[Size, ...] = SIZES, rounds: int = ROUNDS) -> Table:
    """Which share of its peak the machine reaches while it makes a lag matrix."""
    names = {f"{kind}{size}": (kind, size) for size in sizes for kind in KINDS}
    peaks: list[float] = []
    stages: dict[str, tuple[Stage, ...]] = {name: (_sweep(*one),) for name, one in names.items()}
    laps = interleaved(
        {"peak": (lambda: peaks.append(peak(torch.float32)),), **stages}, rounds, warm_up=1
    )
    best = max(peaks)
    rows = []
    for name, (kind, size) in names.items():
        seconds = total(laps[name])
        share = Spread.of([flop(kind, size) / one / best for one in seconds])
        rows.append((
            f"nn.{kind}", str(size), milliseconds(seconds), f"{flop(kind, size) / 1e9:.1f}",
            f"{share.median * best / 1e9:.0f}", percent(share), bar(share),
        ))  # fmt: skip
    return Table(
        "The rate of the lag matrix",
        "float32, a loss at every step, every anchor swept to the first step, weights and inputs "
        "as torch draws them; the sweep alone, from the trace to the matrix. GFLOP counts the "
        "products with W_hh and nothing else: 2 · B · H² for every gate, anchor t and step k < t. "
        f"Medians of at most {rounds} interleaved rounds, quartiles of the share in brackets.",
        HEADER,
        tuple(rows),
        f"The peak is the best rate of a large product, measured in every round: {best / 1e9:.0f} "
        "GFLOP/s, the highest that was seen.",
    )


def flop(kind: str, size: Size) -> float:
    """Of the products with W_hh: every row of the tall matrix, once at each step behind it."""
    rows = size.batch * size.steps * (size.steps - 1) / 2
    return rows * 2 * KINDS[kind] * size.hidden**2


def _sweep(kind: str, size: Size) -> Stage:
    task = Task.make(kind, size)
    with tt.capture(task.model) as run:
        task.step()
    trace, anchors = run.trace, list(range(size.steps))
    return lambda: tt.measures.lags(trace, anchors=anchors)


def percent(share: Spread) -> str:
    return f"{100 * share.median:.0f} % ({100 * share.low:.0f} to {100 * share.high:.0f})"


def bar(share: Spread) -> str:
    return f"at least {100 * BAR:.0f} %: {'held' if share.median >= BAR else 'MISSED'}"
