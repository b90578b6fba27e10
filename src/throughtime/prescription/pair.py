"""A model and a closure that gives its loss, as a ``Problem``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat

from torch import Tensor, nn

from throughtime.problem import Problem


def from_pair(
    model: nn.Module, closure: Callable[[], Tensor], span: int, name: str = "the model"
) -> Problem:
    """A problem whose loss is that of the closure, for ``prescribe``.

    The closure holds its own model, and so a copy of the problem would still run that one: make the
    pair anew for every remedy, ``prescribe(lambda: from_pair(*build(), span=200))``. How it is
    trained is not known: Adam with a learning rate of 1e-3 takes the few updates, without clipping.

    Args:
        model: what is treated.
        closure: runs it on a batch and returns the loss.
        span: how many steps back the task needs to see.
        name: what messages call it.
    """
    return Problem(
        name=name,
        model=model,
        batches=lambda _seed: repeat(None),
        loss=lambda _model, _batch: closure(),
        span=span,
        clip=None,
    )
