"""docs/choosing.md: remedy × disease, from the same trainings."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.repair.learning import NONE
from benchmarks.repair.page import belonging
from benchmarks.repair.results import Outcome, replaces
from benchmarks.tables import Table

FEW = 3  # trainings that a recommendation needs
ENOUGH = 8  # trainings that a row of the tables needs


def text(found: Sequence[Outcome]) -> str:
    """The whole page."""
    sick, _ = belonging(found)
    diseases = list(dict.fromkeys(one.case.disease for one in sick))
    tables = [successes(sick, diseases), horizons(sick, diseases)]
    return "\n".join([_opening(sick, diseases), *(one.markdown() for one in tables)])


def remedies(sick: Sequence[Outcome]) -> list[str]:
    """Every one that was trained, those that solved most first."""
    tried = {remedy for one in sick for remedy in one.trainings if remedy != NONE}
    return sorted(tried, key=lambda remedy: (-_solved(sick, remedy)[0], remedy))


def often(sick: Sequence[Outcome]) -> list[str]:
    """Those that were trained often enough to have a row."""
    return [remedy for remedy in remedies(sick) if _solved(sick, remedy)[1] >= ENOUGH]


def successes(sick: Sequence[Outcome], diseases: Sequence[str]) -> Table:
    rows = [
        (
            remedy,
            *(
                _success([one for one in sick if one.case.disease == name], remedy)
                for name in diseases
            ),
            _success(sick, remedy),
            _cost(sick, remedy),
        )
        for remedy in [NONE, *often(sick)]
    ]
    about = (
        "Trainings solved, of those tried. Cost: time of one step, of an untreated one's, the "
        "median. A remedy is tried where it is among the first three for a case, and everything "
        "that fits on about half of the cases, once: numbers of one column are of different cases. "
        f"What was trained fewer than {ENOUGH} times is left out."
    )
    header = ("remedy", *diseases, "all", "cost")
    return Table("What solved what", about, header, tuple(rows))


def horizons(sick: Sequence[Outcome], diseases: Sequence[str]) -> Table:
    rows = [
        (remedy, *(_horizon(sick, disease, remedy) for disease in diseases))
        for remedy in often(sick)
    ]
    about = (
        "Horizon before → after, as a share of the span, on the untrained network; the median over "
        "all cases that it was tried on."
    )
    return Table("How far the gradient reaches", about, ("remedy", *diseases), tuple(rows))


def _opening(sick: Sequence[Outcome], diseases: Sequence[str]) -> str:
    lines = [
        _advice(disease, [one for one in sick if one.case.disease == disease])
        for disease in diseases
    ]
    return (
        "# Choosing a remedy\n\nWritten by `python -m benchmarks.repair` from the trainings of "
        "[repair.md](repair.md).\n\nMeasure first: `throughtime prescribe` ranks the remedies on a "
        "copy of your own network, and `throughtime treat` proves the best of them. What solved "
        "most here, by what the diagnosis names:\n\n" + "\n".join(lines) + "\n\nNames joined by + "
        "are applied together. These tasks are small and ask for memory alone: a cell that wins "
        "here need not win where it must compute more.\n"
    )


def _advice(disease: str, mine: Sequence[Outcome]) -> str:
    """The best of all, and the best that keep the user's own cell."""
    known = [name for name in remedies(mine) if _solved(mine, name)[1] >= FEW]
    known.sort(key=lambda name: (-_rate(mine, name), -_solved(mine, name)[1]))
    own = [name for name in known if not replaces(name)]
    parts = [
        f"{what} {', '.join(f'{name} ({_success(mine, name)})' for name in names[:2])}"
        for what, names in (("", known), ("keeping your cell,", own))
        if names
    ]
    return f"- **{disease}**: {'; '.join(parts).strip() or 'too few trainings to say'}."


def _solved(found: Sequence[Outcome], remedy: str) -> tuple[int, int]:
    """Trainings solved, and tried."""
    tried = [record for one in found for record in one.trainings.get(remedy, [])]
    return sum(record["solved at"] is not None for record in tried), len(tried)


def _rate(found: Sequence[Outcome], remedy: str) -> float:
    solved, tried = _solved(found, remedy)
    return solved / tried


def _success(found: Sequence[Outcome], remedy: str) -> str:
    solved, tried = _solved(found, remedy)
    return f"{solved} of {tried}" if tried else "–"


def _options(
    found: Sequence[Outcome], remedy: str
) -> list[tuple[Outcome, dict[str, float | None]]]:
    return [
        (one, option)
        for one in found
        for option in one.prescription["options"]
        if option["remedy"] == remedy
    ]


def _cost(found: Sequence[Outcome], remedy: str) -> str:
    costs = [option["cost"] for _, option in _options(found, remedy)]
    known = [cost for cost in costs if cost is not None]
    return f"{median(known):.1f}x" if known else "–"


def _horizon(found: Sequence[Outcome], disease: str, remedy: str) -> str:
    pairs = [
        (_reached(one.prescription["horizon"], one), _reached(option["horizon"], one))
        for one, option in _options(found, remedy)
        if one.case.disease == disease
    ]
    if not pairs:
        return "–"
    before, after = (median(side) for side in zip(*pairs, strict=True))
    return f"{before:.0%} → {after:.0%}"


def _reached(horizon: float | None, one: Outcome) -> float:
    """As a share of the span, at most 1; 0 where nothing was finite."""
    return 0.0 if horizon is None else min(1.0, horizon / one.prescription["span"])
