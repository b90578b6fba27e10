"""Name recall: exact distances, nothing given away, and a loss that learning brings down."""

import math
from collections import Counter
from itertools import pairwise
from random import Random

import pytest
import torch

from throughtime.errors import InputError
from throughtime.tasks import name_recall
from throughtime.tasks.korean import ends_in_consonant
from throughtime.tasks.name_recall import STORYTELLERS, accuracy, questions
from throughtime.tasks.stories import Storyteller
from throughtime.tasks.tokeniser import tokenise
from throughtime.training import train

LANGUAGES = sorted(STORYTELLERS)
EVERY = [
    (language, distance)
    for language in LANGUAGES
    for distance in [*range(STORYTELLERS[language].shortest, 60), 99, 100, 257, 1000, 5001]
]


@pytest.fixture(params=LANGUAGES)
def teller(request: pytest.FixtureRequest) -> Storyteller:
    return STORYTELLERS[request.param]


@pytest.mark.parametrize(("language", "distance"), EVERY)
def test_exactly_so_many_tokens_from_the_name_to_the_gap(language: str, distance: int) -> None:
    draw = Random(distance)
    stories = [STORYTELLERS[language].story(distance, draw) for _ in range(8)]
    assert {(len(s.tokens) - 1, s.tokens.index(s.answer)) for s in stories} == {(distance, 0)}


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "Tom was watching TV in his room. Mary came into the room. Mary said hi to"),
        ("ko", "철수는 방에서 TV를 보고 있었다. 영희가 방에 들어왔다. 영희는"),
    ],
)
def test_the_story_of_the_lecture_is_told(language: str, sentence: str) -> None:
    told, draw = tuple(tokenise(sentence)), Random(0)
    distance = len(told) - 1
    assert told in {STORYTELLERS[language].story(distance, draw).tokens for _ in range(20_000)}


def test_between_the_name_and_the_gap_nobody_who_could_be_asked_for_is_named(
    teller: Storyteller,
) -> None:
    draw = Random(1)
    between = {token for _ in range(200) for token in teller.story(80, draw).tokens[1:]}
    assert not between & set(teller.names)


def test_the_story_goes_on_alike_whoever_is_asked_for(teller: Storyteller) -> None:
    """Names with the same ending, the same draws otherwise: only the first token differs."""
    ending = ends_in_consonant if teller is STORYTELLERS["ko"] else len
    names = [name for name in teller.names if ending(name) == ending(teller.names[0])]
    alone = [Storyteller(**{**vars_of(teller), "names": (name,)}) for name in names]
    assert len({one.story(60, Random(3)).tokens[1:] for one in alone}) == 1


def vars_of(teller: Storyteller) -> dict[str, object]:
    return {name: getattr(teller, name) for name in Storyteller.__dataclass_fields__}


def test_no_visitor_is_ever_an_answer(teller: Storyteller) -> None:
    assert not set(teller.names) & set(teller.visitors)


def test_every_name_is_one_token(teller: Storyteller) -> None:
    people = teller.names + teller.visitors
    assert [tokenise(name) for name in people] == [[name] for name in people]


def test_all_names_are_asked_for_equally_often(teller: Storyteller) -> None:
    draw = Random(2)
    asked = Counter(teller.story(20, draw).answer for _ in range(4000))
    expected = 4000 / len(teller.names)
    chi_squared = sum((asked[name] - expected) ** 2 / expected for name in teller.names)
    assert chi_squared < 24.3  # 7 degrees of freedom: exceeded once in 1000 draws


def test_fillers_make_up_every_length_but_one_and_two(teller: Storyteller) -> None:
    lengths = {len(tokenise(filler)) for filler in teller.fillers}
    assert min(lengths) == 3
    assert {3, 4, 5} <= lengths


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_korean_particle_fits_and_each_language_keeps_to_itself(language: str) -> None:
    text = " ".join(token for token in STORYTELLERS[language].vocabulary if token != "TV")
    hangul = any("가" <= letter <= "힣" for letter in text)
    latin = any(letter.isascii() and letter.isalpha() for letter in text)
    assert (hangul, latin) == (language == "ko", language == "en")


def test_korean_particles_in_the_stories_follow_their_names() -> None:
    teller, draw = STORYTELLERS["ko"], Random(4)
    stories = [teller.story(30, draw).tokens for _ in range(300)]
    pairs = {
        (word, after)
        for tokens in stories
        for word, after in pairwise(tokens)
        if word in teller.names + teller.visitors
    }
    wrong = {(name, p) for name, p in pairs if (p in "은이") != ends_in_consonant(name)}
    assert pairs
    assert not wrong


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_batch_is_time_first(language: str) -> None:
    tokens, answers = questions(STORYTELLERS[language], 23, 5, Random(0))
    assert (tokens.shape, answers.shape) == ((24, 5), (5,))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"distance": 5}, "the shortest story has 6"),
        ({"distance": 4, "language": "ko"}, "the shortest story has 5"),
        ({"distance": 20, "nearest": 21}, "beyond the distance 20"),
        ({"language": "fr"}, "unknown language 'fr'; choose from: en, ko"),
        ({"cell": "elman"}, "choose from: rnn, relu-rnn, lstm, gru"),
        ({"cell": "rnn", "forget_bias": 1.0}, "has no gate that keeps"),
    ],
)
def test_what_cannot_be_told_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        name_recall(**wrong)


def test_the_forget_gate_starts_with_the_bias_that_was_asked_for() -> None:
    layer = name_recall("lstm", hidden=4, forget_bias=2.0).model.recurrent
    total = (layer.bias_ih_l0 + layer.bias_hh_l0)[4:8]
    assert torch.equal(total, torch.full((4,), 2.0))


def test_mixed_distances_lie_between_the_nearest_and_the_farthest() -> None:
    batches = name_recall("rnn", 12, nearest=9, hidden=4).batches(0)
    assert {len(next(batches)[0]) - 1 for _ in range(60)} == {9, 10, 11, 12}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_stories(language: str, seed: int) -> None:
    first, second = (name_recall("rnn", 20, language, hidden=4).batches(seed) for _ in range(2))
    pairs = [(next(first), next(second)) for _ in range(3)]
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


def test_another_seed_gives_other_stories() -> None:
    problem = name_recall("rnn", 20, hidden=4)
    assert not torch.equal(next(problem.batches(0))[0], next(problem.batches(1))[0])


@pytest.mark.parametrize("distance", [6, 40])
def test_a_network_that_knows_nothing_guesses(distance: int) -> None:
    problem = name_recall("rnn", 20, hidden=16)
    score = accuracy(problem.model, teller=STORYTELLERS["en"], distance=distance, stories=2000)[
        "accuracy"
    ]
    assert abs(score - 1 / 8) < 0.04  # five standard deviations


def test_the_score_at_any_distance_comes_from_evaluate() -> None:
    problem = name_recall("rnn", 20, hidden=16)
    expected = accuracy(problem.model, teller=STORYTELLERS["en"], distance=33)
    assert problem.evaluate(problem.model, distance=33) == expected


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_every_cell_learns_a_short_distance(cell: str, language: str) -> None:
    problem = name_recall(cell, 6, language, hidden=64)
    train(problem, 150)
    assert problem.evaluate(problem.model)["accuracy"] > 0.9


def test_guessing_is_the_trivial_answer() -> None:
    assert name_recall("rnn", hidden=4).trivial_loss == pytest.approx(math.log(8))
