"""The language model: shapes, the trivial answer, and learning beyond it."""

import math

import pytest
import torch
from torch import nn

from throughtime.errors import InputError, LoadError
from throughtime.tasks import Corpus, language_model, python_manual
from throughtime.training import train

LAYERS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def small(cell: str = "rnn", **kwargs):
    return language_model(cell, **{"hidden": 32, "window": 16, "batch": 8, **kwargs})


@pytest.mark.parametrize("cell", LAYERS)
def test_the_layer_is_the_one_that_was_asked_for(cell: str) -> None:
    assert type(small(cell).model.recurrent) is LAYERS[cell]


def test_scores_of_every_word_at_every_step() -> None:
    problem = small()
    inputs, targets = next(problem.batches(0))
    shapes = inputs.shape, targets.shape, problem.model(inputs).shape
    assert shapes == ((16, 8), (16, 8), (16, 8, 2000))


def test_the_span_is_the_longest_way_back_in_a_window() -> None:
    assert small().span == 15


def test_before_training_the_loss_is_near_that_of_a_uniform_guess() -> None:
    assert small().closure().item() == pytest.approx(math.log(2000), abs=0.2)


def test_the_trivial_answer_is_the_entropy_of_the_words() -> None:
    assert small().trivial_loss == Corpus.from_text(python_manual()).unigram_entropy


@pytest.mark.parametrize("cell", LAYERS)
def test_a_few_steps_beat_the_trivial_answer(cell: str) -> None:
    problem = small(cell, hidden=64, batch=16)
    losses = train(problem, 120).losses
    assert sum(losses[-10:]) / 10 < problem.trivial_loss - 0.3


def test_perplexity_is_the_exponential_of_the_loss() -> None:
    scores = small().evaluate(small().model)
    assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]))


def test_evaluation_leaves_the_mode_alone() -> None:
    problem = small()
    problem.evaluate(problem.model.train())
    assert problem.model.training


def test_a_text_of_ones_own_in_korean() -> None:
    problem = small(text="철수는 방에서 책을 읽고 있었다. 영희가 들어왔다. " * 60, vocabulary=50)
    train(problem, 80)
    assert problem.evaluate(problem.model)["loss"] < problem.trivial_loss / 2


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"cell": "transformer"}, InputError, "choose from: rnn, relu-rnn, lstm, gru"),
        ({"window": 1}, InputError, "must be at least 2"),
        ({"text": "word " * 300, "window": 400}, LoadError, "a shorter window"),
        ({"text": "book.txt"}, LoadError, "3 words"),
        ({"vocabulary": 1}, InputError, "at least 2"),
    ],
)
def test_what_cannot_be_read_is_refused(wrong, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        small(**wrong)


def test_the_same_seed_makes_the_same_model() -> None:
    pairs = zip(small(seed=3).model.parameters(), small(seed=3).model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
