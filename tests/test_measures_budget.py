"""Where the decades go: against slow loops, and in worlds with known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import normal
from torch import Tensor, nn
from worlds import captured, relu_world

import throughtime as tt
from throughtime.measures import budget, counterfactuals, lags, paths

T, B, I, H = 12, 3, 4, 6
MODELS = {
    "tanh": lambda: nn.RNN(I, H),
    "relu": lambda: nn.RNN(I, H, nonlinearity="relu"),
    "LSTM": lambda: nn.LSTM(I, H),
    "LSTM-proj": lambda: nn.LSTM(I, H, proj_size=2),
    "GRU": lambda: nn.GRU(I, H),
}
EXACT = 1e-9


def prepared(kind: str) -> nn.Module:
    model = MODELS[kind]().double()
    with torch.no_grad():
        for index, weight in enumerate(model.parameters()):
            weight.copy_(0.6 * normal(*weight.shape, seed=index) + 0.1)
    return model


def run(kind: str, weight: Tensor | None = None) -> tt.Trace:
    return captured(prepared(kind), normal(T, B, I, seed=9), weight)


def every_step(kind: str) -> Tensor:
    return normal(T, B, 2 if kind == "LSTM-proj" else H, seed=8)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("span", [None, 4])
def test_the_parts_add_up_to_the_lag_sweep(kind: str, span: int | None) -> None:
    trace = run(kind, every_step(kind))
    found = budget(trace, anchors=T, span=span)
    matrix, gained, steps = lags(trace).values, 0.0, 0
    for t in range(T):
        back = t if span is None else min(t, span)
        gained += (matrix[t, t - back] - matrix[t, t]).sum()
        steps += back * B
    assert found.coords["cause"][-1] == "whole"
    assert found.values[-1] == pytest.approx(gained / steps, abs=EXACT)
    assert found.values[:-1].sum() == pytest.approx(found.values[-1], abs=EXACT)


def test_an_elman_network_splits_into_nonlinearity_and_matrix() -> None:
    trace = run("tanh")
    slope = 1 - trace[0].states.square()
    weight = trace[0].linear.weights(0)["weight_hh"]
    delta, parts = trace[0].gradients[-1], []
    for t in range(T - 1, 0, -1):
        squashed = slope[t] * delta
        back = squashed @ weight
        norms = [value.norm(dim=-1) for value in (delta, squashed, back)]
        parts.append(torch.stack([norms[1] / norms[0], norms[2] / norms[1]]).log10())
        delta = back
    wanted = torch.stack(parts).mean((0, 2))
    np.testing.assert_allclose(budget(trace).values[:2], wanted, atol=EXACT)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_shares_of_the_paths_follow_one_step(kind: str) -> None:
    trace = run(kind)
    delta, shares = trace[0].gradients[-1], []
    without_gates = trace[0].linear.variant("no way through the gates")
    for t in range(T - 1, 0, -1):
        carousel, back = without_gates.vjp(t, delta), trace[0].linear.vjp(t, delta)
        shares.append((carousel * back).sum(-1) / back.square().sum(-1))
        delta = back
    wanted = float(torch.stack(shares).mean())
    found = dict(zip(*(paths(trace).coords["path"], paths(trace).values), strict=True))
    assert found == pytest.approx({"carousel": wanted, "gates": 1 - wanted}, abs=EXACT)


def test_a_network_without_gates_has_no_paths() -> None:
    assert paths(run("tanh")).coords["path"] == ()


@pytest.mark.parametrize("kind", MODELS)
def test_a_counterfactual_is_a_sweep_of_the_variant(kind: str) -> None:
    trace = run(kind)
    found = counterfactuals(trace)
    source = trace[0].direct[-1]
    wanted = []
    for name in found.coords["change"]:
        linear = trace[0].linear if name == "as it is" else trace[0].linear.variant(name)
        delta = source
        for t in range(T - 1, 0, -1):
            delta = linear.vjp(t, delta)
        wanted.append(float((delta.norm(dim=-1) / source.norm(dim=-1)).log10().mean()) / (T - 1))
    np.testing.assert_allclose(found.values, wanted, atol=EXACT)
    assert found.values[0] == pytest.approx(budget(trace).values[-1], abs=EXACT)


def without_recurrent_matrix(forget: float) -> nn.LSTM:
    model = nn.LSTM(I, H).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.bias_ih_l0[H : 2 * H] = forget
    return model


@pytest.mark.parametrize("bias", [0.0, 1.0, 2.0])
def test_the_carousel_alone_loses_what_the_forget_gate_takes(bias: float) -> None:
    trace = captured(without_recurrent_matrix(bias), normal(200, B, I))
    found = counterfactuals(trace)
    rates = dict(zip(found.coords["change"], found.values, strict=True))
    # Half of the read-out is squared away at the first step, whose lag is one of 199.
    assert rates["as it is"] == pytest.approx(np.log10(1 / (1 + np.exp(-bias))), abs=2e-3)
    assert rates["no way through the gates"] == pytest.approx(rates["as it is"], abs=EXACT)
    assert rates["forget gate at 1"] == pytest.approx(0.0, abs=2e-3)
    assert dict(zip(paths(trace).coords["path"], paths(trace).values, strict=True)) == {
        "carousel": 1.0,
        "gates": 0.0,
    }


def test_an_orthogonal_matrix_takes_nothing() -> None:
    model = nn.RNN(I, H).double()
    nn.init.orthogonal_(model.weight_hh_l0, generator=torch.Generator().manual_seed(0))
    trace = captured(model, normal(T, B, I))
    found = dict(zip(budget(trace).coords["cause"], budget(trace).values, strict=True))
    rates = counterfactuals(trace)
    assert found["recurrent matrix"] == pytest.approx(0.0, abs=EXACT)
    assert found["nonlinearity"] == pytest.approx(found["whole"], abs=EXACT)
    assert dict(zip(rates.coords["change"], rates.values, strict=True)) == pytest.approx(
        {"as it is": found["whole"], "no squashing": 0.0, "W_hh orthogonal": found["whole"]},
        abs=EXACT,
    )


def test_a_wall_ends_a_path() -> None:
    model, x = prepared("GRU"), normal(T, B, I, seed=9)
    with tt.capture(model) as captured_run:
        first, state = model(x[:5])
        (model(x[5:], state.detach())[0][-1].sum() + 0 * first.sum()).backward()
    whole = captured(model, x)
    near = budget(whole, span=T - 1 - 5)
    np.testing.assert_allclose(budget(captured_run.trace).values, near.values, atol=EXACT)


def test_a_path_that_meets_an_exact_zero_counts_up_to_it() -> None:
    model = nn.RNN(1, 2, nonlinearity="relu", bias=False).double()
    with torch.no_grad():
        model.weight_hh_l0.copy_(0.5 * torch.eye(2))
        model.weight_ih_l0.copy_(torch.ones(2, 1))
    x = torch.linspace(1, 2, T, dtype=torch.float64).view(T, 1, 1)
    x[4] = -100  # every unit is dead at step 4
    found = budget(captured(model, x))
    assert found.values[-1] == pytest.approx(np.log10(0.5))
    assert "1 of 1 paths end in an exact zero" in found.how
    assert counterfactuals(captured(model, x)).values[0] == pytest.approx(np.log10(0.5))


def test_nothing_comes_back_at_all() -> None:
    model = nn.RNN(1, 2, nonlinearity="relu", bias=False).double()
    with torch.no_grad():
        model.weight_ih_l0.copy_(torch.ones(2, 1))
        model.weight_hh_l0.zero_()
    trace = captured(model, torch.linspace(1, 2, T, dtype=torch.float64).view(T, 1, 1))
    assert counterfactuals(trace, changes=()).values.tolist() == [-np.inf]


def test_a_single_step_has_no_budget() -> None:
    assert np.isnan(budget(captured(prepared("LSTM"), normal(1, B, I))).values).all()


def test_a_recurrence_without_variants_has_one_rate() -> None:
    found = counterfactuals(relu_world(0.5, 9))
    assert found.coords["change"] == ("as it is",)
    assert found.values.tolist() == pytest.approx([np.log10(0.5)])


@pytest.mark.parametrize("measure", [budget, paths, counterfactuals])
def test_one_layer_at_a_time(measure: object) -> None:
    model = nn.GRU(I, H, num_layers=2).double()
    trace = captured(model, normal(T, B, I))
    with pytest.raises(tt.InputError, match=r"choose one with layer=: 'gru.l0', 'gru.l1'"):
        measure(trace)
