"""A training whose run directory is damaged: what is said, and what is not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from training_problems import running_sum

from throughtime.cli import main
from throughtime.errors import RunError
from throughtime.runs import RunDirectory
from throughtime.training import train

DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "checkpoint": (
        lambda run: _saved(run, {"model": {}}),
        r"run: its checkpoint of step 8 is damaged.*KeyError: 'counters'",
    ),
    "state": (
        lambda run: _saved(run, {**_state(run), "optimizer": []}),
        r"run: its checkpoint of step 8 is damaged",
    ),
    "journal": (
        lambda run: (run / "journal.jsonl").write_text(
            (run / "journal.jsonl").read_text().replace('"norm"', '"form"', 1)
        ),
        r"journal\.jsonl, line 1: its digest is not that of this run",
    ),
}


def _state(run: Path) -> dict[str, object]:
    found = RunDirectory.open(run).load()
    assert found is not None
    state: dict[str, object] = found[1]
    return state


def _saved(run: Path, state: dict[str, object]) -> None:
    with RunDirectory.open(run, for_writing=True).lock() as directory:
        directory.save(state, 8)


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_a_resume_that_fails_names_what_is_damaged(
    damage: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    train(running_sum(), 8, run=tmp_path / "run")
    train(running_sum(), 8, run=tmp_path / "run", resume=True)
    damage(tmp_path / "run")
    with pytest.raises(RunError, match=said):
        train(running_sum(), 12, run=tmp_path / "run", resume=True)


def test_the_advice_to_resume_is_for_interruptions_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    how = ["train", "adding", "--length", "10", "--hidden", "4", "--quiet", "--resume"]
    how += ["--run", str(tmp_path / "run"), "--steps"]
    assert main([*how, "8"]) == 0
    _saved(tmp_path / "run", {"model": {}})
    capfd.readouterr()
    assert main([*how, "12"]) == 2
    err = capfd.readouterr().err
    assert (err.count("\n"), "goes on from there" in err) == (1, False)
