"""``Bench``: where the treated copies of one problem are measured, all on the same batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
from throughtime.recording import observe


@dataclass(frozen=True)
class Arm:
    """A treated copy, and how far its gradient reached before any update."""

    name: str
    trainee: Trainee
    first: Reading


class Tried(NamedTuple):
    """What came of the remedies: measured, refused; which are clipped; what time left out."""

    options: list[Option]
    refused: list[Refused]
    clipped: set[str]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Bench:
    """What all copies have in common.

    Attributes:
        make: makes the untreated problem, a new one each time, with the same weights.
        batch: that is captured on every copy; no update sees it.
        updates: the batches of the updates, the same for every copy.
        span: how many steps back the task needs to see.
        seed: of what remedies and models draw.
    """

    make: Callable[[], Problem]
    batch: Batch
    updates: Sequence[Batch]
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

    def untreated(self) -> Option:
        """The untreated copy, measured. Raises as ``arm``."""
        return self._option(self.arm(NONE), None)

    def tried(self, names: Sequence[str], untreated: Option, most: int, seconds: float) -> Tried:
        """The first ``most`` remedies that fit, measured one after the other in this order.

        Once the time is over no further one is begun, but for the first. Each makes all updates:
        what is measured of it does not depend on the time, nor on the others.

        Args:
            names: of the remedies.
            untreated: the untreated copy.
            most: measure no more.
            seconds: the time for all.
        """
        options: list[Option] = []
        refused: list[Refused] = []
        clipped: set[str] = set()
        ends = time.perf_counter() + seconds
        for place, name in enumerate(names):
            if len(options) == most:
                break
            if options and time.perf_counter() > ends:
                left_out = tuple(names[place : place + most - len(options)])
                return Tried(options, refused, clipped, left_out)
            arm = self._arm_or_refusal(name)
            if isinstance(arm, Refused):
                refused.append(arm)
                continue
            options.append(self._option(arm, untreated))
            if arm.trainee.problem.clip is not None:
                clipped.add(name)
        return Tried(options, refused, clipped, ())

    def _arm_or_refusal(self, name: str) -> Arm | Refused:
        try:
            return self.arm(name)
        except NothingRecordedError:
            return Refused(name, "the loss does not run what it puts into the model")
        except ThroughtimeError as error:
            return Refused(name, str(error))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  — the user's own code, around another layer
            told = f"{type(error).__name__}: {plain(error)}"
            return Refused(name, f"the model does not run with it ({told})")

    def _option(self, arm: Arm, untreated: Option | None) -> Option:
        """What the updates make of an arm: it is trained, and captured again."""
        trainee, problem = arm.trainee, arm.trainee.problem
        trainee.train(self.updates, self.seed)
        loss = trainee.loss(self.batch, self.seed)
        whole = math.isfinite(loss)
        parts = [] if arm.name == NONE else [TREATMENTS[part] for part in arm.name.split("+")]
        before = arm.first if untreated is None else untreated.first
        return Option(
            name=arm.name,
            first=arm.first,
            later=read(problem, self.batch, self.span, self.seed) if whole else None,
            loss=loss if whole else None,
            seconds=trainee.seconds,
            cost=1.0 if untreated is None else trainee.seconds / untreated.seconds,
            sentence="; ".join(part.sentence for part in parts),
            paper="; ".join(part.paper for part in parts),
            code="\n".join(part.code(problem, self.span) for part in parts),
            note=wording.note(arm.name, arm.first, before),
        )
