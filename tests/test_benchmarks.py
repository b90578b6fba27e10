"""The benchmarks at toy sizes: they run, what they compare agrees, and their checks can fail."""

import dataclasses
import json
import math
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks import __main__ as everything
from benchmarks import capture, lags, long, machine, outside, worker
from benchmarks.networks import Size, Task
from benchmarks.tables import Table, at_least, at_most
from benchmarks.timing import Spread, interleaved, last, ratio, total
from benchmarks.verdicts import __main__ as verdict_table
from benchmarks.verdicts import compare, peers, truth
from benchmarks.verdicts.networks import NETWORKS

ROOT = Path(__file__).parent.parent

TOY = Size(steps=6, batch=2, hidden=4)


def test_every_way_runs_in_every_round_and_stages_hand_on() -> None:
    seen: list[object] = []
    laps = interleaved(
        {"a": (lambda: 1, seen.append), "b": (lambda: 2, seen.append)}, rounds=3, warm_up=0
    )
    assert seen == [1, 2, 2, 1, 1, 2]
    assert [len(total(laps[name])) for name in "ab"] == [3, 3]
    assert all(part <= whole for part, whole in zip(last(laps["a"]), total(laps["a"]), strict=True))


def test_a_ratio_is_the_median_of_neighbours_with_its_quartiles() -> None:
    assert ratio([2.0, 6.0, 12.0], [1.0, 2.0, 3.0]) == Spread(2.5, 3.0, 3.5)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (at_most(2.0, Spread(1.0, 2.0, 3.0)), "at most 2x: held"),
        (at_most(2.0, Spread(1.0, 2.1, 3.0)), "at most 2x: MISSED"),
        (at_least(8.0, Spread(1.0, 8.0, 9.0)), "at least 8x: held"),
        (at_least(8.0, Spread(1.0, 7.9, 9.0)), "at least 8x: MISSED"),
    ],
)
def test_a_bar_is_held_or_missed(said: str, expected: str) -> None:
    assert said == expected


@pytest.mark.parametrize("kind", capture.BARS)
def test_every_way_sees_the_same_gradients(kind: str) -> None:
    found = capture.differences(Task.make(kind, TOY, torch.float64))
    assert max(found.values()) < 1e-12
    assert len(found) == (5 if kind == "LSTM" else 4)


def test_every_way_trains_the_same_network() -> None:
    task = Task.make("LSTM", TOY, torch.float64)
    task.step()
    plain = [parameter.grad.clone() for parameter in task.model.parameters()]
    for step in capture.ways(task).values():
        step()
        torch.testing.assert_close([p.grad for p in task.model.parameters()], plain)


def test_a_way_that_disagrees_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(task: Task) -> Callable[[], dict[str, Tensor]]:
        right = capture.captured(task)
        return lambda: {name: seen * 1.001 for name, seen in right().items()}

    monkeypatch.setitem(capture.TODAY, "wrong", wrong)
    with pytest.raises(RuntimeError, match=r"do not agree.*wrong"):
        capture.measure(TOY, rounds=1)


def test_every_lag_matrix_is_the_same() -> None:
    found = lags.differences(Task.make("LSTM", TOY, torch.float64))
    assert set(found) == set(lags.TODAY)
    assert max(found.values()) < 1e-12


def test_a_lag_matrix_that_disagrees_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(task: Task) -> lags.LagWay:
        right = lags.TODAY[lags.BATCHED](task)
        return dataclasses.replace(right, sweep=lambda graph: right.sweep(graph) + 0.01)

    monkeypatch.setitem(lags.TODAY, "wrong", wrong)
    with pytest.raises(RuntimeError, match=r"do not agree.*wrong"):
        lags.measure((TOY,), (1,))


@pytest.mark.parametrize(
    ("measure", "rows"),
    [
        (lambda: capture.measure(TOY, rounds=2), 6 + 5 + 5),
        (lambda: outside.measure(TOY, rounds=2), 2),
        (lambda: lags.measure((TOY,), (2,)), 4),
    ],
    ids=["capture", "outside", "lags"],
)
def test_a_table_is_complete(measure: Callable[[], Table], rows: int) -> None:
    table = measure()
    assert len(table.rows) == rows
    assert {len(row) for row in table.rows} == {len(table.header)}


def test_long_sequences_are_run_in_a_process_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def in_this_process(size: Size, memory: int | None, repeat: int = 1) -> dict[str, float]:
        sizes = [str(size.steps), str(size.batch), str(size.hidden)]
        limit = [] if memory is None else ["--memory", str(memory)]
        worker.main(["long", *sizes, "--repeat", str(repeat), *limit])
        return json.loads(capsys.readouterr().out)

    monkeypatch.setattr(long, "run", in_this_process)
    table = long.measure((TOY,))
    assert len(table.rows) == 1 + len(long.BUDGETS)


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="memory must be a positive number"):
        long.run(TOY, memory=-1, repeat=1)


