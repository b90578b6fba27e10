"""What came of the suite: which cases belong to it, and which remedy solved which of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.repair.case import Case
from benchmarks.repair.learning import NONE
from benchmarks.repair.table import Record
from benchmarks.repair.work import CHOICES
from throughtime.prescription import TREATMENTS


@dataclass(frozen=True)
class Outcome:
    """A case beside what was prescribed for it, and its trainings by remedy, each by repeat."""

    case: Case
    prescription: Record
    trainings: dict[str, list[Record]]

    @property
    def ranking(self) -> list[str]:
        """All remedies that fit, the best guess first."""
        return [option["remedy"] for option in self.prescription.get("options", ())]

    @property
    def choices(self) -> list[str]:
        """Those of the first three that were trained."""
        return [remedy for remedy in self.ranking[:CHOICES] if remedy in self.trainings]

    @property
    def repeats(self) -> int:
        return len(self.trainings[NONE])

    def solved(self, remedy: str) -> int:
        """How many repeats it solved."""
        return sum(one["solved at"] is not None for one in self.trainings.get(remedy, []))

    def repairs(self, remedy: str) -> bool:
        """Whether it solved every repeat."""
        return self.solved(remedy) == self.repeats

    @property
    def first(self) -> bool:
        """Whether the first choice solves every repeat."""
        return bool(self.choices) and self.repairs(self.choices[0])

    @property
    def three(self) -> bool:
        """Whether one and the same of the first three solves every repeat."""
        return any(map(self.repairs, self.choices))

    @property
    def fails(self) -> bool:
        """Untreated, it is solved in no repeat."""
        return self.solved(NONE) == 0

    @property
    def learns(self) -> bool:
        """Untreated, it is solved in every repeat, whatever was put in."""
        return self.repairs(NONE)

    @property
    def labelled(self) -> bool:
        """The disease that was put in is among those that a diagnosis names."""
        return self.case.disease in self.prescription.get("diseases", ())

    @property
    def belongs(self) -> bool:
        """A sick training fails and its label is right; a healthy one is solved."""
        return self.fails and self.labelled if self.case.sick else self.learns


def outcomes(
    cases: Sequence[Case], prescribed: Iterable[Record], trained: Iterable[Record]
) -> list[Outcome]:
    """Of every case that was trained untreated; without a prescription it has an empty one."""
    prescriptions = {one["case"]: one for one in prescribed}
    trainings: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(trained, key=lambda one: one["repeat"]):
        trainings[one["case"]][one["remedy"]].append(one)
    return [
        Outcome(case, prescriptions.get(case.name, {}), dict(trainings[case.name]))
        for case in cases
        if NONE in trainings[case.name]
    ]


def replaces(remedy: str) -> bool:
    """Whether it puts another cell in the place of the user's."""
    return any(TREATMENTS[part].slot == "cell" for part in remedy.split("+"))
