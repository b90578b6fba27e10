"""``assert_reaches``: the reach of a model's gradient as a test in the user's own suite."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from throughtime.diagnosis import diagnose, diagnose_inputs
from throughtime.errors import NoGradientError, NothingRecordedError, ReachError, counted
from throughtime.findings import Diagnosis
from throughtime.problem import checked_pair
from throughtime.recording import observe
from throughtime.recording.lengths import Lengths
from throughtime.trace import Trace
from throughtime.typed import checked_span


def assert_reaches(
    model: nn.Module,
    closure: Callable[[], Tensor],
    span: int,
    *,
    lengths: Lengths | None = None,
) -> Diagnosis:
    """Pass if the gradient of ``closure()`` reaches ``span`` steps back in ``model``.

    The sequence must be longer than the span: what was not captured cannot be asserted. A model in
    which no recurrence is recorded is judged by the gain at its inputs, and says so. The model
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
            within the span; or, beginning with "cannot tell", if it is not known: no gradient, a
            check that failed, or a layer whose longest measured lag is below the span.
        InputError, NothingRecordedError: as ``capture``.
    """
    checked_pair("assert_reaches", model, closure)
    span = checked_span(span, "assert_reaches")
    trace: Trace | None
    try:
        trace = observe(model, closure, lengths=lengths)
    except NoGradientError as error:
        raise ReachError(f"cannot tell: {error}") from error
    except NothingRecordedError as error:
        trace, found = None, diagnose_inputs(error, model, closure, span)
    else:
        found = diagnose(trace, span)
    if found.verdict == "unknown":
        raise ReachError(f"cannot tell: {found}")
    if found.verdict != "healthy":
        raise ReachError(f"the gradient does not reach {counted(span, 'step')} back: {found}")
    for layer in trace or ():
        longest = layer.longest_lag()
        if layer.steps > 1 and longest < span:
            raise ReachError(
                f"cannot tell: the longest lag that was measured of layer {layer.name!r} is "
                f"{longest}: use a sequence of at least {span + 1} steps, with a loss at its end"
            )
    return found
