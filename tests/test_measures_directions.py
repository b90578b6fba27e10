"""How many directions come back: against explicit products, and in worlds with known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import normal
from torch import Tensor, nn
from worlds import captured, linear_world

import throughtime as tt
from throughtime.measures import directions

T, B, I, H = 12, 3, 4, 6


def participation(matrix: Tensor) -> float:
    squares = torch.linalg.svdvals(matrix).square()
    return float(squares.sum().square() / squares.square().sum())


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("lag", [0, 1, 7])
def test_against_explicit_jacobians(kind: str, lag: int) -> None:
    model = getattr(nn, kind)(I, H).double()
    trace = captured(model, normal(T, B, I), normal(T, B, H, seed=1))
    layer = trace[0]
    wanted = layer.direct.reshape(-1, layer.states.shape[-1])
    wanted = wanted / wanted.norm(dim=-1, keepdim=True)
    size = wanted.shape[-1]
    basis = torch.eye(size, dtype=torch.float64).unsqueeze(1).expand(-1, B, -1).contiguous()
    product = basis
    for t in range(T - 1, T - 1 - lag, -1):
        product = layer.linear.vjp(t, product)  # row i of P is what comes back from unit i
    left = [participation(wanted @ product[:, b]) for b in range(B)]
    found = directions(trace, lag=lag)
    assert found.coords["figure"] == ("asked", "left")
    np.testing.assert_allclose(found.values, [participation(wanted), np.median(left)], rtol=1e-9)


def test_one_number_asks_for_one_direction() -> None:
    model = nn.GRU(I, H).double()
    weight = normal(H, seed=3) * normal(T, B, 1, seed=2)
    found = directions(captured(model, normal(T, B, I), weight), lag=3)
    np.testing.assert_allclose(found.values, [1, 1], rtol=1e-9)


def test_an_orthogonal_recurrence_keeps_them_all() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=generator))[0]
    world = linear_world(matrix, 20, torch.ones(8, dtype=torch.float64))
    world.direct[:] = normal(20, 1, 8)
    found = directions(world, lag=15)
    assert found.values[1] == pytest.approx(found.values[0])


def test_a_matrix_of_rank_one_leaves_one() -> None:
    column = normal(8, seed=1)
    world = linear_world(torch.outer(column, column) / column.square().sum(), 20, column)
    world.direct[:] = normal(20, 1, 8)
    asked, left = directions(world, lag=15).values
    assert asked > 4
    assert left == pytest.approx(1.0)


def test_nothing_left_behind_a_wall_and_beyond_the_sequence() -> None:
    model = nn.GRU(I, H).double()
    with tt.capture(model) as run:
        _, state = model(normal(4, B, I))
        model(normal(8, B, I), state.detach())[0].square().sum().backward()
    assert np.isnan(directions(run.trace, lag=8).values[1])
    assert np.isnan(directions(run.trace, lag=12).values[1])
    assert np.isfinite(directions(run.trace, lag=7).values).all()


def test_a_negative_lag_is_refused() -> None:
    with pytest.raises(tt.InputError, match="lag must be at least 0, not -1"):
        directions(linear_world(torch.eye(2), 3, torch.ones(2)), lag=-1)
