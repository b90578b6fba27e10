"""``assert_reaches``: the reach of a model's gradient as a test in the user's own suite."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from throughtime.capture import observe
from throughtime.capture.lengths import Lengths
from throughtime.diagnosis import diagnose
from throughtime.errors import ReachError
from throughtime.findings import Diagnosis


def assert_reaches(
    model: nn.Module,
    closure: Callable[[], Tensor],
    span: int,
    *,
    lengths: Lengths | None = None,
) -> Diagnosis:
    """Pass if the gradient of ``closure()`` reaches ``span`` steps back in ``model``.

    The sequence must be longer than the span: what was not captured cannot be asserted. The model
    keeps its gradients, buffers and random state.

    Args:
        model: the model that the closure runs.
        closure: runs it and returns the scalar loss.
        span: steps back, at least 1.
        lengths: as for ``capture``.

    Returns:
        The diagnosis, which is healthy.

    Raises:
        ReachError: (an ``AssertionError``) if the gradient vanishes, explodes or is not finite
            within the span, or the captured sequence is too short to tell.
        InputError, NoGradientError, NothingRecordedError: as ``capture``.
    """
    trace = observe(model, closure, lengths=lengths)
    found = diagnose(trace, span)
    if found.verdict != "healthy":
        raise ReachError(f"the gradient does not reach {span} steps back: {found}")
    longest = max(layer.steps for layer in trace) - 1
    if longest < span:
        raise ReachError(
            f"the captured sequence has {longest + 1} steps, so that no lag of {span} is in it: "
            f"use a sequence of at least {span + 1} steps"
        )
    return found
