"""Adding: two numbers among many are marked; say their sum at the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor

from throughtime.errors import InputError, unknown
from throughtime.problem import Criterion, Problem
from throughtime.tasks.model import Cell, at_least
from throughtime.tasks.sequences import Batch, SequenceTask, number

SHORTEST = 10
WITHIN_1997 = 0.04  # absolute error at which a sequence counts as processed correctly


def adding(
    cell: Cell = "lstm",
    length: int = 100,
    variant: str = "halves",
    *,
    hidden: int = 128,
    batch: int = 50,
    seed: int = 0,
    forget_bias: float | None = None,
) -> Problem:
    """The adding problem; its loss is a squared error at the last step.

    At every step the network reads a number and a marker. Variants:

    - ``halves``: numbers from U(0, 1), one marker in each half, target X₁ + X₂ (Le, Jaitly & Hinton
      2015; the halves as in ``adding_problem.py`` of Arjovsky, Shah & Bengio 2016). Solved below a
      mean squared error of 0.01, a bound of the later papers.
    - ``skip``: numbers from U(−0.5, 0.5), the first marker in the first tenth, the second in the
      second half (Campos et al. 2018, Skip RNN, as in ``01_adding_task.py``). Solved below 1 % of
      the variance of the target.
    - ``1997``: numbers from U(−1, 1); the first marker on one of the first ten pairs, the second on
      one of the first T/2 − 1 others; −1 as marker of the first and the last pair; a marked first
      pair counts as 0; lengths from T to T + T/10; target 0.5 + (X₁ + X₂)/4 (Hochreiter &
      Schmidhuber 1997, section 5.4). Solved when at most 3 of 2,560 sequences are wrong by 0.04 or
      more. A batch has one length: the paper's has one sequence.

    Args:
        cell: name of a cell, or a layer with ``nn.LSTM``'s signature and 2 input features.
        length: steps T, an even number in ``halves``.
        variant: one of the above.
        hidden: hidden units H of a layer that is made here.
        batch: sequences at a time.
        seed: of the initialisation.
        forget_bias: of a gated layer; None leaves what the layer starts with.

    Returns:
        A problem with batches (T B 2), (B); its ``trivial_loss`` is that of the mean of the target,
        and ``evaluate`` gives ``loss`` and ``correct``, the share wrong by less than 0.04.

    Raises:
        InputError: the length is too short, or the variant or the cell is not known.
    """
    if variant not in VARIANTS:
        raise InputError(f"adding: {unknown('variant', variant, VARIANTS)}")
    at_least("length", length, SHORTEST, " for the adding problem")
    return VARIANTS[variant](length).problem(cell, hidden, batch, seed, forget_bias)


def _halves(length: int) -> SequenceTask:
    half = length // 2
    draw = partial(_draw, length=length, low=0.0, first=(0, half), second=(half, 2 * half))
    return _sum(f"adding {length}", draw, length, Criterion("loss", "below", 0.01))


def _skip(length: int) -> SequenceTask:
    first, second = (0, length // 10), (length // 2, length)
    draw = partial(_draw, length=length, low=-0.5, first=first, second=second)
    one_percent = Criterion("loss", "below", 0.01 / 6)
    return _sum(f"adding {length} (Skip RNN)", draw, length, one_percent)


def _sum(
    name: str, draw: Callable[[int, Generator], Batch], length: int, solved: Criterion
) -> SequenceTask:
    variance = 1 / 12 + 1 / 12
    answer = number(WITHIN_1997)
    return SequenceTask(name, draw, 2, 1, False, answer, length - 1, variance, solved)


def _1997(length: int) -> SequenceTask:
    others = length // 2 - 1
    first_counts = 9 / 10
    second_counts = 1 - 9 / 10 / others  # the second marker may fall on the first pair as well
    return SequenceTask(
        name=f"adding {length} (1997)",
        draw=partial(_draw_1997, length=length),
        inputs=2,
        outputs=1,
        every_step=False,
        answer=number(WITHIN_1997),
        span=length + length // 10 - 2,  # from the second pair: the first one counts as 0
        trivial_loss=(first_counts + second_counts) / 3 / 16,
        solved=Criterion("correct", "above", 1 - 3.5 / 2560),
        held_out=2560,
    )


def _draw(
    batch: int,
    generator: Generator,
    *,
    length: int,
    low: float,
    first: tuple[int, int],
    second: tuple[int, int],
) -> Batch:
    """Numbers from U(low, low + 1), a marker in each of the two ranges, and their sum."""
    inputs = torch.zeros(length, batch, 2)
    inputs[..., 0] = torch.rand(length, batch, generator=generator).add_(low)
    places = [torch.randint(*bounds, (batch,), generator=generator) for bounds in (first, second)]
    return inputs, _marked(inputs, *places)


def _draw_1997(batch: int, generator: Generator, *, length: int) -> Batch:
    steps = int(torch.randint(length, length + length // 10 + 1, (), generator=generator))
    inputs = torch.zeros(steps, batch, 2)
    inputs[..., 0] = torch.rand(steps, batch, generator=generator).mul_(2).sub_(1)
    inputs[[0, -1], :, 1] = -1.0
    first = torch.randint(10, (batch,), generator=generator)
    second = torch.randint(length // 2 - 1, (batch,), generator=generator)
    second += second >= first  # one of those that are still unmarked
    for place in (first, second):
        inputs[0, place == 0, 0] = 0.0
    return inputs, 0.5 + _marked(inputs, first, second) / 4


def _marked(inputs: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Mark two places of every sequence, in place, and give the sum (B) of what stands there."""
    sequence = torch.arange(inputs.shape[1])
    inputs[first, sequence, 1] = 1.0
    inputs[second, sequence, 1] = 1.0
    return inputs[first, sequence, 0] + inputs[second, sequence, 0]


VARIANTS: dict[str, Callable[[int], SequenceTask]] = {
    "halves": _halves,
    "skip": _skip,
    "1997": _1997,
}
