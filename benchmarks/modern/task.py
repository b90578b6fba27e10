"""Recall: one token is marked near the start, and asked for at four distances in one sequence."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.modern.mixers.mixer import DISTANCES, STEPS

VALUES = 8
TOKENS = 2 * VALUES + 1  # values, marked values, and the question
TRIVIAL = math.log(VALUES)  # the loss of the best answer that looks at nothing
_QUESTION = 2 * VALUES


class Batch(NamedTuple):
    """Words (B T); where a question stands (B Q); and what it asks for (B)."""

    words: Tensor
    questions: Tensor
    answers: Tensor


def batch(
    size: int, seed: int, steps: int = STEPS, distances: tuple[int, ...] = DISTANCES
) -> Batch:
    """Sequences of random values; one of them is marked, no later than the distances allow."""
    draw = torch.Generator().manual_seed(seed)
    words = torch.randint(VALUES, (size, steps), generator=draw)
    answers = torch.randint(VALUES, (size,), generator=draw)
    latest = steps - 1 - max(distances)
    marked = torch.randint(latest + 1, (size,), generator=draw)
    rows = torch.arange(size)
    words[rows, marked] = VALUES + answers
    questions = marked[:, None] + torch.tensor(distances)
    words[rows[:, None], questions] = _QUESTION
    return Batch(words, questions, answers)


def losses(logits: Tensor, one: Batch) -> Tensor:
    """The loss of each question (B Q), nats."""
    rows = torch.arange(len(one.words))[:, None]
    asked = logits[rows, one.questions]
    repeated = one.answers[:, None].expand_as(one.questions)
    return cross_entropy(asked.movedim(-1, 1), repeated, reduction="none")


def accuracy(logits: Tensor, one: Batch) -> Tensor:
    """The share that is answered rightly, by distance (Q)."""
    rows = torch.arange(len(one.words))[:, None]
    said = logits[rows, one.questions].argmax(-1)
    return (said == one.answers[:, None]).double().mean(0)
