"""A diagnosis from a seed, and from several: does the verdict hang on the draw?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from throughtime.findings import Diagnosis


def diagnosed_by_seed(
    diagnose: Callable[[int], Diagnosis], seed: int, draws: int | None
) -> Diagnosis:
    """The diagnosis of the first of so many seeds, or of the first that is not healthy.

    Each sees Python's, NumPy's and torch's random numbers from its seed alone. ``run`` tells the
    seed and, where there are several, the verdict of each.

    Args:
        diagnose: called with each seed.
        seed: the first one.
        draws: how many; None for one, of which nothing is said.
    """
    found = {one: _drawn(diagnose, one) for one in range(seed, seed + (draws or 1))}
    unhealthy = [one for one, diagnosis in found.items() if diagnosis.verdict != "healthy"]
    shown = unhealthy[0] if unhealthy else seed
    diagnosis = found[shown]
    run = {"source": diagnosis.run.get("source"), "seed": shown}
    if draws is not None:
        verdicts = {str(one): diagnosis.verdict for one, diagnosis in found.items()}
        run["verdict_by_seed"] = verdicts
        diagnosis = replace(diagnosis, notes=(_note(verdicts), *diagnosis.notes))
    return replace(diagnosis, run={**run, **diagnosis.run})


def _drawn(diagnose: Callable[[int], Diagnosis], seed: int) -> Diagnosis:
    from throughtime.randomness import randomness, seed_everything

    with randomness(seed):
        seed_everything(seed)  # on every device as well: a file chooses its own
        return diagnose(seed)


def _note(verdicts: Mapping[str, str]) -> str:
    by_verdict: dict[str, list[str]] = {}
    for seed, verdict in verdicts.items():
        by_verdict.setdefault(verdict, []).append(seed)
    if len(by_verdict) == 1:
        number = "1 seed" if len(verdicts) == 1 else f"all {len(verdicts)} seeds"
        return f"The verdict is {next(iter(by_verdict))} for {number}."
    parts = [
        f"{verdict} with seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"
        for verdict, seeds in by_verdict.items()
    ]
    return f"The verdict depends on the random draw: {'; '.join(parts)}."
