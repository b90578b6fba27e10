"""The forward side: delay lines and other worlds with a known memory, and autograd."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from worlds import captured, linear_world

import throughtime as tt
from throughtime.findings import Measurement
from throughtime.measures import memory
from throughtime.measures.memory.rank import effective_rank
from throughtime.measures.memory.sensitivity import directions
from throughtime.trace import LayerTrace, Trace

T, B, H, I = 9, 3, 4, 2
CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def measured(trace: Trace | LayerTrace, **given: object) -> dict[str, Measurement]:
    return {one.name: one for one in memory(trace, **given)}


def curve(trace: Trace | LayerTrace, **given: object) -> np.ndarray:
    """The median of the input memory by lag."""
    return measured(trace, **given)["input memory"].values[1]


def capacity(trace: Trace | LayerTrace, **given: object) -> np.ndarray:
    return measured(trace, **given)["memory capacity"].values


def fixed(weight_ih: Tensor, weight_hh: Tensor, nonlinearity: str = "relu") -> nn.RNN:
    """An nn.RNN with these weights and no bias."""
    size, features = weight_ih.shape
    model = nn.RNN(features, size, nonlinearity=nonlinearity, bias=False, dtype=weight_hh.dtype)
    with torch.no_grad():
        model.weight_ih_l0.copy_(weight_ih)
        model.weight_hh_l0.copy_(weight_hh)
    return model


def delay_line(size: int, gain: float = 1.0, dtype: torch.dtype = torch.float64) -> nn.RNN:
    """The input enters unit 0, and moves on by one unit a step: it is held for ``size`` steps."""
    first = torch.zeros(size, 1, dtype=dtype)
    first[0] = 1
    return fixed(first, gain * torch.diag(torch.ones(size - 1, dtype=dtype), -1))


def uniform(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Independent and positive, so that ReLU lets them pass."""
    return torch.rand(*shape, generator=seeded(seed), dtype=dtype)


def randomised(kind: type[nn.RNNBase], features: int = I) -> nn.RNNBase:
    model, generator = kind(features, H, dtype=torch.float64), seeded(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
    return model


# Input memory.


def by_autograd(model: nn.RNNBase, x: Tensor) -> np.ndarray:
    """log10 ‖∂s_t/∂x_u‖ (T T B), by autograd through torch's cell; NaN where u > t."""
    kind = {nn.RNN: nn.RNNCell, nn.GRU: nn.GRUCell, nn.LSTM: nn.LSTMCell}[type(model)]
    cell = kind(x.shape[-1], H, dtype=x.dtype)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in model.state_dict().items()})

    def states(inputs: Tensor) -> Tensor:
        state, found = None, []
        for step in inputs:
            state = cell(step, state)
            found.append(torch.cat(state, -1) if isinstance(state, tuple) else state)
        return torch.stack(found)

    found = np.full((T, T, B), np.nan)
    for b in range(B):
        jacobian = torch.autograd.functional.jacobian(states, x[:, b : b + 1])[:, 0, :, :, 0]
        norms = jacobian.square().sum((1, 3)).sqrt().log10()  # (T of s, T of x)
        found[:, :, b] = torch.where(torch.ones(T, T).tril() > 0, norms, torch.nan)
    return found


@pytest.mark.parametrize("features", [1, I])
@pytest.mark.parametrize("name", CELLS)
def test_input_memory_is_autograds(name: str, features: int) -> None:
    model = randomised(CELLS[name], features)
    x = torch.randn(T, B, features, generator=seeded(), dtype=torch.float64)
    found = measured(captured(model, x), starts=T)["input memory"]
    expected = by_autograd(model, x)
    for lag in range(T):
        samples = np.concatenate([expected[u + lag, u] for u in range(T - lag)])
        for q, value in zip((0.1, 0.5, 0.9), found.values[:, lag], strict=True):
            low, high = (np.quantile(samples, q, method=way) for way in ("lower", "higher"))
            assert low - 1e-10 <= value <= high + 1e-10
            assert np.abs(samples - value).min() < 1e-10


def test_a_delay_line_holds_an_input_for_as_many_steps_as_it_has_units() -> None:
    found = curve(captured(delay_line(5), uniform(12, 2, 1)))
    np.testing.assert_allclose(found[:5], 0, atol=1e-12)
    assert np.isneginf(found[5:]).all()


@pytest.mark.parametrize("gain", [0.5, 1.0, 10.0])
def test_nothing_overflows_and_what_fades_is_followed_no_more(gain: float) -> None:
    one = torch.ones(1, 1)
    x = 1e-3 * uniform(30 if gain > 1 else 200, 2, 1, dtype=torch.float32)
    found = curve(captured(fixed(one, gain * one), x), starts=1)
    expected = np.maximum(math.log10(gain) * np.arange(len(found)), -8.0)
    small = expected > -7.9
    np.testing.assert_allclose(found[small], expected[small], atol=1e-4)
    assert np.isnan(found[~small][2:]).all()


