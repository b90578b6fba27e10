"""All plantings, in a fixed order: the number of one is the seed of its model."""

from __future__ import annotations

from benchmarks.plantings import around, layers, loops
from benchmarks.plantings.planting import Planting

SUITE: tuple[Planting, ...] = (
    *layers.plantings(),
    *loops.plantings(),
    *around.plantings(),
)
