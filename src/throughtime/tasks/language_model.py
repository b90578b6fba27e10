"""Language models of real text, by words or by characters: predict every next token."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam

from throughtime.errors import DivergedError
from throughtime.problem import Problem, seeded
from throughtime.tasks.corpus import Corpus, Unit, excerpts, python_manual, streams
from throughtime.tasks.model import Cell, at_least, kind_of, token_model
from throughtime.tasks.sequences import carry, windows

_LARGEST = math.log(sys.float_info.max)  # nats whose perplexity is a number
Excerpts = tuple[Tensor, Tensor]  # token numbers (T B) and the ones that follow them (T B)

NAMES = {"words": "language model", "characters": "character model"}


def language_model(
    cell: Cell = "rnn",
    *,
    text: str | None = None,
    unit: Unit = "words",
    hidden: int = 128,
    window: int = 64,
    batch: int = 16,
    vocabulary: int = 2000,
    stream: bool = False,
    forget_bias: float | None = None,
    seed: int = 0,
) -> Problem:
    """A language model of ``text``, with a loss at every step.

    Args:
        cell: name of a cell, or a layer with ``nn.LSTM``'s signature.
        text: the text itself (``read_text`` reads a file); None for the manual of Python.
        unit: what is predicted: words (and signs), or characters.
        hidden: width of the embedding and of the state.
        window: steps T of one batch, at least 2. No gradient crosses its edge, so that the span is
            ``window - 1``.
        batch: windows at a time.
        vocabulary: how many different tokens to tell apart; rarer ones become ``<unk>``.
        stream: False takes the windows from random places of the training part, and ``windows`` may
            cut a long one for truncated backpropagation. True lets each go on where the one before
            it ended, with the state carried from batch to batch (Mikolov et al. 2010).
        forget_bias: of a gated layer; None leaves what the layer starts with.
        seed: of the initialisation.

    Returns:
        A problem with batches (T B), (T B); losses are in nats per token. Its ``trivial_loss`` is
        the entropy of the token frequencies of the training part; ``evaluate`` gives ``loss`` and
        ``perplexity`` on the validation part, and for characters ``bits`` per character.

    Raises:
        LoadError: the text is too short.
        InputError: an argument is out of range.
    """
    at_least("window", window, 2, ", to have an earlier step to look back at")
    at_least("batch", batch, 1)
    text = python_manual() if text is None else text
    corpus = Corpus.from_text(text, largest=vocabulary, unit=unit)
    size = len(corpus.vocabulary)
    with seeded(seed):
        model = token_model(cell, size, hidden, size, True, forget_bias)
    read = partial(_read, corpus.train, window, batch, unit, stream)
    next(read(seed))  # a text shorter than one window is refused here, not in mid-training
    return Problem(
        name=f"{NAMES[unit]} ({kind_of(cell)})",
        model=model,
        batches=read,
        loss=next_token_loss,
        span=window - 1,
        evaluate=partial(perplexity, tokens=corpus.validation, unit=unit),
        optimizer=partial(Adam, lr=3e-3),
        trivial_loss=corpus.unigram_entropy,
        windows=None if stream else windows,
        carry=partial(carry, loss=mean_cross_entropy),
    )


def _read(
    tokens: Tensor, window: int, batch: int, unit: Unit, stream: bool, seed: int
) -> Iterator[Excerpts]:
    generator = torch.Generator().manual_seed(seed)
    return (streams if stream else excerpts)(tokens, window, batch, generator, unit)


def mean_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Over all steps and windows, in nats per token."""
    return cross_entropy(scores.flatten(0, 1), targets.flatten())


def next_token_loss(model: nn.Module, batch: Excerpts) -> Tensor:
    """Mean cross-entropy of a batch, in nats per token."""
    inputs, targets = batch
    return mean_cross_entropy(model(inputs), targets)


@torch.no_grad()
def perplexity(model: nn.Module, *, tokens: Tensor, unit: Unit = "words") -> dict[str, float]:
    """Loss in nats per token and perplexity on ``tokens`` (N,), read as one long sequence.

    Raises:
        DivergedError: the perplexity is no finite number.
    """
    training = model.training
    model.eval()
    try:
        loss = float(next_token_loss(model, (tokens[:-1, None], tokens[1:, None])))
    finally:
        model.train(training)
    if not loss < _LARGEST:
        raise DivergedError(
            f"the held-out loss is {loss:.3g} nats per token, and its perplexity is not finite: "
            "try a smaller learning rate"
        )
    bits = {"bits": loss / math.log(2)} if unit == "characters" else {}
    return {"loss": loss, "perplexity": math.exp(loss), **bits}
