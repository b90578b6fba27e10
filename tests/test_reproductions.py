"""Published results: the machinery at toy size, the verdict on figures made up, the page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import reproductions as benchmark
from throughtime.cli import main
from throughtime.errors import InputError
from throughtime.reproductions import REPRODUCTIONS, Figure, Reproduction, Result, said, spread
from throughtime.reproductions.adding import INDRNN, IRNN
from throughtime.reproductions.arm import TOY, Arm, Updates
from throughtime.reproductions.copying import ORTHOGONAL

Ran = Callable[..., SimpleNamespace]
FEW, MANY = "tower: updates until solved", "hut: loss at the end"


def made_up(measured: float = 1.0) -> Reproduction:
    """A result that was never published."""

    def measure(seed: int, **_: bool) -> Mapping[str, float]:
        return {FEW: 100 + seed, MANY: measured}

    return Reproduction(
        name="made-up",
        title="A tower learns, a hut does not",
        paper="Nobody 2000",
        row=0,
        claim="towers remember",
        settings=("tower: 10 units", "hut: 1 unit"),
        figures=(
            Figure(FEW, 100, -math.inf, 200, "read"),
            Figure(MANY, 1.0, 0.9, 1.1, "memory"),
        ),
        minutes=1.0,
        measure=measure,
    )


def results(few: list[float], many: list[float]) -> list[Result]:
    return [
        Result(seed, {FEW: a, MANY: b}, 2.0)
        for seed, (a, b) in enumerate(zip(few, many, strict=True))
    ]


# The verdict


CASES: dict[str, tuple[list[float], list[float], str]] = {
    "as expected": ([100, 100, 100], [1, 1, 1], "matched"),
    "at the ends of the tolerance": ([200], [1.1], "matched"),
    "sooner": ([1, 2, 3], [1, 1, 1], "matched"),
    "the median decides": ([100, 150, math.inf], [0, 1, 1], "matched"),
    "too late": (
        [150, 201, 1250], [1, 1, 1], f"not matched ({FEW}: 201, and at most 200 counts)",
    ),
    "never": (
        [math.inf, 10, math.inf], [1, 1, 1],
        f"not matched ({FEW}: never within the budget, and at most 200 counts)",
    ),
    "both": (
        [300], [2],
        f"not matched ({FEW}: 300, and at most 200 counts; {MANY}: 2, and 0.9 to 1.1 counts)",
    ),
    "no number": ([100], [math.nan], f"not matched ({MANY}: no number, and 0.9 to 1.1 counts)"),
}  # fmt: skip  # rows of a table


@pytest.mark.parametrize(("few", "many", "verdict"), CASES.values(), ids=CASES)
def test_the_verdict_says_what_missed_and_by_how_much(
    few: list[float], many: list[float], verdict: str
) -> None:
    compared = made_up().compare(results(few, many))
    assert (compared.verdict, compared.matched) == (verdict, verdict == "matched")


def test_without_a_result_there_is_no_verdict() -> None:
    with pytest.raises(InputError, match="made-up: there is no result"):
        made_up().compare([])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0], "1"),
        ([2.0, 1.0, 3.0], "2 (1 to 3)"),
        ([38000.0, 1200.4, math.inf], "38,000 (1,200 to never within the budget)"),
    ],
    ids=["one", "three", "one never"],
)
def test_the_spread_over_seeds(values: list[float], text: str) -> None:
    assert spread(values) == text


@pytest.mark.parametrize("value", [0.25, 1 / 3, math.inf])
def test_a_result_survives_json(value: float) -> None:
    result = Result(7, {FEW: value}, 1.5)
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert Result.from_dict(json.loads(text)) == result


def test_a_result_published_for_one_seed_is_compared_with_that_alone() -> None:
    book = REPRODUCTIONS["book-gradient-norms"]
    assert list(book.seeds()) == [3]
    with pytest.raises(InputError, match="for seed 3 alone, not 0"):
        book.run(0)


# Every reproduction, at toy size


def test_the_books_norms_are_printed_again() -> None:
    book = REPRODUCTIONS["book-gradient-norms"]
    assert book.compare([book.run(3)]).verdict == "matched"


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_every_figure_is_measured_and_the_seed_decides(name: str) -> None:
    one = REPRODUCTIONS[name]
    seed = one.seeds()[0]
    state = torch.random.get_rng_state()
    first, again = (one.run(seed, toy=True).figures for _ in range(2))
    assert first == again
    assert set(first) == {figure.name for figure in one.figures}
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("one", REPRODUCTIONS.values(), ids=REPRODUCTIONS)
def test_what_is_expected_would_be_matched(one: Reproduction) -> None:
    expected = Result(0, {figure.name: figure.expected for figure in one.figures}, 0.0)
    assert one.compare([expected]).matched


@pytest.mark.parametrize("one", REPRODUCTIONS.values(), ids=REPRODUCTIONS)
def test_a_figure_far_off_would_not_be_matched(one: Reproduction) -> None:
    for figure in one.figures:
        far = {f.name: f.expected for f in one.figures} | {figure.name: math.inf}
        assert one.compare([Result(0, far, 0.0)]).missed == (figure,)


# One training


def toy(arm: Arm, **more: int) -> Arm:
    return replace(arm, **{**TOY, **more})


def test_the_constraint_holds_after_the_training() -> None:
    seen: list[object] = []
    watched = replace(toy(INDRNN, steps=3), constrain=seen.append)
    watched.train(0)
    assert len(seen) == 3
    model = toy(INDRNN).problem(0).model
    with torch.no_grad():
        model.recurrent.weight_hh_l1.fill_(5.0)
    assert INDRNN.constrain is not None
    INDRNN.constrain(model)
    assert model.recurrent.weight_hh_l1.max().item() == pytest.approx(2 ** (1 / 100))


def test_an_irnn_starts_at_the_identity() -> None:
    model = toy(IRNN).problem(0).model
    assert torch.equal(model.recurrent.weight_hh_l0, torch.eye(TOY["hidden"]))


def test_the_seed_draws_the_model() -> None:
    one, other = (toy(ORTHOGONAL).problem(seed).model.state_dict() for seed in (0, 1))
    assert [name for name in one if torch.equal(one[name], other[name])] == []


def test_the_orthogonal_matrix_learns_at_its_own_rate() -> None:
    model = toy(ORTHOGONAL).problem(0).model
    groups = ORTHOGONAL.updates.make(model).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    by_name = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert {name for name, rate in by_name.items() if rate == 1e-4} == {
        "recurrent.parametrizations.weight_hh_l0.original"
    }
    assert set(by_name.values()) == {1e-3, 1e-4}


def test_a_training_that_solves_its_task_says_when() -> None:
    arm = Arm(
        "LSTM", "adding", "lstm", 10, 2000, Updates("Adam", 1e-2), hidden=16, batch=32,
        evaluate_every=50,
    )  # fmt: skip  # what belongs together, on one line
    found = arm.train(0)
    assert found[arm.until_solved] < 2000
    assert found[arm.final] < 0.01


def test_a_training_that_diverges_solves_nothing() -> None:
    arm = replace(toy(IRNN, steps=50), updates=Updates("SGD", 1e30), clip=None)
    assert arm.train(0) == {arm.until_solved: math.inf, arm.final: math.inf}


# The command


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ran:
    """``throughtime reproduce ARGUMENTS``."""
    monkeypatch.setenv("COLUMNS", "100")

    def ran(*arguments: str) -> SimpleNamespace:
        code = main(("reproduce", *arguments))
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return ran


def test_without_a_name_all_are_listed(run: Ran) -> None:
    ran = run()
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert [line for line in lines if line in REPRODUCTIONS] == list(REPRODUCTIONS)
    counted = {word: sum(word in line for line in lines) for word in ("  paper", "  expected")}
    assert set(counted.values()) == {len(REPRODUCTIONS)}


def test_the_list_in_json_is_all_that_is_known_of_each(run: Ran) -> None:
    listed = json.loads(run("--json").out)
    assert listed == [one.to_dict() for one in REPRODUCTIONS.values()]


@pytest.mark.parametrize(
    ("measured", "toy", "code"), [(1.0, False, 0), (5.0, False, 1), (5.0, True, 0)]
)
def test_the_exit_code_is_the_verdict(
    run: Ran, monkeypatch: pytest.MonkeyPatch, measured: float, toy: bool, code: int
) -> None:
    monkeypatch.setitem(REPRODUCTIONS, "made-up", made_up(measured))
    ran = run("made-up", *(["--toy"] if toy else []))
    assert (ran.code, ran.err) == (code, "")
    verdict = "toy size" if toy else "not matched" if code else "matched"
    assert f"\n{verdict}" in ran.out


def test_json_holds_every_seed_and_the_verdict(run: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REPRODUCTIONS, "made-up", made_up())
    ran = run("made-up", "--seed", "5", "--seeds", "3", "--json")
    found = json.loads(ran.out)
    assert [result["seed"] for result in found["results"]] == [5, 6, 7]
    assert (found["matched"], found["median"], found["toy"]) == (True, {FEW: 106, MANY: 1}, False)


def test_an_unknown_name_is_one_line_that_names_the_known(run: Ran) -> None:
    ran = run("copy-paste")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("throughtime: unknown reproduction 'copy-paste'; ")
    assert all(name in ran.err for name in REPRODUCTIONS)


# The page


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No results are kept yet."""
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path)


