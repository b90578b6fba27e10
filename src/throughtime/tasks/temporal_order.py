"""Temporal order: among many symbols two or three matter; say which they were, in their order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Generator

from throughtime.errors import InputError, unknown
from throughtime.problem import Criterion, Problem
from throughtime.tasks.model import Cell, at_least
from throughtime.tasks.sequences import ONE_OF_MANY, Batch, SequenceTask

SHORTEST = 10
Ranges = Sequence[tuple[int, int]]  # first place, and the place after the last

# Tenths of the length at which each range begins; each is a tenth long (Pascanu's code).
TENTHS = {2: (1, 5), 3: (1, 3, 6)}
# Percent of the length at which each range begins in 1997 (sections 5.6, tasks 6a and 6b).
PERCENT_1997 = {2: (10, 50), 3: (10, 33, 66)}
START_1997, END_1997 = 6, 7  # E and B, after the two symbols and the four distractors
SOLVED = Criterion("accuracy", "above", 0.99)  # Pascanu et al.: less than 1 % wrong


def temporal_order(
    cell: Cell = "lstm",
    length: int = 50,
    *,
    symbols: int = 2,
    variant: str = "2013",
    hidden: int = 128,
    batch: int = 20,
    seed: int = 0,
    forget_bias: float | None = None,
) -> Problem:
    """The temporal order problem: 4 classes from 2 symbols, or 8 from 3; the loss at the last step.

    Each symbol that matters is A or B; everywhere else stands one of four distractors. Variants:

    - ``2013``: 6 kinds of input, the symbols in [0.1 L, 0.2 L) and [0.5 L, 0.6 L), or, of three, in
      [0.1 L, 0.2 L), [0.3 L, 0.4 L) and [0.6 L, 0.7 L), as the code of Pascanu, Mikolov & Bengio
      2013 draws them (its docstring says otherwise).
    - ``1997``: 8 kinds of input, as the sequence begins with a symbol of its own and ends with
      another; lengths from L to 1.1 L; the symbols at places 0.1 L to 0.2 L and 0.5 L to 0.6 L, or,
      of three, 0.1 L to 0.2 L, 0.33 L to 0.43 L and 0.66 L to 0.76 L, ends included (Hochreiter &
      Schmidhuber 1997, section 5.6, tasks 6a and 6b, where L is 100). A batch has one length: the
      paper's has one sequence.

    Args:
        cell: name of a cell, or a layer with ``nn.LSTM``'s signature and 6 or 8 input features.
        length: steps L.
        symbols: how many matter: 2 or 3.
        variant: one of the above.
        hidden: hidden units H of a layer that is made here.
        batch: sequences at a time.
        seed: of the initialisation.
        forget_bias: of a gated layer; None leaves what the layer starts with.

    Returns:
        A problem with batches (L B 6) or (L B 8), (B); its loss is in nats, its ``trivial_loss``
        ln 4 or ln 8. ``evaluate`` gives ``loss`` and ``accuracy``; solved above 99 %.

    Raises:
        InputError: the length is too short, or the variant or the cell is not known.
    """
    at_least("length", length, SHORTEST, " for temporal order")
    if symbols not in TENTHS:
        raise InputError(f"symbols is {symbols}: temporal order has 2 or 3 that matter")
    if variant not in VARIANTS:
        raise InputError(f"temporal order: {unknown('variant', variant, VARIANTS)}")
    return VARIANTS[variant](length, symbols).problem(cell, hidden, batch, seed, forget_bias)


def _2013(length: int, symbols: int) -> SequenceTask:
    ranges = [(length * t // 10, length * t // 10 + length // 10) for t in TENTHS[symbols]]
    return SequenceTask(
        name=f"temporal order {length} ({symbols} symbols)",
        draw=partial(_draw, length=length, ranges=ranges),
        inputs=6,
        outputs=2**symbols,
        every_step=False,
        answer=ONE_OF_MANY,
        span=length - 1 - ranges[0][0],
        trivial_loss=symbols * math.log(2),
        solved=SOLVED,
    )


def _1997(length: int, symbols: int) -> SequenceTask:
    starts = [length * percent // 100 for percent in PERCENT_1997[symbols]]
    # Places are counted from 1 in the paper, and the end of a range is one of them.
    ranges = [(start - 1, start + length // 10) for start in starts]
    return SequenceTask(
        name=f"temporal order {length} ({symbols} symbols, 1997)",
        draw=partial(_draw_1997, length=length, ranges=ranges),
        inputs=8,
        outputs=2**symbols,
        every_step=False,
        answer=ONE_OF_MANY,
        span=length + length // 10 - 1 - ranges[0][0],
        trivial_loss=symbols * math.log(2),
        solved=SOLVED,
    )


def _draw(
    batch: int, generator: Generator, *, length: int, ranges: Ranges, kinds: int = 6
) -> Batch:
    """Distractors 2 to 5, symbols 0 and 1 in their ranges; the class counts the first as lowest."""
    read = torch.randint(2, 6, (length, batch), generator=generator)
    target = torch.zeros(batch, dtype=torch.int64)
    for n, bounds in enumerate(ranges):
        places = torch.randint(*bounds, (batch,), generator=generator)
        symbols = torch.randint(2, (batch,), generator=generator)
        read[places, torch.arange(batch)] = symbols
        target += symbols << n
    return torch.eye(kinds)[read], target


def _draw_1997(batch: int, generator: Generator, *, length: int, ranges: Ranges) -> Batch:
    steps = int(torch.randint(length, length + length // 10 + 1, (), generator=generator))
    inputs, target = _draw(batch, generator, length=steps, ranges=ranges, kinds=8)
    inputs[0], inputs[-1] = torch.eye(8)[START_1997], torch.eye(8)[END_1997]
    return inputs, target


VARIANTS: dict[str, Callable[[int, int], SequenceTask]] = {"2013": _2013, "1997": _1997}
