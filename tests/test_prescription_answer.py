"""``prescribe``: what it tries, in which order the options come, and its answer as text."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import repeat

import pytest
import torch
from prescribed_problems import (
    SPAN,
    B,
    H,
    I,
    exploding,
    of_a_broken_network,
    of_a_healthy_network,
    of_an_exploding_network,
    of_an_lstm,
    reading,
)
from torch import Tensor, nn

import throughtime as tt
from throughtime.diagnosis import diagnose
from throughtime.prescription import (
    TREATMENTS,
    Option,
    Prescription,
    Reading,
    fitting,
    prescribe,
    treated,
)
from throughtime.prescription.answer import BROKEN
from throughtime.prescription.ranking import ranked
from throughtime.prescription.reading import read
from throughtime.problem import seeded

# What to try, and in which order.


@pytest.mark.parametrize(
    ("problem", "first", "never"),
    [
        (reading("lstm"), "chrono", "clip"),
        (reading("rnn"), "janet+chrono", "clip"),
        (exploding(), "orthogonal+clip", "chrono"),
        (replace(exploding(), clip=1.0), "orthogonal", "clip"),
        (treated(reading("lstm"), "chrono", SPAN), None, "chrono"),
    ],
    ids=["LSTM", "RNN", "exploding", "exploding, clipped", "healthy"],
)
def test_the_remedies_fit_what_was_found(
    problem: tt.Problem, first: str | None, never: str
) -> None:
    with seeded(0, problem.model):
        names = fitting(diagnose(problem), problem)
    assert next(iter(names), None) == first
    assert never not in names


def replaces(name: str) -> bool:
    return any(TREATMENTS[part].slot == "cell" for part in name.split("+"))


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_who_keeps_the_cell_is_offered_the_same_without_other_cells(cell: str) -> None:
    problem = reading(cell)
    with seeded(0, problem.model):
        found = diagnose(problem)
    names = fitting(found, problem)
    kept = [name for name in names if not replaces(name)]
    assert 0 < len(kept) < len(names)
    assert list(fitting(found, problem, keep_cell=True)) == kept


def option(
    name: str,
    gain: float | None = 0.0,
    verdict: str = "healthy",
    loss: float | None = 1.0,
    cost: float = 1.0,
    horizon: int | None = 99,
) -> Option:
    found = BROKEN if gain is None else Reading(verdict, horizon, False, gain, 0.0)
    return Option(name, found, None, loss, 1.0, cost)


USEFUL = option("useful")
FADING = option("fading", -5.0, "vanishing", horizon=40)
FADED = option("faded", -90.0, "vanishing", horizon=3)
GROWING = option("growing", 6.0, "exploding")
CUT = option("cut", -math.inf, "vanishing", horizon=10)
DIVERGED = option("diverged", None, loss=None)
HARMED = option("harmed", loss=90.0)


@pytest.mark.parametrize(
    ("options", "best"),
    [
        ([FADING, USEFUL], "useful"),
        ([FADED, FADING], "fading"),
        ([CUT, FADED], "faded"),
        ([DIVERGED, CUT], "cut"),
        ([GROWING, FADING], "fading"),
        ([FADING, option("clipped", 6.0, "exploding")], "clipped"),
        ([HARMED, USEFUL], "useful"),
        ([option("first"), USEFUL], "first"),
        ([option("slow", cost=250.0), USEFUL], "slow"),
        ([USEFUL, option("learning", loss=0.5)], "learning"),
        ([USEFUL, option("short-sighted", -5.0, "vanishing", loss=0.1)], "useful"),
        ([option("near", -5.2, "vanishing", horizon=20), FADING], "fading"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(one.name for one in value),
)
def test_the_better_option_comes_first(options: list[Option], best: str) -> None:
    untreated = option("none", -9.0, "vanishing")
    assert ranked(options, untreated, {"clipped"}, trivial_loss=1.0)[0].name == best


def test_a_reading_of_a_marked_recurrence() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.Linear(I + H, H)

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(B, H)
            for step in x:
                h = torch.tanh(self.cell(torch.cat([step, h], -1)))
                tt.mark(h, "own")
            return h.sum(-1)

    with seeded(0):
        model = Own()
    problem = replace(reading("lstm"), model=model)
    batch = next(problem.batches(0))
    assert read(replace(problem, batches=lambda _: repeat(batch)), batch, SPAN).verdict
    found = prescribe(problem, updates=3)
    assert "gru" in {one.name for one in found.refused}


# As text and as JSON.


@pytest.mark.parametrize(
    "found",
    [of_an_lstm, of_an_exploding_network, of_a_healthy_network, of_a_broken_network],
)
def test_json_comes_back_as_it_was(found: Callable[[], Prescription]) -> None:
    assert Prescription.from_json(found().to_json()) == found()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "schema None"),
        ('{"schema": 99}', "upgrade throughtime"),
        ('{"schema": 1}', "not a complete throughtime prescription"),
        ("[]", "not a JSON object"),
    ],
)
def test_other_json_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Prescription.from_json(text)


def test_its_text_has_the_verdict_the_ranking_and_the_code() -> None:
    found = of_an_lstm()
    text = str(found)
    assert text.startswith("VANISHING: ")
    for part in (found.sentence, "1 chrono: ", "tt.remedies.chrono_(model.encoder.rnn, t_max=19)"):
        assert part in text
    assert repr(found) == "Prescription(vanishing, span 19, options: chrono, orthogonal)"


def test_names_from_a_users_file_are_inert_in_html() -> None:
    found = replace(of_an_lstm(), sentence="<script>alert(1)</script>\x1b[31m")
    assert "<script>" not in found._repr_html_()
    assert "\x1b" not in str(found)


def test_its_numbers_are_valid_json_where_they_are_infinite() -> None:
    found = of_an_lstm()
    endless = replace(found.options[0], later=Reading("vanishing", 0, False, -math.inf, None))
    text = replace(found, options=(endless,)).to_json()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert Prescription.from_json(text).options[0].gain_at_span == -math.inf
