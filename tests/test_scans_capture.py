"""How a scan is seen: stand-ins that leave no trace, and what is said where a check fails."""

from __future__ import annotations

import copy
import functools
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import scan_references as cores
import torch
from scan_references import heinsen_associative_scan_log as renamed
from torch import Tensor, nn
from torch._higher_order_ops.associative_scan import associative_scan
from torch.utils.checkpoint import checkpoint

import throughtime as tt
from throughtime.recording.scans import Arguments, Scan, Steps

B, T, H = 2, 20, 3


class Gated(nn.Module):
    """``y = W scan(a(x), b(x))`` with minGRU's scan, however ``run`` gets hold of it."""

    def __init__(self, run: Callable[..., Tensor] | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.read, self.write = nn.Linear(H, 2 * H).double(), nn.Linear(H, H).double()
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        coeffs, values = self.read(x).chunk(2, -1)
        arguments = -nn.functional.softplus(coeffs), values
        scanned = cores.heinsen_associative_scan_log if self.run is None else self.run
        output: Tensor = self.write(scanned(*arguments))
        return output


def inputs() -> Tensor:
    draw = torch.Generator().manual_seed(4)
    return torch.randn(B, T, H, generator=draw, dtype=torch.float64)


def loss_of(model: nn.Module) -> Tensor:
    loss: Tensor = model(inputs()).square().mean()
    return loss


def one(model: nn.Module, **options: Any) -> tt.LayerTrace:
    (layer,) = tt.observe(model, lambda: loss_of(model), **options)
    return layer


def same(layer: tt.LayerTrace, other: tt.LayerTrace) -> bool:
    return torch.equal(layer.states, other.states) and torch.equal(layer.gradients, other.gradients)


class Renamed(Gated):
    """It knows the core by a name of its own."""

    def forward(self, x: Tensor) -> Tensor:
        coeffs, values = self.read(x).chunk(2, -1)
        output: Tensor = self.write(renamed(-nn.functional.softplus(coeffs), values))
        return output


WAYS: dict[str, Callable[[], Gated]] = {
    "a module's function": Gated,
    "an import under another name": Renamed,
    "the model's attribute": lambda: Gated(cores.heinsen_associative_scan_log),
    "a partial": lambda: Gated(functools.partial(cores.heinsen_associative_scan_log)),
}


@pytest.mark.parametrize("make", WAYS.values(), ids=WAYS)
def test_a_core_is_seen_wherever_it_is_held_and_is_put_back(make: Callable[[], Gated]) -> None:
    model, function = make(), cores.heinsen_associative_scan_log
    held = model.run
    assert one(model).verified is not None
    assert cores.heinsen_associative_scan_log is function
    assert model.run is held


def test_an_error_inside_puts_the_core_back() -> None:
    model, function = Gated(cores.heinsen_associative_scan_log), cores.heinsen_associative_scan_log
    with pytest.raises(ZeroDivisionError), tt.capture(model):
        _ = loss_of(model) / (1 // 0)
    assert cores.heinsen_associative_scan_log is function
    assert model.run is function
    with pytest.raises(RuntimeError), tt.capture(model):
        model(inputs()[..., :1])
    assert model.run is function


def test_captures_may_close_in_any_order() -> None:
    models, function = (Gated(), Gated()), cores.heinsen_associative_scan_log
    first, second = (tt.capture(model).start() for model in models)
    loss_of(models[1]).backward()
    first.remove()
    assert cores.heinsen_associative_scan_log is not function
    second.remove()
    assert cores.heinsen_associative_scan_log is function
    assert len(second.trace) == 1


def test_nothing_changes_bit_for_bit() -> None:
    model = Gated()
    loss_of(model).backward()
    plain = [p.grad for p in model.parameters()]
    model.zero_grad()
    with tt.capture(model):
        loss = loss_of(model)
        loss.backward()
    assert torch.equal(loss, loss_of(model))
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), plain, strict=True))
    assert sys.getprofile() is None


def test_copies_made_inside_go_on_working() -> None:
    model = Gated(cores.heinsen_associative_scan_log)
    with tt.capture(model):
        loss_of(model).backward()
        copied, unpickled = copy.deepcopy(model), pickle.loads(pickle.dumps(model))  # noqa: S301
    expected = loss_of(model)
    assert torch.equal(loss_of(copied), expected)
    assert torch.equal(loss_of(unpickled), expected)
    assert one(copied).verified is not None


