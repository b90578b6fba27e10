"""The demo, made short: what it prints, what it writes, what it says it saw."""

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from throughtime.demo import DemoResult, Effort, run_demo
from throughtime.demo.recall import Recall, distances
from throughtime.demo.sentences import seen
from throughtime.errors import InputError

SHORT = Effort(reading=3, recall=3, longest=7)


def run(report: Path, *, terminal: bool = False, language: str = "en") -> tuple[DemoResult, str]:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=terminal, color_system=None)
    return run_demo(console, report, language=language, effort=SHORT), out.getvalue()


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoResult, str]:
    return run(tmp_path_factory.mktemp("demo") / "report.html")


def test_both_readers_are_diagnosed(ran: tuple[DemoResult, str]) -> None:
    horizons = {name: reader.diagnosis.horizon for name, reader in ran[0].readers.items()}
    assert all(horizons[name] is not None for name in ("RNN", "LSTM"))


def test_both_readers_are_verified(ran: tuple[DemoResult, str]) -> None:
    layers = [layer for reader in ran[0].readers.values() for layer in reader.diagnosis.layers]
    assert max(layer.verified for layer in layers) < 1e-5


def test_three_untrained_networks_fail_at_the_shortest_distance(
    ran: tuple[DemoResult, str],
) -> None:
    assert [(one.recalls, one.forgets) for one in ran[0].recalls] == [(None, 6)] * 3


def test_the_last_words_are_the_sentence_and_the_report(ran: tuple[DemoResult, str]) -> None:
    result, printed = ran
    words = " ".join(printed.split())
    assert f"{result.sentence} The report is in {result.report} (" in words


def test_without_a_terminal_there_is_no_bar(ran: tuple[DemoResult, str]) -> None:
    assert "\x1b" not in ran[1]
    assert "RNN reads the manual ..." in ran[1]


def test_the_report_holds_both_parts(ran: tuple[DemoResult, str]) -> None:
    page = ran[0].report.read_text(encoding="utf-8")
    assert "Reading the manual of Python" in page
    assert "Recalling a name" in page


def test_the_result_is_json(ran: tuple[DemoResult, str]) -> None:
    data = json.loads(json.dumps(ran[0].to_dict(), allow_nan=False))
    assert data["recalls"][0]["forgets"] == 6


def test_in_a_terminal_a_bar_moves_and_the_story_may_be_korean(tmp_path: Path) -> None:
    _, printed = run(tmp_path / "report.html", terminal=True, language="ko")
    assert "3/3" in printed
    assert "철수" in printed


def test_threads_and_random_state_are_left_alone(tmp_path: Path) -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(2)  # the tests themselves run with one
    try:
        run(tmp_path / "report.html")
        assert (torch.get_num_threads(), torch.equal(state, torch.random.get_rng_state())) == (
            2,
            True,
        )
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("place", ["", "nowhere/report.html"])
def test_a_report_that_cannot_be_written_is_refused_at_once(tmp_path: Path, place: str) -> None:
    with pytest.raises(InputError, match=r"is a directory|there is no folder"):
        run(tmp_path / place)


def test_an_unknown_language_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose from: en, ko"):
        run(tmp_path / "report.html", language="fr")


def test_distances_grow_by_an_eighth() -> None:
    assert list(distances(20)) == [6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20]


@pytest.mark.parametrize(
    ("accuracies", "recalls", "forgets"),
    [
        (((6, 1.0), (7, 0.95), (8, 0.2)), 7, 8),
        (((6, 0.89),), None, 6),
        (((6, 1.0), (7, 0.9)), 7, None),
    ],
)
def test_where_recall_ends(accuracies, recalls: int | None, forgets: int | None) -> None:
    one = Recall("RNN", 5, False, accuracies)
    assert (one.recalls, one.forgets) == (recalls, forgets)


@pytest.mark.parametrize(
    ("pairs", "start"),
    [
        (((5, 8), (7, 11), (54, 36)), "The further back"),
        (((5, 8), (5, 7), (54, 36)), "The further back"),
        (((5, 8), (7, 8), (54, 36)), "This time"),
        (((7, 8), (5, 11), (54, 36)), "This time"),
    ],
)
def test_the_sentence_says_what_was_seen(pairs, start: str) -> None:
    recalls = [Recall("net", horizon, False, ((d, 1.0),)) for horizon, d in pairs]
    assert seen(recalls).startswith(start)