@pytest.mark.usefixtures("empty")
def test_what_was_run_is_kept_and_what_is_missing_is_known() -> None:
    one = made_up()
    benchmark.keep(one, one.run(1))
    benchmark.keep(one, one.run(0))
    assert [result.seed for result in benchmark.results(one)] == [0, 1]
    assert [seed for _, seed in benchmark.missing([one])] == [2]


@pytest.mark.usefixtures("empty")
def test_results_of_other_settings_do_not_count() -> None:
    one = made_up()
    benchmark.keep(one, one.run(0))
    assert benchmark.results(replace(one, settings=("tower: 11 units",))) == []
    assert benchmark.results(replace(one, figures=one.figures[:1])) == []


@pytest.mark.usefixtures("empty")
def test_first_seeds_come_before_second_ones_and_quick_before_slow() -> None:
    one, quick = made_up(), replace(made_up(), name="quick", minutes=0.5)
    order = [(found.name, seed) for found, seed in benchmark.missing([one, quick])]
    assert order == [(name, seed) for seed in range(3) for name in ("quick", "made-up")]


@pytest.mark.parametrize(("many", "verdict"), [(1.0, "matched"), (7.0, "**not matched**")])
def test_the_page_shows_figures_and_verdict(
    monkeypatch: pytest.MonkeyPatch, many: float, verdict: str
) -> None:
    monkeypatch.setitem(REPRODUCTIONS, "made-up", made_up())
    text = benchmark.page({"made-up": results([90, 100, 150], [many] * 3)})
    assert f"| 3 of 3 | {verdict} | 2 |" in text
    assert f"| {FEW} | 100 | as published | at most 200 | 100 (90 to 150) | yes |" in text


def test_what_was_not_run_is_on_the_page_too() -> None:
    text = benchmark.page({})
    assert all(f"(`{name}`) | not run" in text for name in REPRODUCTIONS)


def test_the_document_is_that_of_the_results_beside_it() -> None:
    found = {one.name: benchmark.results(one) for one in REPRODUCTIONS.values()}
    assert benchmark.PAGE.read_text(encoding="utf-8") == benchmark.page(found)


def test_a_number_for_a_reader() -> None:
    assert [said(value) for value in (0.16666, 38000.0, math.inf)] == [
        "0.1667", "38,000", "never within the budget",
    ]  # fmt: skip  # rows of a table
