"""Lyapunov exponents: against QR at every step of Jacobians by autograd, and in known worlds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from cases import normal
from lyapunov_models import (
    BURN_IN,
    CELLS,
    MEAN,
    MODELS,
    NUMERICAL,
    STATISTICAL,
    B,
    H,
    I,
    T,
    made,
)
from torch import Tensor, nn
from worlds import captured, fixed_point_world, linear_world, relu_world, world

from throughtime.measures import lyapunov
from throughtime.recurrences import Elman
from throughtime.sweeps import random_frame
from throughtime.trace import LayerTrace


def jacobians(model: nn.RNNBase, x: Tensor, states: Tensor) -> Tensor:
    """∂s_t/∂s_{t−1} of the joint state (T B S S), by autograd through torch's own cell.

    Along the states of the run: in a chaotic network rounding alone makes another trajectory.
    """
    kind = type(model).__name__
    settings = {"nonlinearity": model.nonlinearity} if kind == "RNN" else {}
    cell = CELLS[kind](I, H, dtype=torch.float64, **settings)
    cell.load_state_dict({name[:-3]: weight for name, weight in model.state_dict().items()})

    def step(state: Tensor, read: Tensor) -> Tensor:
        parts = tuple(state[None].chunk(2, -1)) if kind == "LSTM" else state[None]
        after = cell(read[None], parts)
        return (torch.cat(after, -1) if kind == "LSTM" else after)[0]

    before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
    each = torch.func.vmap(torch.func.vmap(torch.func.jacrev(step)))
    return each(before, x).detach()


def by_qr_at_every_step(products: Tensor, burn_in: int = BURN_IN) -> np.ndarray:
    """mean log |R_ii| (B S)."""
    batch, size = products.shape[1:3]
    q, logs = random_frame(size, batch, size).permute(1, 2, 0), []
    for product in products:
        q, r = torch.linalg.qr(product @ q)
        logs.append(r.diagonal(dim1=-2, dim2=-1).abs().log())
    return torch.stack(logs)[burn_in:].mean(0).numpy()


def promised(exponents: np.ndarray) -> np.ndarray:
    """The numerical error that is promised: 1 %, or 1e-3 nats where the exponent is near 0."""
    return np.maximum(1e-3, 0.01 * np.abs(exponents))


@pytest.mark.parametrize("name", MODELS)
def test_every_exponent_is_that_of_qr_at_every_step(name: str) -> None:
    model, x = made(name), normal(T, B, I)
    layer = captured(model, x)[0]
    expected = by_qr_at_every_step(jacobians(model, x, layer.states))
    figures = lyapunov(layer, k=None, burn_in=BURN_IN).values
    wanted = np.stack([expected.mean(0), expected.min(0), expected.max(0)])
    np.testing.assert_allclose(figures[:3], wanted, rtol=0, atol=1e-5)
    assert (figures[NUMERICAL] <= promised(figures[MEAN])).all()


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "GRU, g=3.0"])
def test_a_run_in_float32_has_the_exponents_of_its_own_trajectory(name: str) -> None:
    model, x = made(name), normal(T, B, I)
    layer = captured(model.float(), x.float())[0]
    products = jacobians(model.double(), x.float().double(), layer.states.double())
    expected = by_qr_at_every_step(products).mean(0)
    found = lyapunov(layer, k=None, burn_in=BURN_IN)
    np.testing.assert_allclose(found.values[MEAN], expected, rtol=0, atol=1e-5)
    assert "in float64" in found.how


@pytest.mark.parametrize("interval", [1, 3, 1000])
@pytest.mark.parametrize("kind", CELLS)
def test_no_interval_changes_the_exponents(kind: str, interval: int) -> None:
    trace = captured(made(kind), normal(T, B, I))
    free, held = (lyapunov(trace, k=None, interval=n).values[:3] for n in (None, interval))
    np.testing.assert_allclose(held, free, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", CELLS)
def test_the_leading_ones_are_the_first_of_all(kind: str) -> None:
    trace = captured(made(kind), normal(T, B, I))
    leading, every = lyapunov(trace, k=3).values, lyapunov(trace, k=None).values
    np.testing.assert_allclose(leading[:3], every[:3, :3], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", CELLS)
def test_their_sum_is_the_mean_log_determinant(kind: str) -> None:
    model, x = made(kind), normal(T, B, I)
    layer = captured(model, x)[0]
    products = jacobians(model, x, layer.states)[BURN_IN:]
    expected = torch.linalg.slogdet(products)[1].mean().item()
    found = lyapunov(layer, k=None, burn_in=BURN_IN).values[MEAN].sum()
    assert found == pytest.approx(expected, rel=1e-6)


def test_an_lstm_has_the_exponent_of_its_joint_state_not_that_of_h() -> None:
    """With forget bias +5 the cell keeps its state; what is computed from h is off by bits."""
    model, x = made("LSTM, forget bias +5"), normal(T, B, I)
    layer = captured(model, x)[0]
    products = jacobians(model, x, layer.states)
    joint = by_qr_at_every_step(products)[:, 0].mean()
    of_h = by_qr_at_every_step(products[..., :H, :H])[:, 0].mean()
    found = lyapunov(layer, k=1, burn_in=BURN_IN).values[MEAN, 0]
    assert found == pytest.approx(joint, abs=1e-9)
    assert (found - of_h) / math.log(2) > 2.5  # bits per step


# THEORY: N = 200, W Gaussian of gain g, tanh: (no input, input N(0, 1), input N(0, 4)), nats.
TABLE = {
    0.5: (-0.677, -1.096, -1.393),
    0.9: (-0.089, -0.551, -0.824),
    1.0: (0.000, -0.459, -0.721),
    1.5: (0.062, -0.144, -0.361),
    2.0: (0.153, 0.043, -0.125),
    3.0: (0.301, 0.256, 0.159),
}


@pytest.mark.parametrize("deviation", [0, 1, 2])
@pytest.mark.parametrize("gain", TABLE)
def test_the_largest_exponent_of_a_random_network(gain: float, deviation: int) -> None:
    """A radius of 1.5 still vanishes under input. Without, it follows the radius of the draw."""
    size, steps = 200, 800
    weight = gain * normal(size, size, seed=2) / math.sqrt(size)
    cell = Elman(torch.eye(size, dtype=torch.float64), weight)
    inputs = deviation * normal(steps, 1, size, seed=1)
    trace = world(cell, inputs, normal(1, size), torch.zeros(steps, 1, size, dtype=torch.float64))
    found = lyapunov(trace, k=1, burn_in=200).values[MEAN, 0]
    assert found == pytest.approx(TABLE[gain][deviation], abs=0.025)


def test_a_scalar_chain() -> None:
    """h' = tanh(a h + b x + c): the mean of ln |a (1 − h'²)|."""
    a, b, c = 1.4, 0.7, 0.2
    cell = Elman(*(torch.tensor(w, dtype=torch.float64) for w in ([[b]], [[a]], [c])))
    x = normal(T, 1, 1)
    trace = world(cell, x, torch.zeros(1, 1).double(), torch.zeros(T, 1, 1).double())
    slopes = (a * (1 - trace.states.square())).abs().log()
    found = lyapunov(trace, burn_in=BURN_IN).values[MEAN]
    np.testing.assert_allclose(found, [slopes[BURN_IN:].mean().item()], rtol=1e-12)


def rotation(size: int) -> Tensor:
    return torch.linalg.qr(normal(size, size))[0]


ONE = torch.ones(2, dtype=torch.float64)
WORLDS: dict[str, tuple[Callable[[], LayerTrace], list[float]]] = {
    "orthogonal": (lambda: linear_world(rotation(4), 40, torch.ones(4).double()), [0.0] * 4),
    "diag(2, 0.3)": (
        lambda: linear_world(torch.diag(torch.tensor([2.0, 0.3]).double()), 60, ONE),
        [math.log(2.0), math.log(0.3)],
    ),
    "nilpotent W at its fixed point": (
        lambda: fixed_point_world(30), [math.log(2.0), -math.inf],
    ),
    "1e-3 times identity": (lambda: relu_world(1e-3, 60, torch.float64), [math.log(1e-3)] * 4),
    "1e3 times identity": (lambda: relu_world(1e3, 60, torch.float64), [math.log(1e3)] * 4),
    "every ReLU dead": (lambda: relu_world(0.0, 60, torch.float64), [-math.inf] * 4),
}  # fmt: skip  # rows of a table


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_with_known_exponents(name: str) -> None:
    make, expected = WORLDS[name]
    np.testing.assert_allclose(lyapunov(make(), k=None).values[MEAN], expected, atol=1e-6)


def test_a_world_in_float32_alone_has_its_leading_exponent() -> None:
    found = lyapunov(relu_world(0.5, 60), k=1)
    assert found.values[MEAN, 0] == pytest.approx(math.log(0.5), rel=1e-6)
    assert "in float32" in found.how


@pytest.mark.parametrize("dead", [0, H // 2])
def test_a_relu_network_has_no_more_exponents_than_units_alive_at_once(dead: int) -> None:
    """The rank of the product is that of its poorest step."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.RNN(I, H, nonlinearity="relu").double()
    with torch.no_grad():
        model.bias_ih_l0[:], model.bias_hh_l0[:] = 1.0, 0.0
        model.bias_hh_l0[:dead] = -100.0
    x = normal(40, 1, I)
    layer = captured(model, x)[0]
    products = jacobians(model, x, layer.states)
    rank = int((layer.states > 0).sum(-1).min())
    figures = lyapunov(layer, k=None, burn_in=BURN_IN).values
    expected = by_qr_at_every_step(products)[0, :rank]
    assert 0 < rank < H
    np.testing.assert_allclose(figures[MEAN, :rank], expected, rtol=0, atol=1e-5)
    assert np.isneginf(figures[MEAN, rank:]).all()
    assert np.isnan(figures[STATISTICAL:, rank:]).all()
