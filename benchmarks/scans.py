"""Scans: the gain by lag of one layer against a plain training step of the same model."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from torch import Tensor, nn

import throughtime as tt
from benchmarks.tables import Table, at_most, milliseconds
from benchmarks.timing import Stage, interleaved, last, ratio, total

STEPS, ROUNDS, ANCHORS, BAR = 1024, 7, 48, 3.0
FAMILIES = {"mamba": "Mamba", "mamba2": "Mamba-2 (SSD)", "olmo_hybrid": "gated delta rule"}
HEADER = ("model", "plain step ms", "capture, backward, trace", "gain by lag of a layer", "bar")


def measure(steps: int = STEPS, rounds: int = ROUNDS) -> Table:
    """How long a captured step and a lag profile take, in plain training steps."""
    rows: list[tuple[str, ...]] = []
    if importlib.util.find_spec("transformers") is not None:
        rows = [_row(family, steps, rounds) for family in FAMILIES]
    return Table(
        "Scans",
        f"Families of transformers with tiny configurations, unchanged, T={steps}, B=2, float32, "
        f"on its reference implementations; a loss at every step, {ANCHORS} of them followed. "
        f"Medians of at most {rounds} interleaved rounds, in plain training steps (forward and "
        "backward).",
        HEADER,
        tuple(rows),
        "" if rows else "transformers is not installed.",
    )


def _row(family: str, steps: int, rounds: int) -> tuple[str, ...]:
    from benchmarks.models.packages.of_transformers import built

    model, closure = built(family, steps)

    def profiled(trace: tt.Trace) -> object:
        return tt.measures.gains(trace[0], anchors=ANCHORS)

    ways: dict[str, tuple[Stage, ...]] = {
        "plain": (lambda: _plain(model, closure),),
        "seen": (lambda: _seen(model, closure), profiled),
    }
    laps = interleaved(ways, rounds)
    plain = total(laps["plain"])
    captured = ratio([stages[0] for stages in laps["seen"]], plain)
    profile = ratio(last(laps["seen"]), plain)
    return (
        FAMILIES[family],
        milliseconds(plain),
        str(captured),
        str(profile),
        at_most(BAR, profile),
    )


def _plain(model: nn.Module, closure: Callable[[], Tensor]) -> None:
    model.zero_grad()
    closure().backward()


def _seen(model: nn.Module, closure: Callable[[], Tensor]) -> tt.Trace:
    model.zero_grad()
    with tt.capture(model) as run:
        closure().backward()
    return run.trace
