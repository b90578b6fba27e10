"""Scans: a lag profile of one layer, in plain training steps; and memory over long sequences."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

import throughtime as tt
from benchmarks.tables import Table, at_most, milliseconds
from benchmarks.timing import Stage, interleaved, last, ratio, total

ROOT = Path(__file__).parent.parent
STEPS, ROUNDS, ANCHORS, BAR = 1024, 7, 48, 3.0
FAMILIES = {"mamba": "Mamba", "mamba2": "Mamba-2 (SSD)", "olmo_hybrid": "gated delta rule"}
HEADER = (
    "model",
    "plain step ms",
    "capture, backward, trace",
    "gain by lag of a layer",
    "all of it",
    "bar",
)
LONG, BUDGETS, MIB = 16_384, (512, 64), 2**20  # steps, MiB
SCANS = {"Mamba": "mambapy", "Mamba-2 (SSD)": "transformers", "gated delta rule": "transformers"}


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
        "backward); the captured step is one of them.",
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
    profile, whole = ratio(last(laps["seen"]), plain), ratio(total(laps["seen"]), plain)
    return (
        FAMILIES[family],
        milliseconds(plain),
        str(captured),
        str(profile),
        str(whole),
        at_most(BAR, whole),
    )


def _plain(model: nn.Module, closure: Callable[[], Tensor]) -> None:
    model.zero_grad()
    closure().backward()


def _seen(model: nn.Module, closure: Callable[[], Tensor]) -> tt.Trace:
    model.zero_grad()
    with tt.capture(model) as run:
        closure().backward()
    return run.trace


def measure_long(steps: int = LONG, budgets: tuple[int, ...] = BUDGETS) -> Table:
    """Time and memory of a captured step, its trace and a lag profile, each in a fresh process."""
    rows = []
    for name, package in SCANS.items():
        if importlib.util.find_spec(package) is None:
            continue
        for budget in budgets:
            found = run(name, steps, budget)
            seconds = [f"{found[key]:.1f}" for key in ("plain", "captured", "trace", "gains")]
            peaks = [f"{found[key] / MIB:.0f}" for key in ("making", "sweeping", "tensor")]
            rows.append((name, f"{budget}", *seconds, *peaks))
    return Table(
        "Scans over long sequences",
        f"One layer with a tiny configuration, T={steps:,}, B=1, float32, a loss at every step. "
        "Seconds of a plain step, a captured one, of making the trace, and of the gain by lag from "
        f"{ANCHORS} loss steps. Peak memory in MiB beyond what the process held before: of making "
        "the trace, and of the gain; and the size of one tensor (T B S), of which the trace has "
        "three. Every row is a fresh process.",
        (
            "layer",
            "memory= MiB",
            "plain step s",
            "captured step s",
            "trace s",
            "gain by lag s",
            "making the trace MiB",
            "gain by lag MiB",
            "one tensor MiB",
        ),
        tuple(rows),
        "`memory` bounds what is linearised at a time and, once more, the tensors that are kept."
        if rows
        else "Neither mambapy nor transformers is installed.",
    )


def run(name: str, steps: int, budget: int) -> dict[str, float]:
    """What ``benchmarks.scans_worker`` measures, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scans_worker", name, str(steps), str(budget)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
