"""Word-level language modelling of real text: predict every next word."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam

from throughtime.errors import InputError
from throughtime.problem import Problem, seeded
from throughtime.tasks.cells import CellName, recurrent_layer
from throughtime.tasks.corpus import Corpus, python_manual, windows

Windows = tuple[Tensor, Tensor]  # token numbers (T B) and the ones that follow them (T B)


class LanguageModel(nn.Module):
    """Embedding, one recurrent layer, linear read-out: token numbers (T B) to scores (T B V)."""

    def __init__(self, cell: CellName, vocabulary: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.recurrent = recurrent_layer(cell, hidden, hidden)
        self.readout = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of every word of the vocabulary as the next one, at every step."""
        states, _ = self.recurrent(self.embedding(tokens))
        scores: Tensor = self.readout(states)
        return scores


def language_model(
    cell: CellName = "rnn",
    *,
    text: str | None = None,
    hidden: int = 128,
    window: int = 64,
    batch: int = 16,
    vocabulary: int = 2000,
    seed: int = 0,
) -> Problem:
    """A word-level language model of ``text``, with a loss at every step.

    Args:
        cell: the recurrent layer.
        text: the text itself (``read_text`` reads a file); None for the manual of Python.
        hidden: width of the embedding and of the state.
        window: steps T of one training window, at least 2. No gradient crosses its edge, so that
            the span is ``window - 1``.
        batch: windows at a time, from random places of the training part.
        vocabulary: how many different words to tell apart; rarer ones become ``<unk>``.
        seed: of the initialisation.

    Returns:
        A problem with batches (T B), (T B); losses are in nats per token. Its ``trivial_loss`` is
        the entropy of the word frequencies; ``evaluate`` gives ``loss`` and ``perplexity`` on the
        validation part.

    Raises:
        LoadError: the text is too short.
        InputError: an argument is out of range.
    """
    if window < 2:
        raise InputError(
            f"a window of {window} has no earlier step to look back at: give at least 2"
        )
    corpus = Corpus.from_text(python_manual() if text is None else text, largest=vocabulary)
    with seeded(seed):
        model = LanguageModel(cell, len(corpus.vocabulary), hidden)

    def batches(seed: int) -> Iterator[Windows]:
        generator = torch.Generator().manual_seed(seed)
        return windows(corpus.train, window, batch, generator)

    next(batches(seed))  # a text shorter than one window is refused here, not in mid-training
    return Problem(
        name=f"language model ({cell.upper()})",
        model=model,
        batches=batches,
        loss=next_word_loss,
        span=window - 1,
        evaluate=partial(perplexity, tokens=corpus.validation),
        optimizer=partial(Adam, lr=3e-3),
        trivial_loss=corpus.unigram_entropy,
    )


def next_word_loss(model: nn.Module, batch: Windows) -> Tensor:
    """Mean cross-entropy over all steps and windows, in nats per token."""
    inputs, targets = batch
    return cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


@torch.no_grad()
def perplexity(model: nn.Module, *, tokens: Tensor) -> dict[str, float]:
    """Loss in nats per token and perplexity on ``tokens`` (N,), read as one long sequence."""
    training = model.training
    model.eval()
    try:
        loss = float(next_word_loss(model, (tokens[:-1, None], tokens[1:, None])))
    finally:
        model.train(training)
    return {"loss": loss, "perplexity": math.exp(loss)}
