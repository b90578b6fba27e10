"""``Bench``: where the treated copies of one problem are measured, all on the same batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from throughtime.capture import observe
from throughtime.diagnosis import diagnose
from throughtime.errors import NothingRecordedError, ThroughtimeError, plain
from throughtime.findings import Diagnosis
from throughtime.prescription import wording
from throughtime.prescription.answer import Option, Reading, Refused
from throughtime.prescription.reading import read
from throughtime.prescription.treated import NONE, TREATMENTS, apply
from throughtime.prescription.update import Trainee, loss_on
from throughtime.problem import Batch, Problem
from throughtime.randomness import randomness


@dataclass(frozen=True)
class Arm:
    """A treated copy, and how far its gradient reached before any update."""

    name: str
    trainee: Trainee
    first: Reading


@dataclass(frozen=True)
class Bench:
    """What all copies have in common.

    Attributes:
        make: makes the untreated problem, a new one each time, with the same weights.
        batch: that is captured on every copy; no update sees it.
        span: how many steps back the task needs to see.
        seed: of what remedies and models draw.
    """

    make: Callable[[], Problem]
    batch: Batch
    span: int
    seed: int

    def diagnosis(self) -> Diagnosis:
        """Of the untreated problem. Raises what ``diagnose`` raises."""
        problem = self.make()
        with randomness(self.seed, problem.model):
            trace = observe(problem.model, loss_on(problem, self.batch))
        return diagnose(trace, self.span)

    def arm(self, name: str) -> Arm:
        """A copy with this remedy, captured. Raises ``InputError`` where it does not fit."""
        problem = apply(self.make(), name, self.span, self.seed)
        trainee = Trainee(problem)
        trainee.rehearse(self.batch, self.seed)
        return Arm(name, trainee, read(problem, self.batch, self.span, self.seed))

    def arms(self, names: Sequence[str], most: int) -> tuple[list[Arm], list[Refused]]:
        """A copy for each of the first ``most`` remedies that fit; and those that do not."""
        arms: list[Arm] = []
        refused: list[Refused] = []
        for name in names:
            if len(arms) == most:
                break
            try:
                arms.append(self.arm(name))
            except NothingRecordedError:
                refused.append(Refused(name, "the loss does not run what it puts into the model"))
            except ThroughtimeError as error:
                refused.append(Refused(name, str(error)))
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001  — the user's own code, around another layer
                told = f"{type(error).__name__}: {plain(error)}"
                refused.append(Refused(name, f"the model does not run with it ({told})"))
        return arms, refused

    def option(self, arm: Arm, untreated: Arm) -> Option:
        """What the updates made of an arm: captured again."""
        problem = arm.trainee.problem
        loss = arm.trainee.loss(self.batch, self.seed)
        whole = math.isfinite(loss)
        parts = [] if arm.name == NONE else [TREATMENTS[part] for part in arm.name.split("+")]
        return Option(
            name=arm.name,
            first=arm.first,
            later=read(problem, self.batch, self.span, self.seed) if whole else None,
            loss=loss if whole else None,
            seconds=arm.trainee.seconds,
            cost=arm.trainee.seconds / untreated.trainee.seconds,
            sentence="; ".join(part.sentence for part in parts),
            paper="; ".join(part.paper for part in parts),
            code="\n".join(part.code(problem, self.span) for part in parts),
            note=wording.note(arm.name, arm.first, untreated.first),
        )
