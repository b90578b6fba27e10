"""Why a case was not repaired, from what was measured: each failure in one sentence."""

from __future__ import annotations

from benchmarks.repair.results import Outcome
from benchmarks.repair.table import Record

REACHES = -2.0  # log10 of the gain at the span: 1 %, as in the diagnosis


def explanation(outcome: Outcome) -> str:
    """What each of the first three did, and whether a later one succeeds."""
    if not outcome.choices:
        return "nothing was prescribed"
    told = [of_one(outcome, remedy) for remedy in outcome.choices]
    later = [one for one in outcome.trainings if one not in (*outcome.choices, "none")]
    solving = [
        f"{one} (ranked {outcome.ranking.index(one) + 1})"
        for one in outcome.ranking
        if one in later and outcome.repairs(one)
    ]
    if solving:
        told.append(f"further down {', '.join(solving)} solved it")
    elif later:
        told.append(f"none of {len(later)} others that were tried solved it")
    return "; ".join(told)


def of_one(outcome: Outcome, remedy: str) -> str:
    """What one remedy did to a case that it did not repair."""
    trained, solved = outcome.trainings[remedy], outcome.solved(remedy)
    if solved:
        return f"{remedy} solved {solved} of {len(trained)} repeats"
    return f"{remedy}: {_course(trained[0], outcome)}"


def _course(one: Record, outcome: Outcome) -> str:
    """What one failed training did."""
    if one["status"] == "refused":
        return f"refused ({one['reason']})"
    if one["status"] == "diverged":
        return f"diverged at update {one['updates'] + 1}"
    before, after = one["gains"][0], one["gains"][-1]
    span = outcome.prescription["span"]
    if before is None or before < REACHES:
        how = f"its gradient reached {one['horizons'][0]} of {span} steps"
    elif after is None or after < REACHES:
        how = "its gradient reached the span at first, and no longer at the end"
    else:
        how = "its gradient reached the span, and it did not learn in the budget"
    return f"{how} ({one['score']:.3g}, where solved is {outcome.prescription['criterion']})"
