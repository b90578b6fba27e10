"""Opacus: recurrent layers with gradients per sample."""

from __future__ import annotations

from opacus.layers import DPGRU, DPLSTM, DPRNN

from benchmarks.models.loops import Build, H, I, over

ROWS: dict[str, Build] = {
    "DPRNN": lambda: over(DPRNN(I, H, batch_first=True)),
    "DPLSTM": lambda: over(DPLSTM(I, H, batch_first=True)),
    "DPGRU, 2 layers": lambda: over(DPGRU(I, H, 2, batch_first=True)),
}
