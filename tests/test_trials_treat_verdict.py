"""The verdict: the right sentence for every way that paired trials can end."""

import math
from typing import Any

import pytest

from throughtime.trials.treatment.arms import CLOSING, HELD_OUT, compared, loss_name
from throughtime.trials.treatment.result import Arm
from throughtime.trials.treatment.verdict import Verdict, judge

CRITERION = "loss below 0.1"
Outcomes = list[float | str]  # of one arm: a loss; or how a trial ended without one


def result(seed: int, outcome: float | str, criterion: str | None) -> dict[str, Any]:
    """What a run directory records."""
    common = {"seed": seed, "criterion": criterion, "curve": [[10, 1.0 + seed / 100]]}
    if isinstance(outcome, str):
        return {**common, "status": outcome, "reason": "why not", "updates": 7}
    solved = None if criterion is None else outcome < 0.1
    return {
        **common, "status": "solved" if solved else "done", "solved": solved, "updates": 100,
        "scores": {"loss": outcome}, "solved_at": 40 + seed if solved else None, "horizon": 9,
    }  # fmt: skip  # rows of a table


def arms(criterion: str | None = CRITERION, **outcomes: Outcomes) -> tuple[Arm, ...]:
    results = [
        [result(seed, one, criterion) for seed, one in enumerate(arm)] for arm in outcomes.values()
    ]
    return compared([*outcomes], results)


def judged(criterion: str | None = CRITERION, **outcomes: Outcomes) -> Verdict:
    return judge(arms(criterion, **outcomes), criterion, HELD_OUT)


FOUR_BAD, FOUR_GOOD = [0.9, 0.8, 0.95, 0.85], [0.01, 0.02, 0.03, 0.02]
BAD, GOOD = [0.9, 0.8, 0.95, 0.85, 0.9], [0.01, 0.02, 0.03, 0.02, 0.01]
SIX_BAD, SIX_GOOD = [*BAD, 0.9], [*GOOD, 0.02]
LOST: Outcomes = ["diverged"] * 5

CASES = {
    "helped": (
        {"none": BAD, "gru": GOOD},
        ("helped", "gru"),
        ["gru helped: it solved 5 of 5 seeds, after 42 updates (median)", "model 0 of 5",
         "held-out loss 0.02 against 0.9 (median), mean paired difference -0.862 (95 % interval"],
        ["Proof: p = 0.031 (paired permutation test)."],
    ),
    "too few seeds": (
        {"none": FOUR_BAD, "gru": FOUR_GOOD},
        ("none", None),
        ["gru is not proven to help: it solved 4 of 4 seeds, held-out loss 0.02; the untreated"],
        ["The difference may be chance: p = 0.062", "4 seeds cannot give less than 0.062, 5 could"],
    ),
    "too few seeds for two remedies": (
        {"none": BAD, "lstm": [0.05, 0.05, 0.05, 0.05, 0.9], "gru": GOOD},
        ("none", None),
        ["None of 2 remedies is proven to help: the best, gru, solved 5 of 5 seeds"],
        ["p = 0.062", "corrected for 2 remedies", "6 could give less than 0.05"],
    ),
    "the best of two": (
        {"none": SIX_BAD, "lstm": [0.05, 0.05, 0.05, 0.05, 0.9, 0.9], "gru": SIX_GOOD},
        ("helped", "gru"),
        ["gru helped"],
        ["p = 0.031", "corrected for 2 remedies", "Better as well, but not proven: lstm."],
    ),
    "six of seven seeds of three remedies": (
        {"none": [*SIX_BAD, 0.01], "lstm": [*SIX_BAD, 0.01], "lem": [*SIX_BAD, 0.01],
         "gru": [*SIX_GOOD, 0.01]},
        ("helped", "gru"),
        ["gru helped: it solved 7 of 7 seeds", "the untreated model 1 of 7"],
        ["Proof: p = 0.047"],
    ),
    "none": (
        {"none": BAD, "gru": BAD},
        ("none", None),
        ["gru did not help: it solved 0 of 5 seeds, held-out loss 0.9; the untreated model"],
        [],
    ),
    "none of two": (
        {"none": BAD, "lstm": [0.99] * 5, "gru": BAD},
        ("none", None),
        ["None of 2 remedies helped: the best, gru, solved 0 of 5 seeds"],
        [],
    ),
    "one seed of five may be chance": (
        {"none": BAD, "gru": [0.05, *BAD[1:]]},
        ("none", None),
        ["solved 1 of 5 seeds"],
        ["The difference may be chance: p = 0.5 "],
    ),
    "a lower loss is no solution": (
        {"none": BAD, "gru": [0.5] * 5},
        ("none", None),
        ["gru did not help"],
        ["gru lowered the loss without solving it: held-out loss 0.5 against 0.9"],
    ),
    "solved already": (
        {"none": GOOD, "gru": GOOD},
        ("solved already", None),
        ["The untreated model already solves it: 5 of 5 seeds, after 42 updates (median)."],
        [],
    ),
    "made worse": (
        {"none": FOUR_GOOD, "gru": FOUR_BAD},
        ("solved already", None),
        ["already solves it"],
        ["gru seems to make it worse: it solved 0 of 4 seeds, held-out loss 0.875, the untreated"],
    ),
    "proven to make it worse": (
        {"none": SIX_GOOD, "gru": SIX_BAD},
        ("solved already", None),
        ["already solves it"],
        ["gru made it worse: it solved 0 of 6 seeds"],
    ),
    "diverged": (
        {"none": LOST, "clip": GOOD},
        ("helped", "clip"),
        ["it solved 5 of 5", "held-out loss 0.02 against diverged"],
        [],
    ),
    "all diverge": (
        {"none": LOST, "clip": LOST},
        ("none", None),
        ["None helped: every training diverged, with remedies and without. Look at the data"],
        [],
    ),
    "more than one is proven": (
        {"none": [*SIX_BAD, 0.9, 0.01], "gru": [*SIX_GOOD, 0.02, 0.01],
         "lstm": [*SIX_GOOD, 0.03, 0.01]},
        ("helped", "gru"),
        ["gru helped"],
        ["Also helped: lstm."],
    ),
    "a remedy that diverges": (
        {"none": GOOD, "clip": LOST},
        ("solved already", None),
        ["already solves"],
        ["clip made it worse: it solved 0 of 5 seeds, held-out loss diverged"],
    ),
    "no result": (
        {"none": ["failed", *BAD[1:]], "gru": GOOD},
        ("unknown", None),
        ["No answer: the untreated model, seed 0, has no result (failed: why not)."],
        [],
    ),
    "one arm without a result": (
        {"none": BAD, "gru": GOOD, "lstm": ["failed", *GOOD[1:]]},
        ("helped", "gru"),
        ["gru helped"],
        ["Not judged: lstm, seed 0, has no result (failed: why not)."],
    ),
    "nothing tried": (
        {"none": BAD},
        ("none", None),
        ["No remedy helped, since none was tried: the untreated model solved 0 of 5 seeds"],
        [],
    ),
    "a single seed": (
        {"none": [0.9], "gru": [0.01]},
        ("none", None),
        ["1 of 1 seeds"],
        ["p = 0.5 (paired permutation test); 1 seed cannot give less than 0.5, 5 could"],
    ),
}  # fmt: skip  # rows of a table


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_says(case: str) -> None:
    outcomes, answer, said, evidence = CASES[case]
    found = judged(**outcomes)
    assert (found.answer, found.best) == answer
    assert [part for part in said if part not in found.sentence] == []
    assert [part for part in evidence if part not in " ".join(found.evidence)] == []


