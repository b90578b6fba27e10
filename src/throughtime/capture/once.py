"""``observe``: one forward and backward pass of a closure, and the model as it was before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from throughtime.capture.session import capture
from throughtime.errors import InputError
from throughtime.trace import Trace


def observe(
    model: nn.Module,
    closure: Callable[[], Tensor],
    *,
    lengths: Sequence[int] | Tensor | None = None,
    memory: int | None = None,
) -> Trace:
    """Capture one call of ``closure`` and leave no mark: gradients, buffers, random state restored.

    Args:
        model: the model that the closure runs.
        closure: runs it and returns the scalar loss; it may call ``backward()`` itself.
        lengths: as for ``capture``.
        memory: as for ``capture``.

    Raises:
        InputError: if the closure does not return a scalar tensor. Otherwise as ``capture``.
    """
    limits = {} if memory is None else {"memory": memory}
    with _as_it_was(model), capture(model, lengths=lengths, **limits) as run:
        loss = closure()
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shape = (
                f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            )
            raise InputError(
                f"the closure must return the loss, a scalar tensor, and returned {shape}"
            )
        if not run.backwards and loss.requires_grad:
            loss.backward()
    return run.trace


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Put back ``.grad``, buffers and random state, whatever happens in between."""
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = sorted({p.device.index for p, _ in gradients if p.device.type == "cuda"})
    with torch.random.fork_rng(devices):
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
