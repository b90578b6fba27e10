"""The gradient of W_hh by lag: against autograd with a weight of its own for every step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from worlds import captured, linear_world, relu_world

import throughtime as tt
from throughtime.measures import contributions

T, B, H, I = 9, 3, 4, 2
CELLS = {nn.RNN: nn.RNNCell, nn.GRU: nn.GRUCell, nn.LSTM: nn.LSTMCell}
BUCKETS = ((0, 0), (1, 1), (2, 3), (4, 7), (8, 8))


def made(kind: type[nn.RNNBase], seed: int = 0) -> tuple[nn.RNNBase, Tensor, Tensor]:
    """A layer in float64, its inputs, and the weight of the loss on every output."""
    generator = torch.Generator().manual_seed(seed)
    model = kind(I, H, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    shapes = (T, B, I), (T, B, H)
    x, weight = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return model, x, weight


def by_lag(model: nn.RNNBase, x: Tensor, weight: Tensor) -> Tensor:
    """G_0 … G_{T−1}, by autograd: every step has a W_hh of its own, every loss its own pass."""
    cell = CELLS[type(model)](I, H, dtype=x.dtype)
    fixed = {name.removesuffix("_l0"): value.detach() for name, value in model.named_parameters()}
    own = [fixed["weight_hh"].clone().requires_grad_() for _ in range(T)]
    state: Tensor | tuple[Tensor, ...] | None = None
    losses = []
    for t in range(T):
        state = torch.func.functional_call(cell, {**fixed, "weight_hh": own[t]}, (x[t], state))
        losses.append(((state if isinstance(state, Tensor) else state[0]) * weight[t]).sum())
    found = torch.zeros(T, *own[0].shape, dtype=x.dtype)
    for t, loss in enumerate(losses):
        for u, grad in enumerate(torch.autograd.grad(loss, own[: t + 1], retain_graph=True)):
            found[t - u] += grad
    return found


def shares(parts: Tensor) -> np.ndarray:
    """The two figures, of lags put into buckets."""
    buckets = torch.stack([parts[first : last + 1].sum(0) for first, last in BUCKETS]).flatten(1)
    whole, norms = buckets.sum(0), buckets.norm(dim=1)
    return torch.stack([buckets @ whole / (whole @ whole), norms / norms.sum()]).numpy()


@pytest.mark.parametrize("kind", CELLS)
def test_every_bucket_is_autograds(kind: type[nn.RNNBase]) -> None:
    model, x, weight = made(kind)
    found = contributions(captured(model, x, weight))
    np.testing.assert_allclose(found.values, shares(by_lag(model, x, weight)), atol=1e-10)


@pytest.mark.parametrize("kind", CELLS)
def test_the_lags_together_are_the_whole_gradient(kind: type[nn.RNNBase]) -> None:
    model, x, weight = made(kind)
    captured(model, x, weight)
    torch.testing.assert_close(
        by_lag(model, x, weight).sum(0), model.weight_hh_l0.grad, rtol=1e-10, atol=1e-10
    )
    found = contributions(captured(model, x, weight))
    assert found.values[0].sum() == pytest.approx(1, abs=1e-10)
    assert found.values[1].sum() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("sequences", [[0], [2, 1]])
def test_some_sequences_are_those_alone(sequences: list[int]) -> None:
    model, x, weight = made(nn.GRU)
    found = contributions(captured(model, x, weight), sequences=sequences)
    alone = by_lag(model, x[:, sequences], weight[:, sequences])
    np.testing.assert_allclose(found.values, shares(alone), atol=1e-10)


def test_what_lies_beyond_the_longest_lag_is_left_out() -> None:
    model, x, weight = made(nn.GRU)
    found = contributions(captured(model, x, weight), longest=3)
    parts = by_lag(model, x, weight)
    parts[4:] = 0
    assert found.coords["bucket"] == ("0", "1", "2-3")
    np.testing.assert_allclose(found.values, shares(parts)[:, :3], atol=1e-10)


def test_a_layer_that_reads_backwards_counts_in_its_own_order() -> None:
    model, x, weight = made(nn.GRU)
    both = nn.GRU(I, H, bidirectional=True, dtype=torch.float64)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            getattr(both, f"{name}_reverse").copy_(parameter)
    loss = torch.cat([torch.zeros_like(weight), weight.flip(0)], -1)
    found = contributions(captured(both, x.flip(0), loss), "gru.reverse")
    expected = contributions(captured(model, x, weight))
    np.testing.assert_allclose(found.values, expected.values, atol=1e-12)


def test_nothing_comes_from_behind_a_wall() -> None:
    model, x, weight = made(nn.GRU)
    with tt.capture(model) as run:
        first, state = model(x[:5])
        second, _ = model(x[5:], state.detach())
        (torch.cat([first, second]) * weight).sum().backward()
    found = contributions(run.trace)
    np.testing.assert_array_equal(found.values[:, found.coords["bucket"].index("8")], 0)
    assert found.values[0].sum() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize(("gain", "lags"), [(1e-3, "0"), (1e3, "256-399")])
def test_nothing_underflows_or_overflows(gain: float, lags: str) -> None:
    found = contributions(relu_world(gain, 400))
    norms = dict(zip(found.coords["bucket"], found.values[1], strict=True))
    assert norms[lags] == pytest.approx(1, abs=2e-3)
    assert found.values[0].sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12])
def test_the_size_of_the_loss_changes_no_share(scale: float) -> None:
    model, x, weight = (part.float() for part in made(nn.LSTM))
    expected = contributions(captured(model, x, weight)).values
    found = contributions(captured(model, x, scale * weight)).values
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_flat_gain_shares_the_norm_evenly_over_the_lags() -> None:
    found = contributions(
        relu_world(1.0, 8)
    )  # one loss, at the end; every step sees the same state
    np.testing.assert_allclose(found.values, np.array([[1, 1, 2, 4]] * 2) / 8, rtol=1e-6)
    assert "99 % of the norm lies within a lag of 7" in found.how


def test_how_says_how_far_back_the_update_reaches() -> None:
    assert "99 % of the norm lies within a lag of 1" in contributions(relu_world(0.05, 30)).how


def test_a_gradient_that_is_no_number_has_no_shares() -> None:
    model, x, weight = made(nn.RNN)
    weight[3, 1] = math.nan
    assert np.isnan(contributions(captured(model, x, weight)).values).all()


def test_no_gradient_has_no_shares() -> None:
    model, x, weight = made(nn.RNN)
    assert np.isnan(contributions(captured(model, x, 0 * weight)).values).all()


BAD = {
    "several layers": ({}, "choose one with layer=: 'gru', 'gru.reverse'"),
    "unknown layer": ({"layer": "nope"}, "unknown layer 'nope'"),
    "longest": ({"layer": 0, "longest": -1}, "longest is -1: give a whole number"),
    "sequences": ({"layer": 0, "sequences": [B]}, f"sequence {B} lies outside"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_measured_is_refused_in_a_sentence(name: str) -> None:
    given, sentence = BAD[name]
    _, x, _ = made(nn.GRU)
    trace = captured(nn.GRU(I, H, bidirectional=True, dtype=torch.float64), x)
    with pytest.raises(tt.InputError, match=sentence):
        contributions(trace, **given)


def test_a_recurrence_without_a_known_weight_is_refused() -> None:
    matrix = torch.eye(2, dtype=torch.float64)
    world = linear_world(matrix, 5, torch.ones(2, dtype=torch.float64))
    with pytest.raises(tt.InputError, match="no recurrent weight that is known"):
        contributions(world)