def test_random_directions_show_the_frobenius_norm_on_average() -> None:
    features, probes, seeds = 20, 8, 4000
    frames = torch.stack([directions(features, probes, seed) for seed in range(seeds)])
    squares = (frames.mT @ frames).mean(0) * features / probes
    torch.testing.assert_close(squares, torch.eye(features).double(), rtol=0, atol=0.05)


@pytest.mark.parametrize("features", [3, 16, 17, 40])
def test_directions_are_orthonormal_and_all_of_them_where_they_are_few(features: int) -> None:
    frame = directions(features, None)
    assert len(frame) == (features if features <= 16 else 8)
    torch.testing.assert_close(frame @ frame.T, torch.eye(len(frame)).double())


def test_as_many_probes_as_features_are_exact() -> None:
    model, x = randomised(nn.GRU, 20), torch.randn(T, B, 20, generator=seeded()).double()
    exact, rough = (curve(captured(model, x), probes=n, starts=2) for n in (20, None))
    assert 0 < np.abs(exact - rough).max() < 0.5


def test_random_numbers_are_private() -> None:
    trace = captured(randomised(nn.GRU, 20), torch.zeros(T, B, 20).double())
    before = torch.get_rng_state()
    first, again = curve(trace), curve(trace)
    np.testing.assert_array_equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("detached", [False, True])
def test_a_wall_stops_the_gradient_and_not_the_memory_unless_the_state_is_new(
    detached: bool,
) -> None:
    line, x = delay_line(8), uniform(10, 2, 1)
    cell = nn.RNNCell(1, 8, bias=False, nonlinearity="relu", dtype=torch.float64)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in line.state_dict().items()})
    goes_on = torch.tensor([[0.0], [1.0]]).double()  # the first sequence starts anew
    with tt.capture(cell) as run:
        state = torch.zeros(2, 8).double()
        for t, step in enumerate(x):
            if t == 5:
                state = (state.detach() if detached else state) * goes_on
            state = cell(step, state)
        state.sum().backward()
    values = measured(run.trace, starts=1)["input memory"].values
    np.testing.assert_allclose(values[2, :8], 0, atol=1e-12)
    np.testing.assert_allclose(values[0, :5], 0, atol=1e-12)
    assert np.isneginf(values[0, 5:]).all()


def test_a_sequence_that_has_ended_has_no_memory() -> None:
    model, x = delay_line(8), uniform(7, 2, 1)
    packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([7, 3]))
    with tt.capture(model) as run:
        model(packed)[0].data.sum().backward()
    values = measured(run.trace, starts=1)["input memory"].values
    np.testing.assert_allclose(values, 0, atol=1e-12)
    short = measured(run.trace, starts=7)["input memory"].values[1]
    assert np.isfinite(short).all()


def test_lags_end_at_the_longest() -> None:
    found = measured(captured(delay_line(3), uniform(40, 6, 1)), longest=4)
    assert found["input memory"].coords["lag"] == tuple(range(5))
    assert found["memory capacity"].coords["lag"] == tuple(range(5))


# Memory capacity.


@pytest.mark.parametrize("batch", [1, 3, 4, 9])
def test_a_delay_line_has_the_capacity_of_its_size(batch: int) -> None:
    size = 6
    held, _ = capacity(captured(delay_line(size), uniform(400, batch, 1)), longest=20)
    np.testing.assert_allclose(held[:size], 1, atol=1e-6)
    np.testing.assert_allclose(held[size:], 0, atol=0.02)
    assert held.sum() == pytest.approx(size, abs=0.1)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU])
def test_independent_inputs_are_held_by_no_more_numbers_than_the_state_has(
    kind: type[nn.RNNBase],
) -> None:
    model = randomised(kind, 1)
    x = torch.randn(300, 12, 1, generator=seeded(5), dtype=torch.float64)
    held, _ = capacity(captured(model, x))
    assert 0.5 < held.sum() < H + 0.1


@pytest.mark.parametrize("batch", [2, 8])
def test_the_baseline_is_the_inputs_own_autocorrelation(batch: int) -> None:
    noise = torch.randn(2000, batch, 1, generator=seeded(7), dtype=torch.float64)
    x, rho = torch.zeros_like(noise), 0.9
    for t in range(1, len(x)):
        x[t] = rho * x[t - 1] + math.sqrt(1 - rho**2) * noise[t]
    model = fixed(torch.ones(1, 1).double(), torch.zeros(1, 1).double(), "tanh")
    held, baseline = capacity(captured(model, x), longest=20)
    np.testing.assert_allclose(baseline, rho ** (2 * np.arange(21)), atol=0.15)
    assert (held <= baseline + 0.02).all()  # a network without memory knows no more


def test_a_network_without_memory_has_none() -> None:
    model = fixed(torch.eye(2).double(), torch.zeros(2, 2).double())
    held, baseline = capacity(captured(model, uniform(200, 8, 2)))
    assert held[0] == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(np.stack([held, baseline])[:, 1:], 0, atol=0.02)


