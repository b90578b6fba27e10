"""``observe``: one forward and backward pass of a closure, and the model as it was before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from throughtime.capture.session import capture
from throughtime.errors import InputError, NoGradientError
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
        InputError: if the closure neither called ``backward()`` nor returned a scalar tensor.
            Otherwise as ``capture``.
    """
    limits = {} if memory is None else {"memory": memory}
    with _as_it_was(model), capture(model, lengths=lengths, **limits) as run:
        loss = closure()
        if not run.backwards:
            _backward(loss)
    return run.trace


def _backward(loss: object) -> None:
    if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.is_complex():
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise InputError(
            f"the closure must return the loss, one real number as a tensor, and returned {got}"
        )
    try:
        loss.backward()
    except NoGradientError:
        raise  # the capture knows which layer, and why
    except RuntimeError:
        if loss.requires_grad:
            raise
        # No recurrent layer ran at all, and the trace will say so.


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
