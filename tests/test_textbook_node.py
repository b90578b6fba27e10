"""The walk back node by node, and the book's experiment with repeated MatMul."""

import numpy as np
import pytest
import torch
from textbook_reference import leaf, same

from throughtime.textbook import growth, node

N, D, H, T = 2, 4, 3, 5
GENERATOR = np.random.default_rng(2)
P = node.Parameters(
    Wx=GENERATOR.normal(size=(D, H)),
    Wh=GENERATOR.normal(size=(H, H)),
    b=GENERATOR.normal(size=H),
)
X, H0 = GENERATOR.normal(size=(T, N, D)), GENERATOR.normal(size=(N, H))
DIRECT = GENERATOR.normal(size=(T, N, H))


def by_torch() -> dict[str, np.ndarray]:
    """Every gradient of the walk by autograd: lists over time, earliest first."""
    Wx, Wh, b = parameters = [leaf(parameter) for parameter in P]
    inputs, states, sums = [leaf(x) for x in X], [leaf(H0)], []
    for x in inputs:
        sums.append(states[-1] @ Wh + x @ Wx + b)
        sums[-1].retain_grad()
        states.append(torch.tanh(sums[-1]))
        states[-1].retain_grad()
    sum((h * torch.tensor(e)).sum() for h, e in zip(states[1:], DIRECT, strict=True)).backward()
    return {
        "dh": np.stack([h.grad.numpy() for h in states[1:]]),
        "dt": np.stack([s.grad.numpy() for s in sums]),
        "dx": np.stack([x.grad.numpy() for x in inputs]),
        "h0": states[0].grad.numpy(),
        **{name: p.grad.numpy() for name, p in zip(P._fields, parameters, strict=True)},
    }


@pytest.fixture(scope="module")
def walks() -> list[node.Walk]:
    return node.walk_back(node.forward(P, X, H0)[1], DIRECT)


@pytest.mark.parametrize("station", ["dh", "dt", "dx"])
def test_every_station_of_the_walk_is_autograds(walks: list[node.Walk], station: str) -> None:
    same([getattr(walk, station) for walk in reversed(walks)], by_torch()[station])


def test_plus_hands_on_what_it_gets(walks: list[node.Walk]) -> None:
    same([walk.dsum for walk in walks], [walk.dt for walk in walks], tolerance=0.0)


def test_the_first_state_gets_its_gradient(walks: list[node.Walk]) -> None:
    same(walks[-1].dh_prev, by_torch()["h0"])


@pytest.mark.parametrize("name", node.Parameters._fields)
def test_the_shared_parameters_get_the_sum_over_time(walks: list[node.Walk], name: str) -> None:
    same(getattr(node.gradients(walks), name), by_torch()[name])


WRONG = {
    "without tanh": lambda walk: walk.dh @ P.Wh.T,
    "with Wh for its transpose": lambda walk: walk.dt @ P.Wh,
    "without the loss of the step before": lambda walk: walk.dh_prev,
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_walk_is_caught(walks: list[node.Walk], wrong: object) -> None:
    with pytest.raises(AssertionError):
        same(wrong(walks[0]), by_torch()["dh"][-2])


def test_the_norms_are_named_by_their_station(walks: list[node.Walk]) -> None:
    assert walks[0].norms()["dWx"] == pytest.approx(np.sqrt((walks[0].dWx ** 2).sum()))


# Norms after k MatMuls, as chapter 6 of the book prints them for randn(H, H).
BOOK = {1: 2.4684068094579303, 2: 3.3357049741610365, 10: 25.688972842084684, 20: 249.495615421267}


@pytest.mark.parametrize("scale", [1.0, 0.5], ids=["randn", "0.5 randn"])
@pytest.mark.parametrize("k", BOOK)
def test_the_books_norms_are_found_again(scale: float, k: int) -> None:
    norms = growth.norms_under_repeated_matmul(growth.book_matrix(scale))
    assert norms[k - 1] == pytest.approx(BOOK[k] * scale**k, rel=1e-12)


@pytest.mark.parametrize(("scale", "grows"), [(1.0, True), (0.5, False)])
def test_randn_explodes_and_half_of_it_vanishes(scale: float, grows: bool) -> None:
    norms = growth.norms_under_repeated_matmul(growth.book_matrix(scale))
    assert np.all(np.diff(norms) > 0) == grows


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_factor_per_step_settles_at_the_spectral_radius(scale: float) -> None:
    Wh = growth.book_matrix(scale)
    norms = growth.norms_under_repeated_matmul(Wh, T=200)
    assert norms[-1] / norms[-2] == pytest.approx(growth.spectral_radius(Wh), rel=1e-9)


def test_the_global_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002  — the very state to be left alone
    growth.book_matrix()
    same(np.random.get_state()[1], before, tolerance=0.0)  # noqa: NPY002  — left alone
