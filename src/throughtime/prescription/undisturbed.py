"""``undisturbed``: whatever a user's code draws inside, nobody outside can tell."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from torch import nn

from throughtime.problem import seeded


@contextmanager
def undisturbed(model: nn.Module | None = None, seed: int = 0) -> Iterator[None]:
    """Draw from ``seed`` inside: torch, numpy's global generator, Python's ``random``.

    Their states are as they were afterwards, on the CPU and on the devices of
    the model.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  — users draw from it
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        with seeded(seed, model):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
