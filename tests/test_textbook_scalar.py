"""The scalar chain: autograd, finite differences, closed forms, its bound, and the slopes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from textbook_reference import leaf, numeric_gradient, same

from throughtime.textbook import notation, scalar
from throughtime.textbook.scalar import Chain

X = np.random.default_rng(1).normal(size=7)
CHAINS = {
    "vanishing": Chain(a=0.7, b=0.5, c=0.1, d=1.3, e=-0.2),
    "negative": Chain(a=-0.9, b=0.4, c=0.0, d=-2.0, e=0.0),
    "large": Chain(a=2.5, b=1.0, c=-0.3, d=0.5, e=1.0),
    "no memory": Chain(a=0.0, b=1.0, c=0.2, d=1.0, e=0.0),
}
chains = pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)


def by_torch(chain: Chain) -> tuple[list[float], list[float]]:
    """dy/da .. dy/de and dy/dh_0 .. dy/dh_T by autograd."""
    a, b, c, d, e = parameters = [leaf(value) for value in chain]
    h = [leaf(0.3)]
    for x_t in X:
        h.append(torch.tanh(a * h[-1] + b * float(x_t) + c))
        h[-1].retain_grad()
    (d * h[-1] + e).backward()
    return [float(p.grad) for p in parameters], [float(state.grad) for state in h]


def y(chain: Chain) -> float:
    return scalar.output(chain, scalar.forward(chain, X, h0=0.3))


@chains
def test_the_parameter_gradients_are_those_of_autograd(chain: Chain) -> None:
    same(scalar.gradients(chain, X, scalar.forward(chain, X, h0=0.3)), by_torch(chain)[0])


@chains
def test_the_state_gradients_are_those_of_autograd(chain: Chain) -> None:
    same(scalar.dy_dh(chain, scalar.forward(chain, X, h0=0.3)), by_torch(chain)[1])


@chains
def test_the_parameter_gradients_are_finite_differences(chain: Chain) -> None:
    by_hand = scalar.gradients(chain, X, scalar.forward(chain, X, h0=0.3))
    numeric = numeric_gradient(lambda values: y(Chain(*values)), np.array(chain))
    same(by_hand, numeric, tolerance=1e-7)


@chains
def test_the_gradient_is_the_product_of_the_factors_two_to_T(chain: Chain) -> None:
    h = scalar.forward(chain, X, h0=0.3)
    product = chain.d
    for factor in scalar.factors(chain, h)[1:]:
        product *= factor
    same(scalar.dy_dh(chain, h)[1], product)


@pytest.mark.parametrize("dropped", range(1, 7), ids="without factor {}".format)
def test_a_product_without_one_factor_is_caught(dropped: int) -> None:
    chain = CHAINS["vanishing"]
    h = scalar.forward(chain, X, h0=0.3)
    wrong = chain.d * np.prod(np.delete(scalar.factors(chain, h)[1:], dropped - 1))
    with pytest.raises(AssertionError):
        same(wrong, by_torch(chain)[1][1])


def test_a_parameter_gradient_of_the_last_step_alone_is_caught() -> None:
    chain = CHAINS["vanishing"]
    h = scalar.forward(chain, X, h0=0.3)
    wrong = chain.d * (1 - h[-1] ** 2) * h[-2]
    with pytest.raises(AssertionError):
        same(wrong, by_torch(chain)[0][0])


@given(
    a=st.floats(-3, 3),
    c=st.floats(-1, 1),
    x=st.lists(st.floats(-5, 5), min_size=1, max_size=12),
)
def test_no_gradient_exceeds_the_bound(a: float, c: float, x: list[float]) -> None:
    chain = Chain(a=a, b=1.0, c=c, d=1.0, e=0.0)
    h = scalar.forward(chain, np.array(x))
    assert abs(scalar.dy_dh(chain, h)[1]) <= scalar.bound(chain, len(x)) * (1 + 1e-12)


@pytest.mark.parametrize("a", [0.5, 0.99, 1.0, 1.5, -2.0])
def test_a_chain_at_rest_meets_its_bound(a: float) -> None:
    chain = Chain(a=a, b=0.0, c=0.0, d=1.0, e=0.0)
    gradient = scalar.dy_dh(chain, scalar.forward(chain, np.zeros(30)))[1]
    same(abs(gradient), scalar.bound(chain, 30))


def test_a_above_one_does_not_suffice_to_explode() -> None:
    chain = Chain(a=1.5, b=0.0, c=0.0, d=1.0, e=0.0)  # settles where 1.5 (1 - h²) is below 1
    assert scalar.dy_dh(chain, scalar.forward(chain, np.zeros(200), h0=0.1))[1] < 1e-20


def test_the_bound_is_inf_where_no_float64_can_hold_it() -> None:
    assert scalar.bound(Chain(a=10.0, b=0.0, c=0.0, d=1.0, e=0.0), T=400) == np.inf


GRID = np.linspace(-6, 6, 1201)


@pytest.mark.parametrize(
    ("slopes", "largest"),
    [
        (notation.tanh_slope(np.tanh(GRID)), notation.LARGEST_TANH_SLOPE),
        (notation.sigmoid_slope(notation.sigmoid(GRID)), notation.LARGEST_SIGMOID_SLOPE),
    ],
    ids=["tanh", "sigmoid"],
)
def test_the_largest_slope_is_at_zero(slopes: notation.Array, largest: float) -> None:
    assert (GRID[np.argmax(slopes)], slopes.max()) == pytest.approx((0.0, largest), abs=1e-12)


@pytest.mark.parametrize("a", [-1000.0, -40.0, -1.0, 0.0, 2.0, 1000.0])
def test_the_sigmoid_is_torchs(a: float) -> None:
    expected = torch.sigmoid(torch.tensor(a, dtype=torch.float64)).item()
    assert notation.sigmoid(np.array([a]))[0] == pytest.approx(expected, abs=1e-15)
