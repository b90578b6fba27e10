"""``Plan``: what ``treat`` was asked for, checked; and the trials that answer it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from throughtime import prescription
from throughtime.errors import InputError, RunError, ThroughtimeWarning, plain
from throughtime.files import read_plainly, write_atomically
from throughtime.problem import Problem
from throughtime.randomness import randomness
from throughtime.runs.lock import one_at_a_time
from throughtime.runs.sealed import seal, unseal
from throughtime.trials.treatment.identity import described, weights_digest
from throughtime.trials.treatment.of_pair import OfPair
from throughtime.trials.treatment.paired import UNTREATED, Make, PairedTrial
from throughtime.trials.trial import keyed
from throughtime.typed import checked_span

FIRST = 3
"""Remedies that are tried where none is named."""

_LOOKS, _FEWEST = 20, 10  # evaluations of a training where nothing is said; updates between two
_SAME_WEIGHTS = (
    "The first weights are the same for every seed, so that the seeds differ in their batches "
    "alone: give the function an argument seed, and draw the weights from it."
)


def seeds_of(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """So many from 0; or these. Raises ``InputError`` for none, or one that is out of range."""
    numbers = tuple(range(seeds) if isinstance(seeds, int) else seeds)
    if not numbers:
        raise InputError("there is no seed: give at least one")
    if len(set(numbers)) < len(numbers) or min(numbers) < 0:
        raise InputError(f"seeds are {list(numbers)}: give each once, from 0")
    return numbers


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The arguments of ``treat``, which explains them, but for where and by whom it is done."""

    make: Make
    steps: int
    span: int | None
    seeds: int | Sequence[int]
    remedies: Sequence[str] | None
    keep_cell: bool
    subject: str | None
    target: str | None
    evaluate_every: int | None
    measure: bool
    until_solved: bool
    checkpoint_every: int

    def check(self) -> None:
        """Refuse what is out of range, and remedies that are not known or do not fit.

        Raises:
            InputError: with what to give instead.
        """
        if self.steps < 1:
            raise InputError(f"steps is {self.steps}: give at least 1")
        if self.span is not None:
            checked_span(self.span, "treat")
        self.source  # noqa: B018  — refuses what has none
        self._refuse_a_frozen_model()
        for name in self.asked or ():
            if name == UNTREATED:
                raise InputError("none is no remedy: the untreated model is always tried")
            prescription.treated(self.first, name, self.reach, self.numbers[0])
        self._refuse_a_loss_of_its_own()
        again = weights_digest(self.make(self.numbers[0]).model)
        if again != weights_digest(self.first.model):
            raise InputError(
                f"{self.named} has other first weights each time that it is made with seed "
                f"{self.numbers[0]}, so that no two trials are a pair: draw them from that seed, "
                "or from torch's, numpy's or Python's global generator"
            )

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """The seeds."""
        return seeds_of(self.seeds)

    @cached_property
    def source(self) -> str:
        """What ``make`` is: the same text in every process, and for no other function."""
        return described(self.make)

    @cached_property
    def first(self) -> Problem:
        """The untreated problem of the first seed."""
        return self.make(self.numbers[0])

    @cached_property
    def asked(self) -> list[str] | None:
        """The remedies that were asked for, each once; None to have them prescribed."""
        if self.remedies is None:
            return None
        return list(dict.fromkeys(prescription.canonical(name) for name in self.remedies))

    @property
    def named(self) -> str:
        """What is treated."""
        return plain(self.first.name if self.subject is None else self.subject)

    @property
    def reach(self) -> int:
        """How many steps back the task needs to see."""
        return self.first.span if self.span is None else self.span

    def arms(self, folder: Path) -> list[list[PairedTrial]]:
        """The trials, arm by arm, the untreated one first; each in the order of the seeds.

        Args:
            folder: where the prescription is remembered: the same study for ever has the same arms.
        """
        names = self._prescribed(folder) if self.asked is None else self.asked
        return [
            [PairedTrial(**self._common, remedy=name, seed=seed) for seed in self.numbers]
            for name in (UNTREATED, *names)
        ]

    def notes(self) -> list[str]:
        """What a reader must know of the seeds."""
        told = list(self.make.notes) if isinstance(self.make, OfPair) else []
        if len(self.numbers) < 2:
            return [*told, "One seed shows nothing beyond itself."]
        if told:
            return told
        other = weights_digest(self.make(self.numbers[1]).model)
        if other != weights_digest(self.first.model):
            return []
        return [_SAME_WEIGHTS]

    @cached_property
    def _common(self) -> dict[str, Any]:
        seldom = max(_FEWEST, self.steps // _LOOKS)
        seldom = seldom if self.evaluate_every is None else self.evaluate_every
        return {
            "make": self.make,
            "subject": self.named,
            "source": self.source,
            "span": self.reach,
            "steps": self.steps,
            "until_solved": self.until_solved,
            "evaluate_every": 0 if self.first.evaluate is None else seldom,
            "measure_every": self.steps if self.measure else 0,
            "checkpoint_every": self.checkpoint_every,
        }

    def _prescribed(self, folder: Path) -> list[str]:
        """The first few that are prescribed: asked once, then remembered."""
        asked = {"source": self.source, "span": self.reach, "seed": self.numbers[0]}
        asked |= {"keep_cell": True} if self.keep_cell else {}
        path = folder / f"{keyed('prescribed', asked)}.json"
        with one_at_a_time(folder):
            with suppress(FileNotFoundError):
                return _remembered(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ThroughtimeWarning)  # its notes say the same
                found = prescription.prescribe(
                    self.first,
                    span=self.reach,
                    keep_cell=self.keep_cell,
                    seconds=math.inf,  # the choice must not depend on what else the machine does
                    seed=self.numbers[0],
                )
            names = [option.name for option in found.options[:FIRST]]
            write_atomically(path, seal({"remedies": names}, path.name))
        return names

    def _refuse_a_frozen_model(self) -> None:
        if not any(one.requires_grad for one in self.first.model.parameters()):
            raise InputError(
                f"{self.named}: no parameter of the model requires a gradient, so that nothing "
                "can be trained: call requires_grad_(True) on what shall learn"
            )

    def _refuse_a_loss_of_its_own(self) -> None:
        """A loss that holds a model of its own would never train the treated copy."""
        copy = prescription.treated(self.first, UNTREATED, self.reach)
        parameters = [one for one in copy.model.parameters() if one.requires_grad]
        with randomness(self.numbers[0], copy.model):
            loss = copy.closure(self.numbers[0])
        reached = (
            torch.autograd.grad(loss, parameters, allow_unused=True)
            if loss.requires_grad and parameters
            else ()
        )
        if all(gradient is None for gradient in reached):
            raise InputError(
                f"{self.named}: its loss does not depend on the model that it is given: in "
                "loss(model, batch) use the argument, not a model from outside"
            )


def _remembered(path: Path) -> list[str]:
    """The remedies that were prescribed before. Raises ``RunError`` if the file was changed."""
    try:
        names = unseal(read_plainly(path)).get("remedies")
    except ValueError as error:
        raise RunError(
            f"{plain(path)} is not what was prescribed ({plain(error)}): remove it, and remedies "
            "are prescribed again"
        ) from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RunError(f"{plain(path)} names no remedies: remove it, and they are prescribed again")
    return names
