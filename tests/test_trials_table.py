"""The results of a sweep: the same numbers as a table, as Parquet, as a summary."""

import csv
import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sweep_runs import ran, setting

from throughtime.errors import MissingExtraError
from throughtime.trials import counts, summarise, table
from throughtime.trials.curve import POINTS, thinned
from throughtime.trials.one import Outcome

EMPTY = dict.fromkeys((*table.SETTING, *table.RESULT))


def row(**more: Any) -> table.Row:
    return {**EMPTY, "cell": "lstm", "remedy": "none", "length": 10, "criterion": "x", **more}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[table.Row]]:
    """Two settings that were run, one that failed, one that nobody came to."""
    folder = tmp_path_factory.mktemp("sweep")
    settings = [
        setting(), setting(cells=["relu-rnn"], lr=1e30), setting(remedies=["chrono"]),
        setting(seeds=[7]),
    ]  # fmt: skip  # rows of a table
    for one in settings[:3]:
        ran(folder, one)
    left = {settings[3]: Outcome("failed", "nobody came")}
    return folder, table.rows(settings, folder, left)


def test_there_is_one_row_for_each_setting(made: tuple[Path, list[table.Row]]) -> None:
    assert [one["status"] for one in made[1]] == ["done", "diverged", "failed", "failed"]


def test_every_reason_is_there(made: tuple[Path, list[table.Row]]) -> None:
    assert [bool(one["reason"]) for one in made[1]] == [False, True, True, True]


def test_runs_are_relative_to_the_table(made: tuple[Path, list[table.Row]]) -> None:
    folder, rows = made
    assert [(folder / one["run"]).is_dir() for one in rows] == [True, True, True, False]


def test_the_csv_says_what_the_rows_say(made: tuple[Path, list[table.Row]]) -> None:
    folder, rows = made
    with table.write_csv(rows, folder / "results.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    told = [
        {name: "" if one.get(name) is None else str(one[name]) for name in read[0]} for one in rows
    ]
    assert read == told


def test_the_parquet_says_what_the_rows_say(made: tuple[Path, list[table.Row]]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    folder, rows = made
    read = parquet.read_table(table.write_parquet(rows, folder / "results.parquet")).to_pylist()
    assert read == [{name: one.get(name) for name in table.columns(rows)} for one in rows]


def test_a_table_of_nothing_but_failures_has_its_types(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    path = table.write_parquet([{**row(), "run": "runs/x"}], tmp_path / "results.parquet")
    kinds = {field.name: str(field.type) for field in arrow.read_table(path).schema}
    assert (kinds["loss"], kinds["seed"], kinds["status"]) == ("double", "int64", "string")


def test_parquet_without_its_package_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        MissingExtraError, match="pyarrow is not installed: run  pip install pyarrow"
    ):
        table.write_parquet([row()], tmp_path / "results.parquet")


def test_numbers_that_are_none_are_not_hidden(tmp_path: Path) -> None:
    text = table.write_csv([row(loss=math.nan, run="r")], tmp_path / "results.csv").read_text()
    assert ",nan," in text


# Summary


def test_the_summary_counts_the_seeds_that_solved_it() -> None:
    seeds = [row(solved_at=20), row(), row(solved_at=5), row(length=20)]
    assert summarise(seeds).entries == (("2/3", "0/1"),)


def test_without_a_criterion_it_is_the_median_of_the_held_out_loss() -> None:
    seeds = [row(criterion=None, score_loss=loss) for loss in (1.0, 5.0, 2.0, None)]
    assert summarise(seeds).entries == (("2",),)


def test_every_end_is_counted() -> None:
    ends = ["done", "solved", "done", None]
    assert counts([row(status=end) for end in ends]) == {"done": 2, "solved": 1, "left": 1}


# Curves


@pytest.mark.parametrize("steps", [1, POINTS - 1, POINTS, POINTS + 1, 1234, 20_000])
def test_a_thinned_curve_keeps_the_mean_and_the_end(steps: int) -> None:
    losses = [float(n % 7) for n in range(steps)]
    curve = thinned(losses, steps)
    ends = [0, *(end for end, _ in curve)]
    weights = [after - before for before, after in pairwise(ends)]
    mean = sum(w * mean for w, (_, mean) in zip(weights, curve, strict=True)) / steps
    assert (len(curve) <= POINTS, ends[-1]) == (True, steps)
    assert mean == pytest.approx(sum(losses) / steps)


def test_a_training_that_ended_early_has_its_points_where_the_others_have() -> None:
    whole, half = ([end for end, _ in thinned([1.0] * n, 1000)] for n in (1000, 500))
    assert half[:-1] == whole[: len(half) - 1]