def test_another_thread_is_not_recorded() -> None:
    model, other = Gated(), Gated()
    with tt.capture(model) as run, ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: loss_of(other).backward()).result()
        loss_of(model).backward()
    assert len(run.trace) == 1


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_gives_the_same_trace(reentrant: bool) -> None:
    model = Gated()
    x = inputs().requires_grad_()

    def saved() -> Tensor:
        loss: Tensor = checkpoint(model, x, use_reentrant=reentrant).square().mean()
        return loss

    (layer,) = tt.observe(model, saved)
    assert same(layer, one(model))


def test_layers_of_all_kinds_in_series_decide_together() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.LSTM(H, H, batch_first=True).double()
            self.scan, self.last = Gated(), nn.GRU(H, H, batch_first=True).double()

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.last(self.scan(self.first(x)[0]) + x)[0]
            return output

    model = Mixed()
    trace = tt.observe(model, lambda: loss_of(model))
    assert set(trace.names) == {"first", "scan", "last"}
    assert set(trace.feeds) == {("first", "scan"), ("scan", "last")}
    found = tt.diagnose(trace)
    assert {layer.kind for layer in found.layers} == {"LSTM", "GRU", "scan", "series"}


def test_two_calls_of_one_module_are_two_rows() -> None:
    model = Gated()
    trace = tt.observe(model, lambda: (model(inputs()) + model(2 * inputs())).square().mean())
    assert trace.names == ("gated", "gated (2)")


@pytest.mark.parametrize("memory", [1, 40_000])
def test_blocks_of_time_give_the_same_trace(memory: int) -> None:
    whole, blocks = one(Gated()), one(Gated(), memory=memory)
    torch.testing.assert_close(blocks.states, whole.states)
    torch.testing.assert_close(blocks.gradients, whole.gradients)
    assert blocks.verified == pytest.approx(whole.verified, abs=1e-12)
    sides = [np.asarray(tt.measures.lags(layer).values) for layer in (whole, blocks)]
    np.testing.assert_allclose(*sides)


def test_the_lengths_of_a_padded_batch_end_its_sequences() -> None:
    (layer,) = tt.observe(model := Gated(), lambda: loss_of(model), lengths=[T, 5])
    assert layer.lengths == (T, 5)
    assert layer.alive().sum() == T + 5


def test_a_core_that_computes_something_else_gets_no_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Gated()
    monkeypatch.setattr(cores, "_diagonal", lambda a, b: 1.01 * b.exp().cumsum(1) + 0 * a)
    found = tt.diagnose(model, lambda: loss_of(model))
    assert found.verdict == "unknown"
    assert "closed form" in found.layers[0].sentence


def test_arguments_that_the_form_does_not_know_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_one_row(log_coeffs: Tensor, log_values: Tensor) -> Tensor:
        return log_values.exp().cumsum(1) + 0 * log_coeffs

    monkeypatch.setattr(cores, "heinsen_associative_scan_log", of_one_row)
    model = Gated()
    coeffs = nn.Parameter(torch.zeros(1, dtype=torch.float64))  # which has no axis of time

    def closure() -> Tensor:
        return cores.heinsen_associative_scan_log(coeffs, model.read(inputs())[..., :H]).sum()

    trace = tt.observe(model, lambda: closure() + leaky(model).sum())
    assert trace["leaky"].kind == "scan"
    assert any("does not know" in note for note in trace.notes)


def leaky(model: Gated) -> Tensor:
    """A scan that is shown, beside one that cannot be read."""
    decay = model.read(inputs()).sigmoid()[..., :H]
    return tt.scan(cores._diagonal(decay, inputs()), decay=decay, name="leaky")


def test_an_argument_changed_in_place_spoils_the_record() -> None:
    model = Gated()
    with tt.capture(model) as run:
        values = inputs()
        coeffs = -model.read(inputs()).exp()[..., :H]
        loss = cores.heinsen_associative_scan_log(coeffs, values).square().mean()
        loss.backward()
        values.add_(1)
    assert "in place" in run.trace[0].spoilt


