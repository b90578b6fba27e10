"""docs/repair.md: every number of it from the committed results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median
from typing import get_args

from benchmarks.repair.case import Half
from benchmarks.repair.explain import explanation, of_one
from benchmarks.repair.learning import NONE
from benchmarks.repair.results import Outcome, replaces
from benchmarks.repair.tasks import BATCH
from benchmarks.tables import Table

BAR = 0.9
PEER = "AutoTrainer repaired 414 of 422 (98.1 %), on networks in Keras without recurrence"


def text(found: Sequence[Outcome], earlier: Sequence[Outcome] = ()) -> str:
    """The whole page; ``earlier``: with the prescriptions of the first run."""
    sick, healthy = belonging(found)
    parts = [_opening(found, sick), *(one.markdown() for one in tables(found))]
    parts += [_failures(sick), _harm(healthy), _method(found, earlier)]
    return "\n".join(parts)


def belonging(found: Sequence[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """The sick cases that belong to the suite; and all that learn untreated."""
    sick = [one for one in found if one.case.sick and one.belongs]
    return sick, [one for one in found if one.learns]


def tables(found: Sequence[Outcome]) -> list[Table]:
    sick, healthy = belonging(found)
    return [
        _by("disease", sick, lambda one: one.case.disease),
        _by("task", sick, lambda one: one.case.task),
        _by("cell", sick, lambda one: one.case.cell),
        _healthy(healthy),
    ]


def share(found: Sequence[Outcome], count: Callable[[Outcome], bool]) -> str:
    """``54 of 60 (90.0 %)``."""
    hits = sum(map(count, found))
    return f"{hits} of {len(found)} ({hits / len(found):.1%})" if found else "none"


def _opening(found: Sequence[Outcome], sick: Sequence[Outcome]) -> str:
    tested = [one for one in sick if one.case.half == "test"]
    held = bool(tested) and sum(one.three for one in tested) / len(tested) >= BAR
    rejected = sum(one.case.sick and not one.belongs for one in found)
    return (
        "# Does it repair?\n\nWritten by `python -m benchmarks.repair`.\n\n"
        f"{len(sick)} sick trainings, each of which fails: a network with one disease put in, on a "
        "task that asks for a long memory. `prescribe` ranks the remedies on a copy of the "
        "untrained network, and those at the top are trained with the budget of the untreated. "
        "The first choice turns into successes "
        f"{share(sick, lambda one: one.first)}, the best of the first three "
        f"{share(sick, lambda one: one.three)}. On the test half, which decided no rule: "
        f"{share(tested, lambda one: one.first)} and {share(tested, lambda one: one.three)}. The "
        f"bar was {BAR:.0%} with the first three: {'reached' if held else 'missed'}. Of "
        f"{len(sick) + rejected} sick cases that were drawn, {rejected} were left out.\n\n"
        f"To compare with care: {PEER}.\n\n{_own_cell(sick)}"
    )


def _own_cell(sick: Sequence[Outcome]) -> str:
    """What is left where the user's cell must stay."""
    replaced = sum(replaces(one.choices[0]) for one in sick if one.choices)
    every = [one for one in sick if set(one.ranking) <= {*one.trainings}]
    keeping = [
        one
        for one in every
        if any(
            one.solved(name) == len(one.trainings[name])
            for name in one.ranking
            if not replaces(name)
        )
    ]
    firsts = Counter(one.choices[0] for one in sick if one.choices).most_common(1)
    return (
        f"The first choice puts another cell in the place of the user's in {replaced} of "
        f"{len(sick)} cases"
        + "".join(f", most often {name} ({count})" for name, count in firsts)
        + f". In {len(every)} cases every remedy that fits was trained, those beyond the first "
        f"three once: one that keeps the cell solves {len(keeping)} of them. The tasks were sized "
        "so that some sound network, a gated one with chrono biases or a ReLU one that starts at "
        "the identity, learns them: that a cure exists is by design, what is measured is that the "
        "ranking finds it.\n"
    )


def _by(what: str, sick: Sequence[Outcome], group: Callable[[Outcome], str]) -> Table:
    rows = []
    for name in dict.fromkeys(map(group, sick)):
        mine = [one for one in sick if group(one) == name]
        rows.append(_row(name, mine))
    rows.append(_row("all", sick))
    halves = {half: [one for one in sick if one.case.half == half] for half in get_args(Half)}
    rows += [_row(f"of these, {half}", mine) for half, mine in halves.items()]
    about = (
        "Cases repaired: solved in every repeat by the first choice, or by one of the first three."
    )
    header = (what, "cases", "untreated", "first choice", "first three")
    return Table(f"By {what}", about, header, tuple(rows))


def _row(name: str, mine: Sequence[Outcome]) -> tuple[str, ...]:
    untreated = sum(not one.fails for one in mine)
    counts = [share(mine, lambda one: one.first), share(mine, lambda one: one.three)]
    return (name, str(len(mine)), str(untreated), *counts)


