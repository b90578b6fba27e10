"""The benchmark of modern recurrences: its task, its measures against brute force, and its page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scan_layers import SSD
from torch import Tensor, nn

import throughtime as tt
from benchmarks.modern import __main__ as command
from benchmarks.modern import figures, forgetting, measuring, page, records, summary
from benchmarks.modern.mixers import all_mixers
from benchmarks.modern.mixers.of_rwkv import fused_recurrent_rwkv7
from benchmarks.modern.network import BUDGET, built, sizes
from benchmarks.modern.state_size import (
    Factors,
    diagonal_exponents,
    effective_state_size,
    factors,
    largest_factor,
)
from benchmarks.modern.task import DISTANCES, TOKENS, VALUES, batch, losses
from benchmarks.modern.training import QUICK, cell

MIXERS = all_mixers()
OF_TORCH = [name for name, mixer in MIXERS.items() if mixer.package == "torch"]
STEPS, B, K = 8, 2, 3


def drawn(*shape: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


# The task.


def test_every_question_stands_so_far_behind_the_mark_and_asks_for_it() -> None:
    words, questions, answers = batch(64, 3)
    for row, answer in enumerate(answers.tolist()):
        ((mark,),) = torch.nonzero((words[row] >= VALUES) & (words[row] < 2 * VALUES)).tolist()
        assert words[row, mark] == VALUES + answer
        assert questions[row].tolist() == [mark + distance for distance in DISTANCES]
        assert int((words[row] == 2 * VALUES).sum()) == len(DISTANCES)


def test_a_loss_of_each_question_is_that_of_its_own_logits() -> None:
    one = batch(2, 0)
    logits = drawn(2, one.words.shape[1], TOKENS)
    found = losses(logits, one)
    place, answer = int(one.questions[1, 2]), int(one.answers[1])
    assert float(found[1, 2]) == pytest.approx(float(-logits[1, place].log_softmax(0)[answer]))


def test_what_is_asked_for_in_a_stream_is_the_latest_mark() -> None:
    words, asked, latest = forgetting.stream(4, 60, 0)
    for row in range(4):
        marked = None
        for t, word in enumerate(words[row].tolist()):
            marked = word - VALUES if VALUES <= word < 2 * VALUES else marked
            assert latest[row, t] == marked
        assert bool((words[row, asked[row]] == forgetting.QUESTION).all())


# Measures against brute force.


class DeltaRule(nn.Module):
    """Shows a delta rule of one head, and gives what is read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.rand(B, STEPS, 1, dtype=torch.float64) / 2 + 0.5)

    def forward(self, values: Tensor) -> Tensor:
        keys = nn.functional.normalize(drawn(B, STEPS, 1, K, seed=1), dim=-1)
        queries, beta = drawn(B, STEPS, 1, K, seed=2), torch.full((B, STEPS, 1), 0.7).double()
        state, read = torch.zeros(B, 1, K, 1, dtype=torch.float64), []
        decays = self.decay[..., None, None].unbind(1)
        columns = (keys.unsqueeze(-1), queries.unsqueeze(-1), beta[..., None, None])
        parts = (*columns, values[..., None, None])
        for decay, k, q, b, v in zip(decays, *(one.unbind(1) for one in parts), strict=True):
            state = decay * (state - b * k * (k * state).sum(-2, keepdim=True)) + b * k * v
            read.append((q * state).sum(-2))
        output = torch.stack(read, 1)
        return tt.scan(
            output, decay=self.decay, key=keys, beta=beta, query=queries,
            value=values.unsqueeze(-1), name="own",
        )  # fmt: skip


def entropy_rank(values: Tensor) -> float:
    shares = values / values.sum()
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


