"""Copy memory: read ten symbols, wait, and say them when asked."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Generator, Tensor

from throughtime.errors import InputError, unknown
from throughtime.problem import Criterion, Problem
from throughtime.tasks.model import Cell, at_least
from throughtime.tasks.sequences import ONE_OF_MANY, Answer, Batch, SequenceTask

SYMBOLS = 8
REMEMBERED = 10
BLANK, MARKER = 0, 9
KINDS = 10  # blank, eight symbols, marker
SOLVED = Criterion("accuracy", "above", 0.99)

# Steps from the end of the delay to the first marker, and how many markers there are.
VARIANTS = {"2016": (-1, 1), "2019": (0, 1), "ten": (0, REMEMBERED)}


def copy_memory(
    cell: Cell = "lstm",
    length: int = 100,
    variant: str = "2016",
    *,
    hidden: int = 128,
    batch: int = 50,
    seed: int = 0,
    forget_bias: float | None = None,
) -> Problem:
    """The copying memory problem, with a target at every step.

    Ten symbols of eight kinds, a delay of T blanks, ten steps to answer in: T + 20 steps, one-hot
    over ten kinds of input. In the last ten steps the network is to name the ten symbols in their
    order, in all others the blank. Variants, by where the marker stands that asks:

    - ``2016``: once, on the last step of the delay (Arjovsky, Shah & Bengio 2016,
      ``memory_problem.py``).
    - ``2019``: once, on the first of the last ten steps (code of Lezcano-Casado & Martínez-Rubio
      2019).
    - ``ten``: on each of the last ten steps (code of Gu et al. 2020, HiPPO).

    Args:
        cell: name of a cell, or a layer with ``nn.LSTM``'s signature and 10 input features.
        length: the delay T.
        variant: one of the above.
        hidden: hidden units H of a layer that is made here.
        batch: sequences at a time.
        seed: of the initialisation.
        forget_bias: of a gated layer; None leaves what the layer starts with.

    Returns:
        A problem with batches (T + 20, B, 10), (T + 20, B); its loss is the mean over all steps, in
        nats, its ``trivial_loss`` 10 ln 8 / (T + 20): blanks, then guesses. ``evaluate`` gives
        ``loss`` and ``accuracy``, over the ten symbols alone; solved above 99 % (a bound of ours).

    Raises:
        InputError: the delay is too short, or the variant or the cell is not known.
    """
    at_least("length", length, 1, ", the delay in steps")
    if variant not in VARIANTS:
        raise InputError(f"copy: {unknown('variant', variant, VARIANTS)}")
    task = SequenceTask(
        name=f"copy {length} ({variant})",
        draw=partial(_draw, delay=length, marked=VARIANTS[variant]),
        inputs=KINDS,
        outputs=SYMBOLS + 1,
        every_step=True,
        answer=Answer(ONE_OF_MANY.loss, _recalled),
        span=length + REMEMBERED,
        trivial_loss=REMEMBERED * math.log(SYMBOLS) / (length + 2 * REMEMBERED),
        solved=SOLVED,
    )
    return task.problem(cell, hidden, batch, seed, forget_bias)


def _draw(batch: int, generator: Generator, *, delay: int, marked: tuple[int, int]) -> Batch:
    symbols = torch.randint(1, SYMBOLS + 1, (REMEMBERED, batch), generator=generator)
    after, markers = marked
    first = REMEMBERED + delay + after
    read = torch.full((delay + 2 * REMEMBERED, batch), BLANK)
    read[:REMEMBERED] = symbols
    read[first : first + markers] = MARKER
    said = torch.full_like(read, BLANK)
    said[-REMEMBERED:] = symbols
    return torch.eye(KINDS)[read], said


def _recalled(scores: Tensor, targets: Tensor) -> Tensor:
    asked = targets != BLANK
    return scores.argmax(dim=-1)[asked] == targets[asked]
