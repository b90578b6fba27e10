"""``observe``: one forward and backward pass of a closure, and the model as it was before."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from throughtime.errors import NoGradientError
from throughtime.problem import as_loss, checked_pair
from throughtime.randomness import undisturbed
from throughtime.recording.lengths import Lengths
from throughtime.recording.session import capture
from throughtime.trace import Trace


def observe(
    model: nn.Module,
    closure: Callable[[], Tensor],
    *,
    lengths: Lengths | None = None,
    memory: int | None = None,
) -> Trace:
    """Capture one call of ``closure`` and leave no mark on the model, nor on the random state.

    Gradients, buffers, plain attributes, parameters, the modules' training mode, and the random
    states of torch, Python and NumPy are as they were afterwards.

    Args:
        model: the model that the closure runs.
        closure: runs it and returns the scalar loss; it may call ``backward()`` itself.
        lengths: as for ``capture``.
        memory: as for ``capture``.

    Raises:
        InputError: if the closure is no function without arguments, or neither called
            ``backward()`` nor returned the loss: a scalar tensor, or a tuple, dictionary or object
            that holds it first, under ``"loss"`` or as ``.loss``.
            Otherwise as ``capture``.
    """
    checked_pair("observe", model, closure)
    limits = {} if memory is None else {"memory": memory}
    with undisturbed(model), capture(model, lengths=lengths, **limits) as run:
        try:
            run.look_ahead()
            loss = closure()
            if not run.backwards:
                _backward(loss)
        finally:
            run.put_back()
    return run.trace


def _backward(loss: object) -> None:
    found = as_loss(loss, "the closure")
    try:
        found.backward()
    except NoGradientError:
        raise  # the capture knows which layer, and why
    except RuntimeError:
        if found.requires_grad:
            raise
        # No recurrent layer ran at all, and the trace will say so.