def test_a_frozen_decay_is_checked_by_a_leaf_of_ours() -> None:
    model = Gated()
    coeffs = -inputs().exp()

    def closure() -> Tensor:
        values = model.read(inputs())[..., :H]
        return cores.heinsen_associative_scan_log(coeffs, values).square().mean()

    (layer,) = tt.observe(model, closure)
    assert layer.verified is not None
    assert layer.verified < 1e-10
    assert coeffs.grad is None


def test_what_no_gradient_reached_is_said() -> None:
    model = Gated()
    with pytest.raises(tt.NoGradientError, match=r"scan of 'gated'.*no_grad"), torch.no_grad():
        tt.observe(model, lambda: loss_of(model))
    with tt.capture(model) as run:
        loss_of(model)
    with pytest.raises(tt.NoGradientError, match="backward"):
        _ = run.trace


def test_measures_that_make_no_sense_say_so() -> None:
    layer = one(Gated())
    for measure in (tt.measures.spectrum, tt.measures.saturation):
        with pytest.raises(tt.UnsupportedError, match="gated"):
            measure(layer)
    model = Gated()
    deep = tt.diagnose(model, lambda: loss_of(model), deep=True)
    names = {found.name for found in deep.layers[0].measurements}
    assert {"gain", "budget", "lyapunov", "memory capacity", "contributions"} <= names


def test_the_budget_says_decay_and_delta() -> None:
    draw = torch.Generator().manual_seed(5)
    shapes = {"q": 4, "k": 4, "v": 3}
    parts = {
        name: nn.Parameter(torch.randn(B, T, 2, size, generator=draw, dtype=torch.float64))
        for name, size in shapes.items()
    }
    gates = [nn.Parameter(torch.full((B, T, 2), -0.2, dtype=torch.float64)) for _ in range(2)]
    model = nn.ParameterList([*parts.values(), *gates])

    def closure() -> Tensor:
        result = cores.torch_chunk_gated_delta_rule(
            *parts.values(), gates[0], gates[1].exp(), use_qk_l2norm_in_kernel=True
        )
        return result[0].square().mean()

    (layer,) = tt.observe(model, closure)
    budget = tt.measures.budget(layer)
    decay, delta, whole = np.asarray(budget.values)
    assert budget.coords["cause"] == ("decay", "delta", "whole")
    assert decay == pytest.approx(-0.2 / np.log(10))
    assert delta < 0
    changes = tt.measures.counterfactuals(layer)
    rates = dict(zip(changes.coords["change"], np.asarray(changes.values), strict=True))
    assert rates["forget gate at 1"] == pytest.approx(delta)
    assert rates["no erasing"] == pytest.approx(decay)
    assert whole == pytest.approx(decay + delta)


def test_torchs_associative_scan_is_seen_where_it_is_linear() -> None:
    class Parallel(nn.Module):
        def __init__(self, combine: Callable[..., Any]) -> None:
            super().__init__()
            self.read, self.combine = nn.Linear(H, 2 * H).double(), combine

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.read(x).chunk(2, -1)
            pair = associative_scan(self.combine, (a.sigmoid(), b), 1, combine_mode="generic")
            output: Tensor = pair[1]
            return output

    layer = one(Parallel(lambda x, y: (x[0] * y[0], y[0] * x[1] + y[1])))
    assert layer.verified is not None
    assert layer.verified < 1e-10
    with pytest.raises(tt.NothingRecordedError):
        one(Parallel(lambda x, y: (x[0] * y[0], x[1] + y[1])))


def leaky_sum(leaks: Tensor, values: Tensor) -> Tensor:
    """A core that nobody knows yet: ``s_t = leak_t s_{t−1} + v_t``."""
    return cores._diagonal(leaks, values)


def test_a_core_of_ones_own_is_one_class() -> None:
    model = Gated(leaky_sum)
    with suppress(tt.NothingRecordedError):
        assert one(model).kind != "scan"

    class LeakySum(Scan):
        names = ("leaky_sum",)
        parameters = ("leaks", "values")
        probes = ("leaks",)
        at_most = None

        def steps(self, of: Arguments) -> Steps:
            decay = of.timed("leaks")[..., None, None]
            return Steps(decay, torch.ones_like(decay[..., 0]), of.timed("values").unsqueeze(-1))

        def arrange(self, output: Tensor, of: Arguments) -> Tensor:
            return output.movedim(1, 0).unsqueeze(-1)

    layer = one(model)
    assert layer.verified is not None
    assert layer.verified < 1e-10
