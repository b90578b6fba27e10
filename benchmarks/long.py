"""Long sequences: time and memory of a captured step, as T grows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.networks import Size
from benchmarks.tables import Table

ROOT = Path(__file__).parent.parent
MIB = 2**20
SIZES = (Size(100, 4, 64), Size(1000, 4, 64), Size(10_000, 4, 64))
BUDGETS = (512 * MIB, 32 * MIB)  # the first is the default of tt.capture


def measure(sizes: tuple[Size, ...] = SIZES) -> Table:
    """Each run in a fresh process, which alone knows its own peak memory."""
    rows: list[tuple[str, ...]] = []
    for size in sizes:
        plain = run(size, None)
        rows.append((str(size.steps), "plain step", *_cells(size, plain), "", ""))
        result = 3 * size.steps * size.batch * 2 * size.hidden * 4 / MIB
        for budget in BUDGETS:
            found = run(size, budget)
            name = f"captured, memory={budget // MIB} MiB"
            making = f"{found['trace'] / MIB:.0f}"
            rows.append(("", name, *_cells(size, found), making, f"{result:.0f}"))
    return Table(
        "Long sequences",
        f"nn.LSTM, B={sizes[0].batch}, H={sizes[0].hidden}, float32: a training step, and one that "
        "is captured and made into a trace. Every row is a fresh process, the median of 3 runs. "
        "Peak memory is resident memory beyond what the process held before.",
        (
            "T",
            "step",
            "ms",
            "µs per time step",
            "peak MiB",
            "making the trace MiB",
            "the result MiB",
        ),
        tuple(rows),
        "`memory` bounds the linearised recurrence, not the result: 3 tensors (T B S), the states, "
        "their direct and their total gradients.",
    )


def run(size: Size, memory: int | None, repeat: int = 3) -> dict[str, float]:
    """Seconds and peak bytes of a step; captured with that budget, or plain if it is None."""
    sizes = map(str, (size.steps, size.batch, size.hidden))
    command = [sys.executable, "-m", "benchmarks.worker", "long", *sizes, "--repeat", str(repeat)]
    if memory is not None:
        command += ["--memory", str(memory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{size}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _cells(size: Size, found: dict[str, float]) -> tuple[str, str, str]:
    return (
        f"{1e3 * found['seconds']:.1f}",
        f"{1e6 * found['seconds'] / size.steps:.0f}",
        f"{found['peak'] / MIB:.0f}",
    )
