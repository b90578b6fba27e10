"""The verdict in words that a student understands."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from throughtime.diagnosis.reach import Reach
from throughtime.findings import Finding


def sentence(found: Reach, walls: Sequence[int] = ()) -> str:
    """One or two sentences: how far the gradient reaches, and what that means for learning."""
    if found.verdict == "non-finite":
        return "A state or a gradient is NaN or infinite: no gain can be read from it."
    if found.horizon is None:
        return "The capture holds no sequence with a loss: there is no gain to read."
    if found.longest == 0:
        return "The capture holds a single step: there is no earlier state to send a gradient to."
    if found.verdict == "vanishing":
        return _vanishing(found, walls)
    if found.verdict == "exploding":
        return (
            f"The gradient grows {_pace(found.rate, 'tenfold')} on its way back"
            f"{_at_span(found)}: one such step can throw the weights far away, or to NaN."
        )
    reached = min(found.horizon, found.span)
    if found.extrapolated:
        return (
            f"The gradient still counts after all {_steps(found.longest)} of the capture, and at "
            f"its rate it would after {found.span} too: capture a sequence that long to be sure."
        )
    return f"The gradient still counts after {_steps(reached)}, as far back as was asked for."


def _vanishing(found: Reach, walls: Sequence[int]) -> str:
    assert found.horizon is not None
    if walls and found.cut:
        return (
            f"The gradient stops at the wall where the state was detached, {_steps(found.horizon)} "
            f"back, and the task needs {found.span}: nothing before the wall moves the weights."
        )
    return (
        f"The gradient shrinks {_pace(found.rate, 'to a tenth')} on its way back: {_left(found)}, "
        f"and the task needs {found.span}{_beyond(found)}. What was read before hardly moves the "
        "weights."
    )


def _left(found: Reach) -> str:
    """What is left of the gradient beyond the horizon."""
    assert found.horizon is not None
    if found.horizon == found.longest:
        return f"all {_steps(found.longest)} of the capture are too few to see it die"
    if found.cut:
        return f"more than {_steps(found.horizon)} back nothing of it is left"
    return f"more than {_steps(found.horizon)} back less than 1 % of it is left"


def _beyond(found: Reach) -> str:
    return " (more than was captured)" if found.extrapolated else ""


def _pace(rate: float | None, tenfold: str) -> str:
    if rate is None or abs(rate) < 1e-6:
        return "at once"
    steps = 1 / abs(rate)
    return f"{tenfold} every {steps:.1f} steps" if steps < 1e4 else "slowly"


def _at_span(found: Reach) -> str:
    if found.gain_at_span is None:
        return ""
    return f", by 10^{found.gain_at_span:.1f} over {_steps(found.span)}{_beyond(found)}"


def _steps(number: int) -> str:
    return f"{number} step" if number == 1 else f"{number} steps"


def truncated(name: str, walls: Sequence[int], steps: int, span: int) -> Finding:
    """Truncated BPTT: the state was detached, and no gradient crosses."""
    window = max(b - a for a, b in pairwise([0, *walls, steps]))
    text = (
        f"The state of {name!r} is detached before step {walls[0]}"
        + (f" and {len(walls) - 1} more times" if len(walls) > 1 else "")
        + f": the longest window is {_steps(window)}, and no gradient crosses it."
    )
    evidence = {"walls": list(walls[:100]), "window_steps": window, "span_steps": span}
    return Finding("truncated", name, text, evidence)