@pytest.mark.parametrize(
    ("after", "answer", "said"),
    [
        (GOOD, "helped", "gru helped: held-out loss 0.02 against 0.9"),
        (BAD, "none", "gru did not help: it had held-out loss 0.9"),
        ([0.7, 1.2, 0.9, 1.0, 0.8], "none", "gru did not help"),
    ],
    ids=["lower", "equal", "mixed"],
)
def test_without_a_criterion_the_loss_decides(after: Outcomes, answer: str, said: str) -> None:
    found = judged(None, none=BAD, gru=after)
    assert (found.answer, said in found.sentence) == (answer, True)


def test_what_diverged_counts_as_the_largest_loss_of_all() -> None:
    _, arm = arms(none=[0.5, 0.5, 0.5], gru=["diverged", 0.4, 2.5])
    assert arm.loss_change is not None
    assert arm.loss_change.differences == pytest.approx((2.0, -0.1, 2.0))


def test_a_loss_that_is_no_number_is_the_worst() -> None:
    _, arm = arms(None, none=[0.5, 0.5], gru=[math.nan, 0.4])
    assert arm.loss_change is not None
    assert arm.loss_change.differences == pytest.approx((1.01 - 0.5, -0.1))


def test_without_held_out_data_it_is_the_loss_of_the_end_of_training() -> None:
    ended = {"seed": 0, "status": "done", "closing_loss": 0.25, "scores": {"accuracy": 0.5}}
    (arm,) = compared(["none"], [[ended]])
    assert (arm.loss, loss_name([[ended]])) == (0.25, CLOSING)


def test_no_row_is_lost_for_a_failed_trial() -> None:
    found = arms(none=BAD, gru=["failed", *GOOD[1:]])
    assert [len(arm.ends) for arm in found] == [5, 5]
    assert found[1].loss_change is None


TRIVIAL = 0.167
NEAR = [0.1668, 0.1669, 0.1671, 0.1667, 0.167, 0.1672, 0.1669]
"""Seven trainings that learned nothing; every treated one is 0.4 % lower."""
LOWER = [loss * 0.996 for loss in NEAR]
AT_THE_TRIVIAL_LOSS = {
    "0.4 % lower": ({"none": NEAR, "gru": LOWER}, "neither learned", "Neither learned: every"),
    "of two": ({"none": NEAR, "gru": LOWER, "lem": NEAR}, "neither learned", "None learned: every"),
    "back from divergence": (
        {"none": ["diverged"] * 7, "clip": NEAR}, "neither learned", "untreated diverged, clip",
    ),
    "one seed learned": (
        {"none": NEAR, "gru": [0.01, *LOWER[1:]]}, "none", "gru is not proven to help",
    ),
    "all seeds learned": ({"none": NEAR, "gru": [0.1] * 7}, "helped", "gru helped"),
    "solved, whatever the loss": (
        {"none": [0.99] * 7, "gru": [0.0999] * 7, "trivial": 0.05}, "helped", "gru helped",
    ),
}  # fmt: skip  # rows of a table


@pytest.mark.parametrize("case", AT_THE_TRIVIAL_LOSS)
def test_at_the_trivial_loss_no_difference_is_a_help(case: str) -> None:
    outcomes, answer, said = AT_THE_TRIVIAL_LOSS[case]
    trivial = outcomes.get("trivial", TRIVIAL)
    criterion = CRITERION if "trivial" in outcomes else None
    losses = {name: ends for name, ends in outcomes.items() if name != "trivial"}
    found = judge(arms(criterion, **losses), criterion, HELD_OUT, trivial)
    assert (found.answer, said in found.sentence) == (answer, True)


def test_without_a_trivial_loss_the_same_difference_decides() -> None:
    assert judged(None, none=NEAR, gru=LOWER).answer == "helped"
