"""The benchmarks of the lag matrix's rate, of fading rows and of a deep diagnosis, at toy sizes."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import throughtime as tt
from benchmarks import __main__ as everything
from benchmarks import dataflow, deep, lag_rate, lags, lengths, scans, todays_lags
from benchmarks.networks import Size, Task
from benchmarks.timing import Spread

TOY = Size(steps=48, batch=2, hidden=6)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag_rate, "peak", lambda _: 1e12)


@pytest.mark.usefixtures("quick")
def test_the_rate_has_a_row_for_every_layer_and_size() -> None:
    table = lag_rate.measure((TOY,), rounds=2)
    assert [row[0] for row in table.rows] == ["nn.RNN", "nn.LSTM", "nn.GRU"]
    assert {len(row) for row in table.rows} == {len(table.header)}


@pytest.mark.parametrize("kind", lag_rate.KINDS)
def test_operations_are_those_that_the_sweep_does(kind: str) -> None:
    task = Task.make(kind, TOY, torch.float64)
    with tt.capture(task.model) as run:
        task.step()
    trace = run.trace
    with FlopCounterMode(display=False) as counted:
        tt.measures.lags(trace, anchors=list(range(TOY.steps)))
    assert lag_rate.flop(kind, TOY) == counted.get_total_flops()


@pytest.mark.parametrize(("share", "said"), [(0.6, "held"), (0.59, "MISSED")])
def test_a_share_of_the_peak_is_held_or_missed(share: float, said: str) -> None:
    assert lag_rate.bar(Spread(0.5, share, 0.7)) == f"at least 60 %: {said}"


def test_fading_rows_agree_above_the_floor_and_there_alone() -> None:
    task = Task.make("LSTM", TOY, torch.float64)
    assert max(lags.differences(task, lags.FLOOR).values()) < 1e-10
    exact, floored = (
        lags._matrix(todays_lags.throughtime(task, floor=floor)) for floor in (None, lags.FLOOR)
    )
    assert (floored - exact).nan_to_num().abs().max() > 0.1


def test_the_table_of_fading_rows_is_complete_and_measured_against_the_first() -> None:
    table = lags.measure_fading(TOY, rounds=1)
    assert [row[1] for row in table.rows] == [lags.OURS_TO_THE_FLOOR, lags.OURS, *lags.TODAY]
    assert {len(row) for row in table.rows} == {len(table.header)}
    assert sum("at least 25x" in cell for row in table.rows for cell in row) == 1


def test_the_parts_of_a_deep_diagnosis_are_all_of_it() -> None:
    table = deep.measure(TOY, rounds=2, kinds=("GRU",))
    (row,) = table.rows
    shares = [float(cell.removesuffix(" %")) for cell in row[5:]]
    assert len(shares) == len(table.header) - 5
    assert sum(shares) == pytest.approx(100, abs=4)
    assert all(share > 0 for share in shares)


def test_every_benchmark_has_a_name() -> None:
    assert {"fading", "rate", "deep"} <= everything.BENCHMARKS.keys()


def test_a_diagnosis_of_a_long_sequence_is_counted_in_plain_steps() -> None:
    (row,) = lengths.measure({40: 1e9}, kinds=("GRU",), rounds=2).rows
    assert row[:2] == ("GRU", "40")
    assert row[-1] == "at most 1e+09x: held"


def test_a_loop_by_hand_is_recorded_and_counted_in_plain_steps() -> None:
    (row,) = dataflow.measure((TOY,), rounds=2).rows
    assert row[0] == str(TOY)
    assert "at most 2x" in row[-1]


def test_a_long_scan_is_measured_in_a_process_of_its_own() -> None:
    pytest.importorskip("mambapy")
    rows = scans.measure_long(64, budgets=(32,)).rows
    assert "Mamba" in [row[0] for row in rows]
    assert all(float(cell) >= 0 for row in rows for cell in row[1:])
