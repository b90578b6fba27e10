"""What a user's code does to the outside while it runs in here: nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from throughtime.problem import seeded


@contextmanager
def undisturbed(model: nn.Module | None = None, seed: int = 0) -> Iterator[None]:
    """Draw from ``seed`` inside: torch, numpy's global generator, Python's ``random``.

    Their states are as they were afterwards, on the CPU and on the devices of the model.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  — users draw from it
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  — users draw from it
        with seeded(seed, model):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002  — users draw from it


@contextmanager
def kept(model: nn.Module) -> Iterator[None]:
    """Put back ``.grad`` and buffers: a loss or a ``backward`` of a user's may know this model."""
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        for parameter, _ in gradients:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
