"""Name recall: a story asks for the name that it began with, a chosen number of tokens later."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from random import Random
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam

from throughtime.errors import InputError, unknown
from throughtime.problem import Criterion, Problem, seeded
from throughtime.tasks.english import ENGLISH
from throughtime.tasks.korean_stories import KOREAN
from throughtime.tasks.model import Cell, at_least, kind_of, token_model
from throughtime.tasks.sequences import carry, windows
from throughtime.tasks.stories import Storyteller

LanguageName = Literal["en", "ko"]
Questions = tuple[Tensor, Tensor]  # token numbers (T B), T = distance + 1, and names (B)

STORYTELLERS: dict[str, Storyteller] = {"en": ENGLISH, "ko": KOREAN}
SOLVED = Criterion("accuracy", "above", 0.9)  # as the demo counts
HELD_OUT_SEED = "held out"  # no number, so that no seed of training can equal it


def name_recall(
    cell: Cell = "lstm",
    distance: int = 17,
    language: LanguageName = "en",
    *,
    nearest: int | None = None,
    forget_bias: float | None = None,
    hidden: int = 128,
    batch: int = 32,
    seed: int = 0,
) -> Problem:
    """The name-recall problem, with its loss on the last step alone.

    Args:
        cell: name of a cell, or a layer with ``nn.LSTM``'s signature.
        distance: steps from the name to the question.
        language: of the stories: English or Korean.
        nearest: if given, each batch has one distance, drawn from ``nearest`` to ``distance``.
        forget_bias: of a gated layer; None leaves what the layer starts with.
        hidden: width of the embedding and of the state.
        batch: stories at a time.
        seed: of the initialisation.

    Returns:
        A problem with batches (T B), (B) where T = distance + 1; its loss is in nats, its
        ``trivial_loss`` ln 8. ``evaluate(model, distance=…)`` gives the ``accuracy`` over fresh
        stories at any distance; solved above 0.9, from which the demo counts a name as recalled.

    Raises:
        InputError: no story is that short, or the cell or the language is not known.
    """
    teller = storyteller(language)
    at_least("batch", batch, 1)
    nearest = distance if nearest is None else nearest
    if nearest > distance:
        raise InputError(f"nearest is {nearest}, beyond the distance {distance}: give at most that")
    teller.story(nearest, Random(seed))  # too short a distance is refused here
    with seeded(seed):
        model = token_model(
            cell, len(teller.vocabulary), hidden, len(teller.names), False, forget_bias
        )

    def batches(seed: int) -> Iterator[Questions]:
        draw = Random(seed)
        while True:
            yield questions(teller, draw.randint(nearest, distance), batch, draw)

    return Problem(
        name=f"name recall ({kind_of(cell)}, {language}, distance {distance})",
        model=model,
        batches=batches,
        loss=answer_loss,
        span=distance,
        evaluate=partial(accuracy, teller=teller, distance=distance),
        optimizer=partial(Adam, lr=3e-3),
        trivial_loss=math.log(len(teller.names)),
        solved=SOLVED,
        windows=windows,
        carry=partial(carry, loss=cross_entropy),
    )


def storyteller(language: str) -> Storyteller:
    """Who tells the stories of a language.

    Raises:
        InputError: nobody does.
    """
    if language not in STORYTELLERS:
        raise InputError(unknown("language", language, STORYTELLERS))
    return STORYTELLERS[language]


def questions(teller: Storyteller, distance: int, batch: int, draw: Random) -> Questions:
    """Stories of one distance as numbers: tokens (T B), T = distance + 1, and answers (B)."""
    number = {token: n for n, token in enumerate(teller.vocabulary)}
    stories = [teller.story(distance, draw) for _ in range(batch)]
    tokens = torch.tensor([[number[token] for token in story.tokens] for story in stories])
    return tokens.T, torch.tensor([teller.names.index(story.answer) for story in stories])


def answer_loss(model: nn.Module, batch: Questions) -> Tensor:
    """Mean cross-entropy of the answers, in nats."""
    tokens, answers = batch
    return cross_entropy(model(tokens), answers)


@torch.no_grad()
def accuracy(
    model: nn.Module, *, teller: Storyteller, distance: int, stories: int = 256
) -> dict[str, float]:
    """Share of right answers over fresh stories at ``distance``; always the same stories."""
    tokens, answers = questions(teller, distance, stories, Random(f"{HELD_OUT_SEED} {distance}"))
    training = model.training
    model.eval()
    try:
        right = model(tokens).argmax(dim=-1) == answers
    finally:
        model.train(training)
    return {"accuracy": float(right.double().mean())}