def test_the_page_names_the_machine_and_nobody() -> None:
    table = Table("Title", "About.", ("a", "b"), (("1", "2"),), "A note.")
    page = everything.page([table], load=0.5)
    assert "| a | b |\n|---|---|\n| 1 | 2 |" in page
    assert machine.description() in page
    assert platform.node() not in page
    assert str(ROOT) not in page


def gradients(first: float, last: float) -> peers.Gradients:
    """A recurrent layer and a read-out whose gradients have these norms, in four equal entries."""
    layers = {"rnn": first, "head": last}
    return {name: {"weight": torch.full((2, 2), norm / 2)} for name, norm in layers.items()}


@pytest.mark.parametrize(
    ("rule", "first", "last", "said"),
    [
        (peers.mean_absolute, 1.0, 1.0, "silent"),
        (peers.mean_absolute, 1e-7, 1.0, "vanishing"),
        (peers.layer_ratio, 1.0, 1.0, "silent"),
        (peers.layer_ratio, 9e-5, 1.0, "vanishing"),
        (peers.layer_ratio, 9e-5, 1e-2, "silent"),
        (peers.layer_ratio, 2e-4, 1.0, "silent"),
        (peers.layer_ratio, 71.0, 1.0, "exploding"),
        (peers.layer_ratio, math.nan, 1.0, "exploding"),
        (peers.fixed_audit, 1.0, 1.0, "silent"),
        (peers.fixed_audit, 9e-8, 1.0, "vanishing"),
        (peers.fixed_audit, 1.1e4, 1.0, "exploding"),
        (peers.fixed_audit, math.nan, 1.0, "exploding"),
    ],
)
def test_a_peers_rule_says_what_it_is_described_to_say(
    rule: Callable[[peers.Gradients], str], first: float, last: float, said: str
) -> None:
    assert rule(gradients(first, last)) == said


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_the_truth_is_the_norm_of_autograds_jacobian(kind: str) -> None:
    lag, batch = 4, 3
    task = Task.make(kind, Size(6, batch, 3), torch.float64)
    cell = truth.cell_in_float64(task.model.rnn)
    joint = kind == "LSTM"

    def end(start: Tensor, xs: Tensor) -> Tensor:
        state = start.unsqueeze(0)
        for x in xs:
            passed = state.chunk(2, -1) if joint else state
            after = cell(x.unsqueeze(0), passed)
            state = torch.cat(after, -1) if joint else after
        return state[0]

    norms = []
    for b in range(batch):
        xs = task.inputs[:, b]
        start = end(torch.zeros(cell.hidden_size * (1 + joint), dtype=xs.dtype), xs[:-lag])
        jacobian = torch.autograd.functional.jacobian(
            lambda s, later=xs[-lag:]: end(s, later), start.detach()
        )
        norms.append(float(torch.linalg.matrix_norm(jacobian, ord=2).log10()))
    assert truth.log10_gain(task.model.rnn, task.inputs, lag) == pytest.approx(sorted(norms)[1])


@pytest.mark.parametrize("factor", [1.0, 0.5, 1.25, 1e-6], ids=str)
def test_the_truth_of_a_multiple_of_the_identity_is_its_power(factor: float) -> None:
    rnn = nn.RNN(2, 3, bias=False, nonlinearity="relu")
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(factor * torch.eye(3))
        rnn.weight_ih_l0.fill_(1.0)
    inputs = torch.ones(60, 2, 2)
    expected = 50 * math.log10(rnn.weight_hh_l0[0, 0].item())
    assert truth.log10_gain(rnn, inputs, 50) == pytest.approx(expected)


def test_the_verdicts_are_counted_against_the_truth() -> None:
    chosen = [network for network in NETWORKS if "spectral" in network.name or "+6" in network.name]
    found = list(compare.cases(chosen, [0]))
    assert [case.truth for case in found] == ["vanishing"] * 2 + ["healthy"] * 2
    assert verdict_table.table(found).rows[-1] == ("in all", "", "", "4 of 4", *["2 of 4"] * 3)


def test_a_wrong_verdict_is_listed() -> None:
    case = compare.Case("chain", 3, "last", -9.0, -1.0, {compare.OURS: "healthy"})
    silent = dict.fromkeys(peers.RULES, peers.SILENT)
    table = verdict_table.table([dataclasses.replace(case, said={**case.said, **silent})])
    assert "chain, seed 3, loss on last: healthy, gain 1e-1.0, truth 1e-9.0" in table.note