def test_a_read_out_is_not_judged_on_what_it_was_fitted_to() -> None:
    model = nn.RNN(1, 200, dtype=torch.float64)  # more numbers than samples: it could learn any
    with torch.no_grad():
        model.bias_ih_l0.copy_(torch.randn(200, generator=seeded(1)))
        model.weight_hh_l0.zero_()
        model.weight_ih_l0.copy_(torch.randn(200, 1, generator=seeded()))
    x = torch.randn(60, 8, 1, generator=seeded(9), dtype=torch.float64)
    held, _ = capacity(captured(model, x))
    np.testing.assert_allclose(held[1:], 0, atol=0.15)


def with_nan(x: Tensor) -> Tensor:
    x = x.clone()
    x[3, 1] = math.nan
    return x


def test_a_sequence_that_is_not_finite_is_left_out() -> None:
    found = measured(captured(delay_line(3), with_nan(uniform(60, 9, 1))))
    np.testing.assert_allclose(found["memory capacity"].values[0, :3], 1, atol=1e-6)
    assert np.isnan(found["effective rank"].values[:2]).all()


NOTHING = {
    "constant": (torch.ones(60, 8, 1).double(), "the input is constant"),
    "short": (uniform(3, 2, 1), "too few"),
    "one step": (uniform(1, 1, 1), "too few"),
    "not finite": (torch.full((60, 8, 1), math.nan).double(), "no sequence has finite"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_where_there_is_nothing_to_judge_by_it_says_so(name: str) -> None:
    x, why = NOTHING[name]
    found = measured(captured(delay_line(3), x))["memory capacity"]
    assert found.values.shape == (2, 0)
    assert why in found.how


def test_a_reverse_layer_remembers_in_its_own_order() -> None:
    model, line = nn.RNN(1, 3, nonlinearity="relu", bias=False, bidirectional=True), delay_line(3)
    with torch.no_grad():
        for name, parameter in line.named_parameters():
            getattr(model, f"{name}_reverse").copy_(parameter)
    trace = captured(model.double(), uniform(80, 8, 1), torch.ones(80, 8, 6).double())
    held, _ = capacity(trace, layer="rnn.reverse", longest=6)
    np.testing.assert_allclose(held[:3], 1, atol=1e-6)
    np.testing.assert_allclose(held[3:], 0, atol=0.1)


# Effective rank.


def ranks(states: Tensor) -> np.ndarray:
    """Of a world whose states are given."""
    states = states.flatten(0, 1).unsqueeze(1)
    size = states.shape[-1]
    world = linear_world(torch.eye(size).double(), len(states), torch.ones(size).double())
    return effective_rank(LayerTrace(**{**vars(world), "states": states})).values


@pytest.mark.parametrize(
    ("steps", "size", "rank"), [(64, 2, 2.0), (64, 5, 5.0), (4, 40, 4.0)], ids=str
)
def test_directions_of_equal_variance_count_one_each(steps: int, size: int, rank: float) -> None:
    axes = torch.eye(size).double()[: int(rank)]
    states = torch.cat([axes, -axes]).repeat(math.ceil(steps / 2 / rank), 1).unsqueeze(1)
    np.testing.assert_allclose(ranks(3e-5 * states + 7), [rank, rank, size], rtol=1e-6)


def test_a_small_direction_counts_little() -> None:
    angles = torch.arange(64).double() * math.tau / 64  # an ellipse, whose variances are exact
    states = torch.stack([angles.cos(), 0.1 * angles.sin()], -1).unsqueeze(1)
    shares = np.array([1, 0.01]) / 1.01
    expected = math.exp(-(shares * np.log(shares)).sum()), 1 / (shares**2).sum()
    np.testing.assert_allclose(ranks(states)[:2], expected, rtol=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_states_that_never_change_fill_no_direction(value: float) -> None:
    assert ranks(torch.full((9, 2, 3), value).double()).tolist() == [0, 0, 3]


BAD = {
    "several layers": ({}, "choose one with layer=: 'gru', 'gru.reverse'"),
    "unknown layer": ({"layer": "nope"}, "unknown layer 'nope'"),
    "longest": ({"layer": 0, "longest": 0}, "longest must be at least 1"),
    "starts": ({"layer": 0, "starts": 0}, "starts must be at least 1"),
    "probes": ({"layer": 0, "probes": 0}, "probes must be at least 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_measured_is_refused_in_a_sentence(name: str) -> None:
    given, sentence = BAD[name]
    trace = captured(nn.GRU(I, H, bidirectional=True), torch.randn(T, B, I))
    with pytest.raises(tt.InputError, match=sentence):
        memory(trace, **given)


def test_inputs_that_are_not_known_are_asked_for() -> None:
    world = linear_world(torch.eye(2).double(), 5, torch.ones(2).double())
    with pytest.raises(tt.InputError, match="were not recorded"):
        memory(world)
