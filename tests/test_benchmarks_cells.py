"""The benchmark of our cells at a toy size: its ways agree, and it says where they do not."""

import pytest
import torch

from benchmarks import cells
from benchmarks.loops import Loop
from benchmarks.networks import Size
from throughtime.cells import CELLS, RecurrentLayer

TOY = Size(steps=6, batch=2, hidden=4)


@pytest.mark.parametrize("name", cells.NAMES)
def test_every_way_has_the_same_gradients(name: str) -> None:
    assert cells.Step.make(name, TOY, torch.float64).difference() < 1e-12


def test_every_cell_of_ours_is_measured() -> None:
    kinds = {name: kind for name, kind in CELLS.items() if isinstance(kind, type)}
    ours = {name for name, kind in kinds.items() if issubclass(kind, RecurrentLayer)}
    assert set(cells.NAMES) == ours


def test_the_table_has_a_row_for_every_cell_and_number_of_threads() -> None:
    before = torch.get_num_threads()
    table = cells.measure((TOY,), rounds=1)
    assert len(table.rows) == len({1, before}) * len(cells.NAMES)
    assert torch.get_num_threads() == before
    assert {len(row) for row in table.rows} == {len(table.header)}


def test_a_loop_that_disagrees_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Loop.run
    monkeypatch.setattr(Loop, "run", lambda *given: right(*given) * 1.01)
    with pytest.raises(RuntimeError, match="do not agree"):
        cells.measure((TOY,), rounds=1)
