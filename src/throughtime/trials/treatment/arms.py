"""The arms of a treatment, compared seed by seed with the untreated one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from throughtime.trials.treatment.result import Arm, End, end_of, largest_loss
from throughtime.trials.treatment.statistics import Comparison, compare

Result = Mapping[str, Any]

HELD_OUT, CLOSING = "held-out loss", "training loss at the end"


def compared(remedies: Sequence[str], results: Sequence[Sequence[Result]]) -> tuple[Arm, ...]:
    """The arms with their comparisons, corrected for all of them together.

    An arm without all its results is not compared: what diverged is a result, the worst of all.

    Args:
        remedies: the untreated arm first.
        results: of each arm, in the order of the seeds; each has its ``seed``.
    """
    worst = largest_loss([result for arm in results for result in arm])
    arms = [
        Arm(remedy, tuple(end_of(result["seed"], result) for result in found))
        for remedy, found in zip(remedies, results, strict=True)
    ]
    places = [n for n, arm in enumerate(arms) if n and arm.is_complete and arms[0].is_complete]
    if not places:
        return tuple(arms)
    pairs = 1 if is_one_training(results[0]) else len(results[0])

    def comparisons(outcome: Callable[[End], float], better: int) -> list[Comparison]:
        before = [outcome(end) for end in arms[0].ends[:pairs]]
        after = [[outcome(end) for end in arms[n].ends[:pairs]] for n in places]
        changes = [[b - a for a, b in zip(before, arm, strict=True)] for arm in after]
        return compare(changes, better)

    for n, change in zip(places, comparisons(lambda end: min(end.loss, worst), -1), strict=True):
        arms[n] = replace(arms[n], loss_change=change)
    if all(end.solved is not None for end in arms[0].ends):
        gains = comparisons(lambda end: float(bool(end.solved)), +1)
        for n, gain in zip(places, gains, strict=True):
            arms[n] = replace(arms[n], solved_gain=gain)
    return tuple(arms)


def is_one_training(untreated: Sequence[Result]) -> bool:
    """Whether several seeds gave one and the same training: seeds without a meaning."""
    curves = [result.get("curve") for result in untreated]
    return len(curves) > 1 and bool(curves[0]) and all(curve == curves[0] for curve in curves)


def loss_name(results: Sequence[Sequence[Result]]) -> str:
    """What ``End.loss`` is in these trials."""
    held_out = any("loss" in result.get("scores", {}) for arm in results for result in arm)
    return HELD_OUT if held_out else CLOSING
