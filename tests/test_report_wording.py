"""Numbers and verdicts in words."""

import math
from dataclasses import replace
from typing import Any

import pytest
import report_samples as samples

from throughtime.report import wording


@pytest.mark.parametrize(
    ("log10", "expected"),
    [
        (0.0, "1"), (-1.0, "0.1"), (-1.38, "0.042"), (-3.0, "0.001"), (2.0, "100"),
        (3.3, "1,995"), (-9.49, "3.2 × 10⁻¹⁰"), (12.0, "1.0 × 10¹²"), (-7.0000001, "1.0 × 10⁻⁷"),
        (400.5, "3.2 × 10⁴⁰⁰"), (-31_000.4, "10⁻³¹⁰⁰⁰"), (-1.6e32, "10^-1.6e+32"),
         (-math.inf, "exactly 0"), (math.inf, "infinite"),
        (math.nan, "unknown"), (None, "unknown"),
    ],
)  # fmt: skip  # what belongs together, on one line
def test_a_log_is_shown_as_the_number_it_stands_for(log10: float | None, expected: str) -> None:
    assert wording.power(log10) == expected


@pytest.mark.parametrize(
    ("value", "slope", "pace"),
    [
        (-0.22, "−0.220 decades per step", "ten times smaller every 4.5 steps"),
        (0.004, "+0.0040 decades per step", "ten times larger every 250 steps"),
        (-0.00001, "0.0000 decades per step", ""),
        (0.0, "0.0000 decades per step", ""),
        (None, "none", ""),
        (math.nan, "not finite", ""),
        (-math.inf, "not finite", ""),
    ],
)
def test_a_rate_has_its_unit_and_its_pace(value: float | None, slope: str, pace: str) -> None:
    assert (wording.slope(value), wording.pace(value)) == (slope, pace)


@pytest.mark.parametrize(
    ("change", "reach", "covered"),
    [
        ({}, "9 of 100 steps", 0.09),
        ({"horizon": 99, "reaches_end": True}, "at least 99 of 100 steps", 0.99),
        ({"horizon": 5000, "span": 1000}, "5,000 of 1,000 steps", 1.0),
        ({"horizon": 0, "reaches_end": True, "span": 1}, "0 of 1 step", 0.0),
        ({"horizon": None}, "unknown", 0.0),
    ],
)
def test_the_reach_in_words_and_as_a_share(
    change: dict[str, Any], reach: str, covered: float
) -> None:
    layer = replace(samples.layer(), **change)
    assert (wording.reach(layer), wording.covered(layer)) == (reach, covered)


@pytest.mark.parametrize(
    ("kind", "verified", "because", "by", "expected"),
    [
        ("RNN", 3.1e-7, "", "autograd", "verified to 3e-07"),
        ("RNN", 3.1e-7, "", "", "check failed"),  # of the long lags
        ("RNN", math.nan, "", "", "check failed"),
        ("RNN", None, "dropout", "", "not verified: dropout"),
        ("RNN", None, " \n", "", "not verified"),
        ("RNN", None, "no weight", "autograd", "compared with autograd"),
        ("marked", 0.0, "", "autograd", "read from the autograd graph itself"),
    ],
)
def test_only_a_check_that_held_counts_as_verified(
    kind: str, verified: float | None, because: str, by: str, expected: str
) -> None:
    change = {"kind": kind, "verified": verified, "unverified_because": because, "checked_by": by}
    assert wording.check(replace(samples.layer(), **change)) == expected


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("short", 5, "short"),
        ("encoder.layers.12.rnn", 11, "encod…2.rnn"),
        ("철수의 기억은 길다", 11, "철수의…길다"),
        ("a\x1b[1mb\ud800", 9, "a [1mb\ufffd"),
    ],
)
def test_a_long_name_keeps_both_ends(text: str, most: int, expected: str) -> None:
    assert wording.short(text, most) == expected


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"horizon_gain": 0.01, "over": (1, 2)}, "horizon gain: 0.01; over: 1, 2"),
        ([1234567, 0.1 + 0.2, True, None, "a\nb"], "1,234,567, 0.3, True, none, a b"),
        (math.nan, "nan"),
    ],
)
def test_any_value_of_a_run_fits_one_line(item: object, expected: str) -> None:
    assert wording.value(item) == expected


def test_a_verdict_of_a_later_version_is_shown_as_it_is() -> None:
    assert wording.verdict("chaotic <b>") == ("Chaotic <b>", "?", "unknown")
