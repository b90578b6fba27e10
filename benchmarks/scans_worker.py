"""A process of its own: one layer with a scan over a long sequence, its time and its peak memory.

python -m benchmarks.scans_worker NAME T MIB   prints seconds and bytes, as JSON
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import throughtime as tt
from benchmarks.scans import ANCHORS, MIB
from benchmarks.worker import forget_peak, peak, resident

WIDTH = 32


def layer_of(name: str) -> nn.Module:
    """The layer that a row names, from (B T D) to (B T D)."""
    torch.manual_seed(0)
    if name == "Mamba":
        from mambapy.mamba import MambaBlock, MambaConfig

        return MambaBlock(MambaConfig(d_model=WIDTH, n_layers=1, d_state=8))
    from benchmarks.modern.mixers import all_mixers

    wanted = {"Mamba-2 (SSD)": "Mamba-2", "gated delta rule": "gated DeltaNet"}[name]
    return all_mixers()[wanted].make()[0]


def main(name: str, steps: int, budget: int) -> dict[str, float]:
    """Every figure of one row."""
    layer, found = layer_of(name), {}
    x = torch.randn(1, steps, WIDTH, generator=torch.Generator().manual_seed(1))

    def step(inputs: Tensor = x) -> None:
        layer.zero_grad()
        layer(inputs).square().mean().backward()

    def captured() -> tt.capture:
        with tt.capture(layer, memory=budget * MIB) as run:
            step()
        return run

    step(x[:, :256])
    found["plain"], _, _ = _timed(step)
    found["captured"], run, _ = _timed(captured)
    found["trace"], trace, found["making"] = _timed(lambda: run.trace)
    found["gains"], _, found["sweeping"] = _timed(
        lambda: tt.measures.gains(trace[0], anchors=ANCHORS)
    )
    found["tensor"] = trace[0].states.numel() * 4
    return found


def _timed(work: Callable[[], Any]) -> tuple[float, Any, int]:
    """Seconds, the result, and the most bytes beyond those held before."""
    before = resident()
    forget_peak()
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result, peak() - before


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