def _healthy(healthy: Sequence[Outcome]) -> Table:
    rows = []
    for one in healthy:
        choice = one.choices[0] if one.choices else None
        cells = [one.case.name, _pace(one, NONE), choice or "nothing"]
        cells += [_pace(one, choice) if choice else "as it is", _treats_pick(one)]
        rows.append(tuple(cells))
    header = ("training", "untreated", "first choice", "treated", "kept by a paired trial")
    about = (
        "Updates until solved, the median of the repeats. A trial keeps what solves most repeats, "
        "and of these what needs fewest updates; the untreated, where nothing needs fewer."
    )
    return Table("Trainings that need no remedy", about, header, tuple(rows))


def _pace(one: Outcome, remedy: str) -> str:
    if not one.repairs(remedy):
        return f"solved {one.solved(remedy)} of {one.repeats}"
    return f"{updates(one, remedy):.0f}"


def updates(one: Outcome, remedy: str) -> float:
    """Median updates until solved, a failed repeat counted as its whole budget."""
    trained = one.trainings[remedy]
    return median(record["solved at"] or one.case.updates for record in trained)


def _treats_pick(one: Outcome) -> str:
    arms = [NONE, *one.choices]
    best = min(arms, key=lambda arm: (-one.solved(arm), updates(one, arm), arms.index(arm)))
    return "untreated" if best == NONE else best


def _failures(sick: Sequence[Outcome]) -> str:
    lost = [f"- {_named(one)}: {explanation(one)}." for one in sick if not one.three]
    late = [
        f"- {_named(one)}: {of_one(one, one.choices[0])}; "
        f"{next(filter(one.repairs, one.choices))} repairs it."
        for one in sick
        if one.three and not one.first
    ]
    parts = [("Not repaired by the first three", lost), ("Repaired, but not by the first", late)]
    return "\n".join(
        ["## Every failure\n"]
        + [
            f"{what}: {len(lines) or 'none'}.\n\n" + "\n".join([*lines, ""])
            for what, lines in parts
        ]
    )


def _named(one: Outcome) -> str:
    return f"{one.case.name} ({one.case.half}; {one.case.disease})"


def _harm(healthy: Sequence[Outcome]) -> str:
    asked = [one for one in healthy if one.choices]
    broken = [one.case.name for one in asked if not one.repairs(one.choices[0])]
    slower = [one for one in asked if updates(one, one.choices[0]) > updates(one, NONE)]
    chosen = [one for one in asked if _treats_pick(one) != "untreated"]
    meant = sum(not one.case.sick for one in healthy)
    return (
        f"{meant} trainings were made healthy, and {len(healthy) - meant} were made sick and learn "
        f"all the same. Of these {len(healthy)}, {len(healthy) - len(asked)} are prescribed "
        f"nothing. Of the {len(asked)} others the first choice, taken without a trial, would fail "
        f"{len(broken)}{': ' if broken else ''}{'; '.join(broken)}, and solve {len(slower)} later "
        f"than the untreated. A paired trial keeps the untreated in {len(asked) - len(chosen)} and "
        f"a remedy that is as sure and quicker in {len(chosen)}: it makes none worse.\n"
    )


def _before(earlier: Sequence[Outcome]) -> str:
    """What the first choice repaired before the ranking was changed."""
    sick, _ = belonging(earlier)
    tested = [one for one in sick if one.case.half == "test"]
    if not tested:
        return ""
    return (
        f"Before that the first choice repaired {share(sick, lambda one: one.first)}, of the test "
        f"half {share(tested, lambda one: one.first)}; the first three "
        f"{share(sick, lambda one: one.three)}. "
    )


def _method(found: Sequence[Outcome], earlier: Sequence[Outcome]) -> str:
    trained = [record for one in found for records in one.trainings.values() for record in records]
    hours = sum(record["seconds"] for record in trained) / 3600
    seconds = [one.prescription["seconds"] for one in found if one.prescription]
    missing = [one for one in found if one.case.sick and not one.belongs]
    learned = sum(not one.fails for one in missing)
    return (
        "## How\n\n"
        f"{len(trained)} trainings of {len(found)} cases, {hours:.1f} hours of one core; {BATCH} "
        "fresh sequences an update. Tasks, lengths, cells and severities are drawn, each case from "
        "its own seed; its half is the parity of the SHA-256 of its name. A case belongs to the "
        "suite if the untreated training fails in every repeat and a diagnosis of the untrained "
        f"network names the disease that was put in: of {len(missing)} that do not, {learned} "
        f"learn untreated, and {len(missing) - learned} are labelled otherwise. A training ends "
        "when the criterion of its task is met, judged after every 25th update, or when its budget "
        "is spent; what diverges has failed. Repeats differ in weights and batches, and all "
        "remedies of a repeat share both. After a first run "
        "the development half changed one rule of the ranking: of a network without gates, first "
        "weights alone are no longer tried before a JANET. "
        f"{_before(earlier)}A prescription takes "
        f"{median(seconds):.1f} s in the middle.\n"
    )
