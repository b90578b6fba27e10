"""A case of the suite: a task, a network, and what was done to it. A seed makes the problem."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import torch

from benchmarks.repair import tasks
from benchmarks.repair.ailments import AILMENTS
from benchmarks.repair.sound import SOUND
from throughtime.problem import Problem

Half = Literal["development", "test"]


@dataclass(frozen=True)
class Case:
    """One training of the suite; called with a seed it makes the ``Problem``.

    Attributes:
        task: one of ``tasks.TASKS``.
        length: of the task.
        cell: one of ``throughtime.cells.CELLS``.
        hidden: hidden units H.
        state: one of ``AILMENTS``, or of ``SOUND`` where it is healthy.
        severity: how much was done; 1 where there is no such number.
        base: one of ``SOUND``: what the layer was before it was made sick.
    """

    task: str
    length: int
    cell: str
    hidden: int
    state: str
    severity: float = 1.0
    base: str = "as torch makes it"

    def __call__(self, seed: int) -> Problem:
        made = tasks.problem(self.task, self.cell, self.length, self.hidden, seed)
        draw = torch.Generator().manual_seed(seed)
        made = SOUND[self.base if self.sick else self.state](made, draw)
        if self.sick:
            made = AILMENTS[self.state].inflict(made, self.severity, draw)
        return replace(made, name=self.name)

    @property
    def sick(self) -> bool:
        return self.state in AILMENTS

    @property
    def disease(self) -> str:
        """The label: what was put in."""
        return AILMENTS[self.state].disease if self.sick else "healthy"

    @property
    def updates(self) -> int:
        """The budget of every training of this case."""
        return tasks.TASKS[self.task].updates

    @property
    def name(self) -> str:
        how_much = f" {self.severity:g}" if self.severity != 1.0 else ""
        started = f" of {self.base}" if self.sick and self.base != "as torch makes it" else ""
        return (
            f"{self.task} {self.length}, {self.cell} {self.hidden}, {self.state}{how_much}{started}"
        )

    @property
    def digest(self) -> int:
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:4], "big")

    @property
    def half(self) -> Half:
        """What may be looked at while ranking and thresholds are set, or not: by the hash."""
        return "development" if self.digest % 2 else "test"

    @property
    def seed(self) -> int:
        """Of its first training; the next ones follow."""
        return self.digest // 2 % 10**6
