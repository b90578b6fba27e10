"""The repair benchmark at toy size: its ailments, its table, its pages; and what is committed."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

import throughtime as tt
from benchmarks.repair import choosing, learning, page, suite, table, tasks, work
from benchmarks.repair.ailments import AILMENTS
from benchmarks.repair.case import Case
from benchmarks.repair.explain import explanation
from benchmarks.repair.results import Outcome, outcomes
from throughtime.findings import CONDITIONS
from throughtime.prescription import treated
from throughtime.trials.treatment.paired import PairedTrial

ROOT = Path(__file__).parent.parent

SICK = [one for one in suite.CASES if one.sick]
ONE_OF_EACH = {one.state: one for one in reversed(suite.CASES)}.values()
TOY = Case("name recall", 20, "janet", 8, "gates closed", -3.0)


def weights(problem: tt.Problem) -> list[torch.Tensor]:
    return [p.detach().clone() for p in problem.model.parameters()]


@pytest.mark.parametrize("task", tasks.TASKS)
def test_a_task_is_a_problem_that_says_when_it_is_solved(task: str) -> None:
    length = suite.LENGTHS[task][0]
    problem = tasks.problem(task, "gru", length, 8, seed=0)
    assert problem.evaluate is not None
    assert problem.solved is not None
    assert not problem.solved.met(problem.evaluate(problem.model))


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda case: case.state)
def test_case_and_seed_fix_everything(case: Case) -> None:
    one, same = case(3), pickle.loads(pickle.dumps(case))(3)  # noqa: S301  — our own
    torch.testing.assert_close(weights(one), weights(same), rtol=0, atol=0)
    assert (one.window, one.clip, one.name) == (same.window, same.clip, same.name)


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda case: case.state)
def test_its_state_is_what_its_name_says(case: Case) -> None:
    untouched = tasks.problem(case.task, case.cell, case.length, case.hidden, 3)
    problem = case(3)
    changed = (problem.window, problem.clip) != (untouched.window, untouched.clip) or any(
        not torch.equal(a, b) for a, b in zip(weights(problem), weights(untouched), strict=True)
    )
    assert changed == (case.state not in ("as torch makes it", "beyond its reach"))


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda case: case.state)
def test_another_seed_is_another_network(case: Case) -> None:
    one, other = weights(case(3)), weights(case(4))
    assert any(not torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_case_is_trained_as_treat_would_train_it() -> None:
    trial = PairedTrial(
        make=TOY, subject="", source="", remedy="chrono", span=20, seed=TOY.seed, steps=1
    )
    same = treated(TOY(TOY.seed), "chrono", 20, TOY.seed)
    torch.testing.assert_close(weights(trial.problem()), weights(same), rtol=0, atol=0)


def test_every_disease_that_a_diagnosis_can_name_is_put_in_but_for_nan() -> None:
    assert {one.disease for one in SICK} == {*CONDITIONS, "truncated"}


def test_every_ailment_of_the_list_is_used() -> None:
    assert {one.state for one in SICK} == {*AILMENTS}


def test_no_two_cases_are_the_same() -> None:
    assert len({one.name for one in suite.CASES}) == len(suite.CASES)


# One training.


def test_the_record_of_a_training_says_what_happened() -> None:
    case = Case("latch", 30, "rnn", 16, "small recurrent weights", 0.2)
    untreated, replaced = (learning.learn(case, remedy, 0) for remedy in ("none", "janet"))
    assert untreated["solved at"] is None
    assert untreated["updates"] == case.updates
    assert replaced["solved at"] == replaced["updates"] < case.updates
    assert replaced["gains"][0] > untreated["gains"][0]


def test_a_remedy_that_does_not_fit_is_refused_and_said_so() -> None:
    record = learning.learn(Case("latch", 30, "rnn", 8, "chaotic", 3.0), "chrono", 0)
    assert record["status"] == "refused"
    assert "no gate" in record["reason"]


# The table.


def test_a_record_is_read_as_it_was_written_and_half_a_line_is_none(tmp_path: Path) -> None:
    path = tmp_path / "trainings.jsonl"
    table.append({"case": "a"}, path)
    with path.open("a") as file:
        file.write('{"case": "b')
    assert table.read(path) == [{"case": "a"}]
    table.append({"case": "c"}, path)
    assert table.read(path) == [{"case": "a"}, {"case": "c"}]


# What is still to be done, and the pages: on trainings that were never run.


def prescribed(case: Case, remedies: str) -> dict[str, Any]:
    options = [
        {"remedy": name, "horizon": 9, "gain": -1.0, "cost": 1.2} for name in remedies.split()
    ]
    return {
        "case": case.name,
        "span": 20,
        "criterion": "accuracy above 0.9",
        "verdict": "vanishing",
        "diseases": [case.disease],
        "horizon": 3,
        "options": options,
        "seconds": 1.0,
    }


def trained(case: Case, remedy: str, repeat: int, solved_at: int | None) -> dict[str, Any]:
    return {
        "case": case.name,
        "remedy": remedy,
        "repeat": repeat,
        "status": "failed" if solved_at is None else "solved",
        "solved at": solved_at,
        "score": 0.125,
        "updates": 400,
        "horizons": [3, 4],
        "gains": [-9.0, -8.0],
        "seconds": 1.0,
    }


def outcome(case: Case, remedies: str, solved: dict[str, tuple[int | None, ...]]) -> Outcome:
    records = [
        trained(case, remedy, repeat, at)
        for remedy, ats in solved.items()
        for repeat, at in enumerate(ats)
    ]
    (found,) = outcomes([case], [prescribed(case, remedies)], records)
    return found


NEVER, BOTH = (None, None), (100, 150)


@pytest.mark.parametrize(
    ("solved", "first", "three"),
    [
        ({"a": BOTH, "b": NEVER, "c": NEVER}, True, True),
        ({"a": NEVER, "b": NEVER, "c": BOTH}, False, True),
        ({"a": (100, None), "b": (None, 100), "c": NEVER}, False, False),  # no single one does
        ({"a": NEVER, "b": NEVER, "c": NEVER, "d": BOTH}, False, False),
    ],
    ids=["first", "third", "one repeat each", "fourth"],
)
def test_a_repair_is_one_remedy_that_solves_every_repeat(
    solved: dict[str, tuple[int | None, ...]], first: bool, three: bool
) -> None:
    found = outcome(TOY, "a b c d", {"none": NEVER, **solved})
    assert (found.first, found.three, found.belongs) == (first, three, True)


def test_a_case_that_learns_untreated_once_does_not_belong() -> None:
    assert not outcome(TOY, "a b c", {"none": (None, 300)}).belongs


def test_a_failure_is_explained_by_each_choice_and_by_what_would_have_helped() -> None:
    found = outcome(TOY, "a b c d", {"none": NEVER, "a": NEVER, "b": (100, None), "d": BOTH})
    assert explanation(found) == (
        "a: its gradient reached 3 of 20 steps (0.125, where solved is accuracy above 0.9); "
        "b solved 1 of 2 repeats; further down d (ranked 4) solved it"
    )


def test_the_first_three_come_first_and_the_rest_where_it_is_asked_for() -> None:
    jobs = work.treated([TOY], [prescribed(TOY, "a b c d e")], 2, [TOY.name])
    assert [(job.remedy, job.repeat) for job in jobs] == [
        *((remedy, repeat) for repeat in (0, 1) for remedy in ("a", "b", "c")),
        ("d", 0),
        ("e", 0),
    ]


def test_what_is_not_prescribed_for_is_left_out_of_the_pages_and_counted() -> None:
    records = [trained(TOY, "none", repeat, 100) for repeat in (0, 1)]
    (found,) = outcomes([TOY], [], records)
    assert not found.belongs
    assert "1 were left out" in page.text([found, *FOUND])


HEALTHY = next(one for one in suite.CASES if not one.sick)
FOUND = [
    outcome(TOY, "chrono omega lru", {"none": NEVER, "chrono": BOTH, "omega": NEVER, "lru": NEVER}),
    outcome(HEALTHY, "omega", {"none": (100, 100), "omega": (None, 50)}),
]


def test_what_the_first_choice_failed_is_told_beside_what_repaired_it() -> None:
    late = outcome(TOY, "identity chrono lru", {"none": NEVER, "identity": NEVER, "chrono": BOTH})
    said = page.text([late])
    assert "identity: its gradient reached 3 of 20 steps (0.125, where" in said
    assert "; chrono repairs it.\n" in said


def test_the_page_names_what_was_repaired_and_what_would_be_made_worse() -> None:
    said = page.text(FOUND)
    assert "1 of 1 (100.0%)" in said
    assert f"would fail 1: {HEALTHY.name}" in said


def test_the_page_of_choices_says_what_solved_what_and_how_far_it_reaches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choosing, "ENOUGH", 1)
    said = choosing.text(FOUND)
    assert "| chrono | 2 of 2 | 2 of 2 | 1.2x |" in said
    assert "| chrono | 15% → 45% |" in said


# The committed results.

COMMITTED = outcomes(suite.CASES, table.read(table.PRESCRIPTIONS), table.read(table.TRAININGS))


def test_the_committed_suite_is_large_enough() -> None:
    sick, healthy = page.belonging(COMMITTED)
    assert len(sick) >= 60
    assert sum(not one.case.sick for one in healthy) >= 20
    assert {one.case.half for one in sick} == {"development", "test"}


def test_every_committed_case_was_trained_with_its_first_three_in_every_repeat() -> None:
    sick, healthy = page.belonging(COMMITTED)
    short = [
        one.case.name
        for one in (*sick, *healthy)
        for remedy in one.ranking[: work.CHOICES]
        if len(one.trainings.get(remedy, ())) < suite.REPEATS
    ]
    assert not short


def test_the_pages_say_what_the_committed_table_says() -> None:
    earlier = outcomes(suite.CASES, table.read(table.FIRST_RUN), table.read(table.TRAININGS))
    pages = {"repair": page.text(COMMITTED, earlier), "choosing": choosing.text(COMMITTED)}
    for name, text in pages.items():
        assert (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") == text
