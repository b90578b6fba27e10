"""What paired differences show: against enumeration, textbooks, and what so few seeds can show."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from throughtime.trials.treatment.statistics import (
    LEVEL,
    compare,
    holm,
    seeds_needed,
    smallest_p,
)

DIFFERENCES = {
    "all of one sign": [-0.1, -0.2, -0.15, -0.12, -0.3],
    "one against": [-0.1, -0.2, -0.15, 0.02, -0.3],
    "solved or not": [0.0, 1.0, 1.0, 0.0, 1.0],
    "nothing": [0.0, 0.0, 0.0],
    "two": [0.4, -0.1],
    "more": [0.3, 0.1, -0.2, 0.4, 0.5, 0.6, -0.1, 0.2, 0.35],
}


def enumerated(differences: list[float], better: int = 1) -> float:
    """The one-sided p by going through every choice of signs."""
    signed = [
        sum(sign * d for sign, d in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    seen = better * sum(differences)
    return sum(one >= seen - 1e-12 for one in signed) / len(signed)


@pytest.mark.parametrize("better", [1, -1])
@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_test_is_exact(name: str, better: int) -> None:
    (found,) = compare([DIFFERENCES[name]], better)
    assert (found.p, found.harm) == pytest.approx(
        (enumerated(DIFFERENCES[name], better), enumerated(DIFFERENCES[name], -better))
    )


def test_the_test_is_that_of_scipy() -> None:
    theirs = stats.permutation_test(
        (np.array(DIFFERENCES["more"]),), np.mean, permutation_type="samples",
        alternative="greater", n_resamples=math.inf,
    )  # fmt: skip  # one call
    assert compare([DIFFERENCES["more"]])[0].p == pytest.approx(float(theirs.pvalue))


@pytest.mark.parametrize("name", ["more", "one against"])
def test_the_interval_is_that_of_scipy(name: str) -> None:
    sample = np.array(DIFFERENCES[name])
    theirs = stats.bootstrap(
        (sample,), np.mean, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    (found,) = compare([DIFFERENCES[name]])
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_mean_lies_in_its_interval(name: str) -> None:
    (found,) = compare([DIFFERENCES[name]])
    assert found.low is not None
    assert found.high is not None
    assert found.mean == pytest.approx(np.mean(DIFFERENCES[name]))
    assert found.low <= found.mean <= found.high


def test_the_interval_covers_what_many_pairs_come_from() -> None:
    """95 % of the intervals of 40 pairs, give or take: a percentile interval is a little short."""
    draw = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        (found,) = compare([list(draw.normal(0.3, 1.0, 40))])
        covered += found.low is not None and found.low <= 0.3 <= (found.high or 0.0)
    assert covered in range(88, 100)


@pytest.mark.parametrize("seeds", range(2, 9))
@pytest.mark.parametrize("arms", [1, 3])
def test_the_smallest_p_is_that_of_differences_of_one_sign(seeds: int, arms: int) -> None:
    alike = [[1.0 + n / 10 for n in range(seeds)]] * arms
    assert {one.corrected for one in compare(alike)} == {smallest_p(seeds, arms)}
    assert compare(alike)[0].smallest == smallest_p(seeds, arms)


@pytest.mark.parametrize(("arms", "seeds"), [(1, 5), (2, 6), (3, 6), (4, 7), (5, 7)])
def test_the_seeds_that_are_needed_are_the_fewest(arms: int, seeds: int) -> None:
    assert seeds_needed(arms) == seeds
    assert smallest_p(seeds, arms) <= LEVEL < smallest_p(seeds - 1, arms)


def test_a_single_pair_shows_nothing() -> None:
    (found,) = compare([[-3.0]], -1)
    assert (found.p, found.low, found.high, found.smallest) == (0.5, None, None, 0.5)
    assert (found.away(-1), found.proven) == (True, False)


HOLM = [
    ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # Holm 1979, by hand
    ([0.5, 0.6], [1.0, 1.0]),
    ([0.02], [0.02]),
    ([], []),
]


@pytest.mark.parametrize(("raw", "corrected"), HOLM)
def test_holms_correction(raw: list[float], corrected: list[float]) -> None:
    assert holm(raw) == pytest.approx(corrected)


SIDES = [
    ([1.0, 2.0, 3.0], (True, False)),
    ([-1.0, -2.0], (False, True)),
    ([-1.0, 1.0], (False,) * 2),
]


@pytest.mark.parametrize(("differences", "sides"), SIDES)
def test_the_side_of_an_interval(differences: list[float], sides: tuple[bool, bool]) -> None:
    (found,) = compare([differences])
    assert (found.away(+1), found.away(-1)) == sides


def test_many_pairs_are_drawn_from_and_give_nearly_the_same() -> None:
    draw = np.random.default_rng(3)
    differences = list(draw.normal(0.4, 1.0, 17))
    (found,) = compare([differences])
    assert found.p == pytest.approx(enumerated(differences), abs=4 * math.sqrt(0.25 / 9999))
