"""The tasks at a size that trains in seconds, each a ``Problem`` with its criterion of success.

The library's own; copy alone is a smaller one: ten symbols of eight kinds take too many updates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Generator
from torch.optim import Adam

from throughtime.problem import Criterion, Problem
from throughtime.tasks.adding import adding
from throughtime.tasks.delayed_xor import delayed_xor
from throughtime.tasks.latch import latch
from throughtime.tasks.model import Cell
from throughtime.tasks.name_recall import name_recall
from throughtime.tasks.sequences import ONE_OF_MANY, Batch, SequenceTask
from throughtime.tasks.temporal_order import temporal_order

BATCH = 32
REMEMBERED, SYMBOLS = 2, 4  # of copy


@dataclass(frozen=True)
class Sized:
    """A task, what it is trained with, and how long it may be.

    Attributes:
        make: ``make(cell, length, hidden=…, batch=…, seed=…)`` gives the problem.
        inputs: input features I of the recurrent layer; None where they are as many as H.
        updates: the budget; a sound network needs clearly less.
        rate: learning rate of Adam.
    """

    make: Callable[..., Problem]
    inputs: int | None
    updates: int
    rate: float = 5e-3


def problem(task: str, cell: Cell, length: int, hidden: int, seed: int) -> Problem:
    """The problem of this name with a fresh layer, before anything is done to it."""
    sized = TASKS[task]
    made = sized.make(cell, length, hidden=hidden, batch=BATCH, seed=seed)
    return replace(made, optimizer=partial(Adam, lr=sized.rate))


def short_copy(
    cell: Cell, delay: int, *, hidden: int, batch: int, seed: int, symbols: int = REMEMBERED
) -> Problem:
    """Some symbols of four kinds, ``delay`` − 1 blanks, a marker; then the symbols are asked for.

    A target at these last steps alone. Solved above 99 % of them right.
    """
    task = SequenceTask(
        name=f"copy {delay}, {symbols} symbols of {SYMBOLS}",
        draw=partial(_symbols, delay=delay, symbols=symbols),
        inputs=SYMBOLS + 2,
        outputs=SYMBOLS,
        every_step=True,
        answer=ONE_OF_MANY,
        span=delay + symbols,
        trivial_loss=math.log(SYMBOLS),
        solved=Criterion("accuracy", "above", 0.99),
    )
    return task.problem(cell, hidden, batch, seed, None)


def _symbols(batch: int, generator: Generator, *, delay: int, symbols: int) -> Batch:
    drawn = torch.randint(SYMBOLS, (symbols, batch), generator=generator)
    read = torch.full((delay + 2 * symbols, batch), SYMBOLS)
    read[:symbols] = drawn
    read[symbols + delay - 1] = SYMBOLS + 1
    said = torch.full_like(read, -1)  # not asked
    said[-symbols:] = drawn
    return torch.eye(SYMBOLS + 2)[read], said


TASKS: dict[str, Sized] = {
    "adding": Sized(adding, 2, 800),
    "temporal order": Sized(temporal_order, 6, 600),
    "copy": Sized(short_copy, SYMBOLS + 2, 800),
    "name recall": Sized(name_recall, None, 400),
    "latch": Sized(latch, 1, 400),
    "delayed xor": Sized(
        lambda cell, delay, **more: delayed_xor(cell, 4 * delay, delay=delay, **more), 1, 800
    ),
}
"""By name; the length is that of the task's own definition, of delayed xor the delay."""