def test_the_effective_size_is_that_of_the_operator_itself() -> None:
    torch.manual_seed(0)
    model, values = DeltaRule(), drawn(B, STEPS, 1, seed=3)
    trace = tt.observe(model, lambda: model(values).square().sum())
    operator = torch.autograd.functional.jacobian(lambda v: model(v).flatten(1), values)
    half = STEPS // 2
    expected = [
        entropy_rank(torch.linalg.svdvals(operator[b, half:, b, :half, 0])) for b in range(B)
    ]
    found, size = effective_state_size(factors(trace["own"]))
    assert trace["own"].verified == pytest.approx(0, abs=1e-8)
    assert size == K
    assert found == pytest.approx(sorted(expected)[0], rel=1e-6)  # torch's median of two


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_that_of_torchs_layers_is_that_of_their_jacobian(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    layer, x = kind(2, 3).double(), drawn(STEPS, 1, 2)
    trace = tt.observe(layer, lambda: layer(x)[0].square().sum())
    operator = torch.autograd.functional.jacobian(lambda x: layer(x)[0], x)
    half = STEPS // 2
    block = operator[half:, 0, :, :half, 0].flatten(2).flatten(0, 1)
    found, _ = effective_state_size(factors(trace[0]))
    assert found == pytest.approx(entropy_rank(torch.linalg.svdvals(block)), rel=1e-6)


def test_exponents_of_a_diagonal_recurrence_are_mean_logarithms() -> None:
    torch.manual_seed(0)
    model = SSD().double()
    x = drawn(B, STEPS, 8)
    found = factors(tt.observe(model, lambda: model(x).square().sum())["own"])
    slowest = float(model.log_decay().detach().max())
    assert diagonal_exponents(found, 2) == pytest.approx([slowest] * B)
    assert largest_factor(found) == pytest.approx(math.exp(slowest))


def test_a_recurrence_that_mixes_has_no_such_exponents() -> None:
    jacobians = drawn(STEPS, B, 1, K, K)
    of = Factors(jacobians, jacobians[..., :1], jacobians[..., :1, :])
    assert diagonal_exponents(of, 0) is None
    norms = [float(torch.linalg.svdvals(one).max()) for one in jacobians.flatten(0, 2)]
    assert largest_factor(of) == pytest.approx(max(norms))


def test_reach_at_the_inputs_is_the_norm_of_each_gradient() -> None:
    one = QUICK.batch(3, 0)
    network = built(MIXERS["transformer"], TOKENS, 0)
    found = measuring.reach_at_inputs(network, one)
    ratios = []
    for row in range(3):
        for question, place in enumerate(one.questions[row].tolist()):
            embedded = network.embedding(one.words[row : row + 1]).detach().requires_grad_()
            alone = one._replace(
                words=one.words[row : row + 1],
                questions=one.questions[row : row + 1],
                answers=one.answers[row : row + 1],
            )
            losses(network.read(embedded), alone)[0, question].backward()
            assert embedded.grad is not None
            norms = embedded.grad[0].norm(dim=-1)[: place + 1].flip(0)
            ratios.append(torch.log10(norms / norms[1:].max())[:5])
    expected = torch.stack(ratios).double().quantile(0.5, 0)
    np.testing.assert_allclose(found[:5], expected, rtol=1e-4, atol=1e-4)


def test_what_rwkv_7_computes_is_known_to_a_capture() -> None:
    assert fused_recurrent_rwkv7.__name__ in {name for name, _ in tt_known()}
    network, one = built(MIXERS["RWKV-7"], TOKENS, 0), QUICK.batch(2, 0)
    for layer in tt.observe(network, lambda: losses(network(one.words), one).mean()):
        assert layer.verified is not None
        assert layer.verified < 1e-4
        assert not layer.spoilt


def tt_known() -> Any:
    from throughtime.recording.scans.registry import known

    return known()


# Cells, and what is made of them.


@pytest.mark.parametrize("name", OF_TORCH)
def test_a_cell_is_measured_before_and_after_its_training(name: str) -> None:
    found = cell(MIXERS[name], 0, QUICK)
    assert found == found | {"architecture": name, "seed": 0}
    for stage in summary.STAGES:
        layers = found[stage]["layers"]
        assert len(layers) == 2 * MIXERS[name].recurrent
        for layer in layers:
            assert layer["gain"][0] == pytest.approx(0)
            assert layer["verified"] < 1e-4
        assert max(one for one in found[stage]["inputs"][1:] if one is not None) <= 1e-6
    assert found["untrained"] != found["trained"]
    assert cell(MIXERS[name], 0, QUICK) == found | {"seconds": pytest.approx(0, abs=600)}


@pytest.mark.parametrize("name", MIXERS)
def test_every_network_has_the_same_budget(name: str) -> None:
    if not MIXERS[name].installed:
        pytest.skip("transformers is not installed")
    _, whole = sizes(built(MIXERS[name], TOKENS, 0))
    assert whole == pytest.approx(2 * BUDGET, rel=0.01)


@pytest.mark.parametrize(
    ("beyond", "found"),
    [((0.9, 0.9, 0.0), 4), ((0.9, 0.0, 0.0), 2), ((0.0, 0.0, 0.9), None), ((0.9, 0.0, 0.9), None)],
)
def test_t_forget_is_where_all_longer_ones_hold(
    beyond: tuple[float, ...], found: int | None
) -> None:
    cells = [
        {"length": length, "within": 0.0, "beyond": loss}
        for length, loss in zip((1, 2, 4), beyond, strict=True)
    ]
    assert forgetting.t_forget(cells) == found


def test_a_record_that_was_cut_is_no_record_and_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records.append({"seed": 0}, path)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"seed": 1, "arch')
    assert records.read(path) == [{"seed": 0}]
    records.append({"seed": 2}, path)
    assert records.read(path) == [{"seed": 0}, {"seed": 2}]


def test_a_quick_run_prints_its_tables_and_keeps_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(records, "CELLS", tmp_path / "cells")
    command.main(["--quick", "GRU"])
    assert "The largest Lyapunov exponent" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_an_unknown_architecture_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["GRUU"])
    assert "no architecture 'GRUU'; choose from: " in capsys.readouterr().err


def test_the_page_says_what_the_records_say() -> None:
    cells, forgot = records.read(records.CELLS), records.read(records.FORGETTING)
    assert (page.DOCS / "modern.md").read_text(encoding="utf-8") == page.text(cells, forgot)


def test_every_architecture_and_seed_is_recorded_and_drawn(tmp_path: Path) -> None:
    cells, forgot = records.read(records.CELLS), records.read(records.FORGETTING)
    assert {(one["architecture"], one["seed"]) for one in cells} == {
        (name, seed) for name in MIXERS for seed in command.SEEDS
    }
    drawn = figures.write(tmp_path / "modern", cells, forgot)
    assert [file.name for file in drawn] == ["state.svg", "inputs.svg", "forgetting.svg"]
    again = figures.write(tmp_path / "again", cells, forgot)
    assert [file.read_text() for file in drawn] == [file.read_text() for file in again]
    assert all((page.DOCS / "modern" / file.name).exists() for file in drawn)
