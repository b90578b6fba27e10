"""The forecast at toy size: its evidence in worlds with known answers, its splits and scores."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, roc_auc_score

import throughtime as tt
from benchmarks.forecast import evidence, learning, page, scores, table
from benchmarks.forecast.assess import assess
from benchmarks.forecast.forecasters import FORECASTERS, PROMISES, flow, open_at
from benchmarks.forecast.opening import text
from benchmarks.forecast.problems import problem
from benchmarks.forecast.settings import (
    INITIALISATIONS,
    LENGTHS,
    LOOKS,
    Setting,
    settings,
)
from benchmarks.forecast.splits import halves, without_each

ROOT = Path(__file__).parent.parent

ONE_OF_EACH = [
    Setting(task, cell, initialisation, lengths[0])
    for (task, lengths), (cell, initialisations) in zip(
        list(LENGTHS.items()) * 3, INITIALISATIONS.items(), strict=False
    )
    for initialisation in initialisations
]


def trace_of(setting: Setting, sequences: int = 6) -> tt.LayerTrace:
    toy = problem(setting, sequences)
    batch = next(iter(toy.batches(1)))
    lengths = [len(batch[0])] * sequences
    return tt.observe(toy.model, lambda: toy.loss(toy.model, batch), lengths=lengths)[0]


@pytest.mark.parametrize("setting", ONE_OF_EACH, ids=lambda setting: setting.name)
def test_every_initialisation_can_be_looked_at(setting: Setting) -> None:
    toy = problem(setting, 4)
    found = evidence.look(toy, next(iter(toy.batches(1))))
    assert tuple(found) == evidence.FIGURES
    assert all(value is None or math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("cell", INITIALISATIONS)
def test_what_went_far_is_the_gradient_of_the_last_loss_at_steps_so_far_before_it(
    cell: str,
) -> None:
    layer = trace_of(Setting("adding", cell, "default", 12))
    expected = layer.gradients.clone()
    expected[12 - 5 :] = 0  # the only loss stands at step 11: at least 5 steps before it
    torch.testing.assert_close(evidence.gone_far(layer, 5), expected, rtol=1e-4, atol=1e-9)


def test_all_of_the_gradient_went_back_at_least_no_step() -> None:
    layer = trace_of(Setting("copy", "lstm", "default", 7))
    torch.testing.assert_close(evidence.gone_far(layer, 0), layer.gradients, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("signal", "noise", "expected"), [(1.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0)]
)
def test_the_agreement_of_signal_and_of_noise(signal: float, noise: float, expected: float) -> None:
    draw = torch.Generator().manual_seed(0)
    asked = signal + noise * torch.randn(400, 1000, generator=draw, dtype=torch.float64)
    assert evidence.agreement(asked) == pytest.approx(expected, abs=0.1)


def test_the_promise_is_the_mean_over_the_root_mean_square_of_a_batch() -> None:
    draw = torch.Generator().manual_seed(0)
    asked = 0.2 + torch.randn(learning.LOOKED_AT, 2000, generator=draw, dtype=torch.float64)
    mean, power = 2000 * 0.2**2, float(asked.square().sum(1).mean())
    seen = {f"{which} power": math.log10(power) for which in ("far", "whole")}
    seen |= {f"{which} agreement": evidence.agreement(asked) for which in ("far", "whole")}
    found = flow({"looks": {"0": seen}}, 0)[PROMISES.index("far promise")]
    assert found == pytest.approx(math.log10(mean / math.sqrt(mean + power / 32)), abs=0.05)


def test_a_training_is_looked_at_and_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "UPDATES", 50)
    record = learning.learn(Setting("copy", "indrnn", "span", 4))
    assert list(record["looks"]) == ["0", "25", "50"]
    assert record["learned at"] is None
    assert 0 < record["loss"] < record["looks"]["0"]["loss"]


def test_a_training_that_learned_ends_and_is_looked_at_no_more() -> None:
    record = learning.learn(Setting("name recall", "relu-rnn", "identity", 9))
    assert record["learned at"] < 200
    assert record["loss"] < learning.LEARNED
    assert all(int(look) < record["learned at"] for look in record["looks"])


def test_a_record_is_read_as_it_was_written_and_half_a_line_is_none(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    record = {"task": "adding", "looks": {"0": dict.fromkeys(evidence.FIGURES, 0.5)}}
    table.append(record, path)
    with path.open("a") as file:
        file.write('{"task": "ad')
    assert table.read(path) == [record]
    table.append(record, path)
    assert table.read(path) == [record, record]


# Scores against scikit-learn's.


def outcomes(seed: int) -> tuple[scores.Outcomes, scores.Floats]:
    draw = np.random.default_rng(seed)
    forecast = draw.integers(0, 11, 200) / 10  # with ties
    return draw.random(200) < forecast, forecast


@pytest.mark.parametrize("seed", range(3))
def test_the_scores_are_those_of_scikit_learn(seed: int) -> None:
    learned, forecast = outcomes(seed)
    assert scores.auc(learned, forecast) == pytest.approx(roc_auc_score(learned, forecast))
    assert scores.brier(learned, forecast) == pytest.approx(brier_score_loss(learned, forecast))


def test_an_interval_of_repeats_is_as_wide_as_that_of_one_each() -> None:
    learned, forecast = outcomes(0)

    def width(copies: int) -> float:
        groups = np.tile(np.arange(200), copies)
        some = scores.interval(
            lambda sample: scores.brier(learned[groups[sample]], forecast[groups[sample]]), groups
        )
        return some.high - some.low

    assert width(3) == pytest.approx(width(1), rel=0.1)


def test_a_calibrated_forecast_is_reliable() -> None:
    draw = np.random.default_rng(0)
    forecast = draw.random(20000)
    rows = scores.reliability(draw.random(20000) < forecast, forecast)
    assert [count > 0 for _, _, count, _, _ in rows] == [True] * 5
    assert all(mean == pytest.approx(share, abs=0.03) for _, _, _, mean, share in rows)


# Splits, and the page, on trainings that were never run.


def invented(setting: Setting, learned: bool) -> dict[str, Any]:
    """A record in which the gradient flow, and nothing else, tells who will learn."""
    noise = (setting.seed % 997) / 997
    figures = dict.fromkeys(evidence.FIGURES, 0.1 + noise / 10)
    figures["far power"] = 2.0 * learned - 4 + noise
    return {
        **{name: getattr(setting, name) for name in ("task", "cell", "initialisation", "length")},
        "repeat": setting.repeat,
        "half": setting.half,
        "span": setting.length,
        "learned at": 300 if learned else None,
        "diverged": False,
        "loss": 0.1 if learned else 0.9,
        "looks": {str(look): figures for look in LOOKS},
    }


INVENTED = [invented(setting, setting.seed % 3 == 0) for setting in settings(2)]
SPLITS = [
    *halves(INVENTED),
    *without_each("task", INVENTED),
    *without_each("cell", INVENTED),
]


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.left_out)
def test_no_setting_lies_on_both_sides(split: Any) -> None:
    fit, test = ({table.setting_of(r).name for r in side} for side in (split.fit, split.test))
    assert len(split.fit) + len(split.test) == len(INVENTED)
    assert fit
    assert test
    assert not fit & test


def test_no_training_sees_what_it_is_judged_on() -> None:
    trained_on = {one.seed + 1 for one in settings(2)}
    assert not trained_on & {learning.CAPTURED_SEED, learning.HELD_OUT_SEED}


def test_the_half_of_a_setting_depends_on_its_name_alone() -> None:
    assert Setting("adding", "lstm", "chrono", 40).half == "test"
    assert {one.half for one in settings(2)} == {"fit", "test"}


@pytest.mark.parametrize(
    ("who", "expected"), [("gradient flow alone", 1.0), ("loss and its decrease", 0.5)]
)
def test_only_who_can_know_forecasts_right(who: str, expected: float) -> None:
    found = assess(SPLITS[0], 50, who)
    assert scores.auc(found.learned, found.forecast) == pytest.approx(expected, abs=0.1)


def test_what_has_been_learned_before_a_look_is_not_forecast() -> None:
    record = {"looks": {"0": {}, "25": {}}}
    assert [len(open_at([record], look)) for look in LOOKS] == [1, 1, 0, 0]


def test_the_page_holds_every_forecaster_and_what_was_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scores, "RESAMPLES", 5)
    shown = "\n".join(one.markdown() for one in page.tables(INVENTED)) + text(INVENTED)
    missing = {name for name in (*FORECASTERS, *LENGTHS, *INITIALISATIONS) if name not in shown}
    assert not missing


# The committed results.


def test_the_committed_table_is_of_enough_settings_and_keeps_to_the_split() -> None:
    records = table.read()
    names = {table.setting_of(record).name for record in records}
    assert len(names) >= 300
    assert names <= {setting.name for setting in settings()}
    assert all(record["half"] == table.setting_of(record).half for record in records)


def test_the_page_says_what_the_committed_table_says() -> None:
    (split,) = halves(table.read())
    found = assess(split, page.HEADLINE, "gradient flow and all simple figures")
    said = (ROOT / "docs" / "forecast.md").read_text(encoding="utf-8")
    assert f"ROC AUC of {scores.auc(found.learned, found.forecast):.3f} (" in said
