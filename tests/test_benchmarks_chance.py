"""How often ``treat`` claims that a remedy helped: by chance, and where one does.

All of ``benchmarks.chance`` draws 2,000 studies a row; here are as many as a test has time for.
"""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.chance.__main__ import DEFAULT_REMEDIES, DEFAULT_SEEDS, drawn
from benchmarks.chance.studies import studied
from benchmarks.chance.worlds import NOTHING_HELPS, ONE_HELPS
from throughtime.trials import Treated
from throughtime.trials.treatment.statistics import LEVEL

STUDIES, FEWER = 300, 60
CHANCE = LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / STUDIES)  # what a share of 5 % may look like


def says_help(treated: Treated) -> tuple[bool, bool, bool, bool]:
    """The word, the best remedy, the patch, and the exit code (of a study not solved already)."""
    return (
        treated.answer == "helped",
        treated.best is not None,
        treated.patch is not None,
        treated.exit_code == 0 and treated.answer != "solved already",
    )


@pytest.mark.parametrize("world", NOTHING_HELPS)
def test_where_nothing_helps_it_seldom_says_so(world: str) -> None:
    claims = [says_help(one) for one in drawn(world, NOTHING_HELPS[world], STUDIES)]
    assert {*claims} <= {(True,) * 4, (False,) * 4}
    assert sum(any(claim) for claim in claims) / STUDIES <= CHANCE


def test_where_nothing_can_be_learned_nothing_helps() -> None:
    world = "loss, nothing learns"
    studies = drawn(world, NOTHING_HELPS[world], FEWER)
    assert {one.answer for one in studies} == {"neither learned"}


FOUND = {
    "solves 100 %, untreated 0 %": 1.0,
    "solves 95 %, untreated 5 %": 0.7,
    "lowers the loss by 4 deviations": 0.95,
    "lowers the loss by 2 deviations": 0.7,
}
"""The least share of true effects that is found, with 3 remedies and 7 seeds."""


@pytest.mark.parametrize("world", FOUND)
def test_true_effects_are_still_found(world: str) -> None:
    studies = drawn(world, ONE_HELPS[world], FEWER, DEFAULT_REMEDIES, DEFAULT_SEEDS)
    assert [one.best for one in studies].count("orthogonal") / FEWER >= FOUND[world]


def test_an_interval_would_have_claimed_too_often() -> None:
    """What decided before: the bench can see a rule that is too loose."""

    def by_interval() -> Iterator[bool]:
        for one in drawn("an interval", NOTHING_HELPS["loss, normal"], STUDIES, 3, 7):
            changes = [arm.loss_change for arm in one.arms[1:]]
            yield any(change is not None and change.away(-1) for change in changes)

    assert sum(by_interval()) / STUDIES > 2 * LEVEL


def test_studies_are_the_same_each_time() -> None:
    world = NOTHING_HELPS["loss, normal"]
    first, again = (studied(world, np.random.default_rng(1), 2, 5) for _ in range(2))
    assert first == again
