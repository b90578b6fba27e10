"""The benchmark of the exponents at a toy size: it runs, what it compares agrees, it can fail."""

import pytest
import torch

from benchmarks import lyapunov
from benchmarks.lyapunov import OURS, Case
from benchmarks.networks import Size
from benchmarks.peak import peak

TOY = Size(steps=40, batch=1, hidden=4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_peak_is_a_rate_that_a_machine_can_have(dtype: torch.dtype) -> None:
    assert 1e8 < peak(dtype, sizes=(64, 256), rounds=3) < 1e15


@pytest.mark.parametrize("leading", [2, None])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_every_way_finds_the_same_exponents(kind: str, leading: int | None) -> None:
    case = Case(kind, TOY, leading)
    found = lyapunov.exponents(case, *lyapunov.make_layer(case, torch.float64))
    assert max(lyapunov.disagreement(found).values()) < 1e-5
    assert set(found) == {OURS, *lyapunov.TODAY}


def test_a_way_that_disagrees_is_refused() -> None:
    exponents = torch.tensor([-0.5, 0.0]).double()
    lyapunov.disagreement({OURS: exponents, "close": exponents - 9e-4})
    with pytest.raises(RuntimeError, match="wrong does not agree with ours"):
        lyapunov.disagreement({OURS: exponents, "wrong": exponents - 2e-3})


def test_the_work_is_that_of_the_products_and_of_the_qrs() -> None:
    case = Case("RNN", TOY, None)
    _, layer = lyapunov.make_layer(case)
    products, each_qr = 2 * 4 * 4 * 4 * 40, 4 * 16 * (4 - 4 / 3)
    count = (lyapunov.work(case, layer) - products) / each_qr
    assert count == pytest.approx(round(count))
    assert 40 / 32 < count <= 40


def test_a_table_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.lyapunov.peak", lambda dtype: 1e9 * dtype.itemsize)
    cases = (Case("RNN", TOY, 2, bar=1e9), Case("LSTM", TOY, None))
    table = lyapunov.measure(cases, rounds=2)
    assert {len(row) for row in table.rows} == {len(table.header)}
    assert [row[5] for row in table.rows] == [
        "", *["at least 1e+09x: MISSED"] * 2, "", "", "", "", ""
    ]  # fmt: skip  # rows of a table
    assert "4 GFLOP/s in float32 and 8 GFLOP/s in float64" in table.note
