"""Packages whose recurrences are loops in Python, from ``benchmarks/models/loops``."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.models.loops import Build, rows
from benchmarks.models.model import Pair, PublicModel

# Of those that run more than one recurrence.
_LAYERS = {
    "SCRN": 2,  # its slow state reads nothing but itself
    "Synaptic": 2,  # the current reads nothing but itself
    "LIF and IF": 2,
    "PLIF and LIF": 2,
    "DPGRU, 2 layers": 2,
    "quantizable LSTM, 2 layers": 2,
}


def _seeded(build: Build) -> Pair:
    torch.manual_seed(0)
    return build()


MODELS = [
    PublicModel(package, name, partial(_seeded, build), _LAYERS.get(name, 1))
    for package, name, build in rows()
]
