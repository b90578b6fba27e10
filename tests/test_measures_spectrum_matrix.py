"""One recurrent matrix in numbers: known matrices, slow oracles, what holds of every matrix."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cases import generator, normal
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from throughtime.measures.spectrum.figures import FIGURES, MatrixFigures
from throughtime.measures.spectrum.lanczos import largest_eigenvalues, numerical_radius
from throughtime.measures.spectrum.transient import ByEigenbasis, ByProducts, kreiss_bound
from throughtime.textbook import nilpotent, schur

FINE_ANGLES, MOST_POWERS = 721, 500
GENERATOR = np.random.default_rng(5)
Array = np.ndarray


def rotated(matrix: Array) -> Array:
    """The same matrix in another orthonormal basis."""
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=matrix.shape))[0]
    return np.asarray(basis @ matrix @ basis.T)


def figures(matrix: Array) -> dict[str, float]:
    return dict(zip(FIGURES, MatrixFigures.of(torch.tensor(matrix)).summary, strict=True))


# Known matrices.

ROTATION = np.linalg.qr(GENERATOR.normal(size=(7, 7)))[0]
GAUSSIAN = 0.9 * GENERATOR.normal(size=(40, 40)) / math.sqrt(40)
JORDAN = np.array([[0.9, 1.0], [0.0, 0.9]])
NORMAL = {"departure from normality": 0.0, "Kreiss bound": 1.0, "largest power": 1.0}
KNOWN: dict[str, tuple[Array, dict[str, float]]] = {
    "orthogonal": (ROTATION, dict.fromkeys(FIGURES, 1.0) | NORMAL),
    "ρ I": (0.7 * np.eye(5), dict.fromkeys(FIGURES, 0.7) | NORMAL),
    "zero": (np.zeros((3, 3)), dict.fromkeys(FIGURES, 0.0) | NORMAL),
    "one by one": (np.array([[-0.5]]), dict.fromkeys(FIGURES, 0.5) | NORMAL),
    "diag(2, 0.3)": (
        np.diag([2.0, 0.3]),
        {
            "spectral radius": 2.0,
            "largest singular value": 2.0,
            "smallest singular value": 0.3,
            "numerical radius": 2.0,
            "departure from normality": 0.0,
            "Kreiss bound": math.inf,
            "largest power": math.inf,
        },
    ),
    "nilpotent": (
        nilpotent.W,
        {
            "spectral radius": 0.0,
            "largest singular value": 16.0,
            "smallest singular value": 0.0,
            "numerical radius": 8.0,
            "departure from normality": 16.0,
            # ‖(zI − W)⁻¹‖ = (16 + √(16² + 4|z|²)) / 2|z|², times |z| − 1, at its largest.
            "Kreiss bound": max(
                (r - 1) * (16 + math.hypot(16, 2 * r)) / (2 * r * r) for r in np.arange(1, 5, 1e-3)
            ),
            "largest power": 16.0,
        },
    ),
    "Jordan block": (
        JORDAN,
        {
            "spectral radius": 0.9,
            "numerical radius": 1.4,
            "departure from normality": 1.0,
            "largest power": max(
                np.linalg.norm(np.linalg.matrix_power(JORDAN, k), 2) for k in range(100)
            ),
        },
    ),
    "chain of gain 1.02": (
        nilpotent.chain(101),
        {
            "spectral radius": 0.0,
            "largest singular value": 1.02,
            "smallest singular value": 0.0,
            "numerical radius": 1.02 * math.cos(math.pi / 102),
            "departure from normality": 10.2,
            "largest power": 1.02**100,
        },
    ),
    "the same chain, hidden from the eigenvalues": (
        rotated(nilpotent.chain(101)),
        {"largest singular value": 1.02, "largest power": 1.02**100},
    ),
    "just outside of the circle": (
        np.diag([1.001, 0.5]),
        {"Kreiss bound": math.inf, "largest power": math.inf},
    ),
    "a Jordan block outside of it": (
        JORDAN + 0.2 * np.eye(2),
        {"Kreiss bound": math.inf, "largest power": math.inf},
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_figures_of_known_matrices(name: str) -> None:
    matrix, expected = KNOWN[name]
    found = figures(matrix)
    for figure, value in expected.items():
        assert found[figure] == pytest.approx(value, rel=2e-3, abs=1e-6), figure


@pytest.mark.parametrize("matrix", [ROTATION, GAUSSIAN + GAUSSIAN.T], ids=["rotation", "symmetric"])
def test_what_rounding_leaves_of_a_normal_matrix_is_no_departure(matrix: Array) -> None:
    assert figures(matrix)["departure from normality"] == 0


def test_float32_weights_that_are_orthogonal_are_so_to_their_rounding() -> None:
    found = figures(np.linalg.qr(normal(64, 64).numpy())[0].astype(np.float32))
    assert [found[name] for name in FIGURES] == pytest.approx([1, 1, 1, 1, 0, 1, 1], abs=2e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_have_no_figures(bad: float) -> None:
    matrix = torch.eye(4)
    matrix[1, 2] = bad
    found = MatrixFigures.of(matrix)
    for values in (found.eigenvalues, found.singular_values, found.summary):
        assert np.isnan(values).all()


def test_a_block_that_is_not_square_has_singular_values_alone() -> None:
    found = MatrixFigures.of(normal(6, 2))
    known = [name for name, value in zip(FIGURES, found.summary, strict=True) if value == value]
    assert (known, np.isnan(found.eigenvalues).all()) == (
        ["largest singular value", "smallest singular value"],
        True,
    )


# Slow, obvious oracles.

MATRICES = {
    "gaussian": GAUSSIAN,
    "triangular": np.triu(GAUSSIAN, 1) + 0.6 * np.eye(40),
    "companion": np.eye(5, k=-1) + np.outer(np.eye(5)[0], [0.3, -0.2, 0.1, 0.2, -0.1]),
    "Jordan block": rotated(np.kron(np.eye(3), JORDAN)),
    "slow to rise": np.array([[0.995, 1.0], [0.0, 0.985]]),
    "pair on its angle": 0.99 * np.array([[0.8, -2.4], [0.15, 0.8]]),
}
every = pytest.mark.parametrize("name", MATRICES)


def slow_numerical_radius(W: Array) -> float:
    turns = np.exp(1j * np.linspace(0, np.pi, FINE_ANGLES))[:, None, None]
    tops = np.linalg.eigvalsh((turns * W + turns.conj() * W.T) / 2)[:, -1]
    return float(tops.max())


def slow_largest_power(W: Array) -> float:
    power, best = np.eye(len(W)), 1.0
    for _ in range(MOST_POWERS):
        power = power @ W
        best = max(best, float(np.linalg.norm(power, 2)))
    return best


def slow_kreiss(W: Array) -> float:
    above = 10 ** np.linspace(-4, 1, 61)
    z = (1 + above)[:, None] * np.exp(1j * np.linspace(0, np.pi, 61))
    resolvents = z.reshape(-1, 1, 1) * np.eye(len(W)) - W
    norms = 1 / np.linalg.svd(resolvents, compute_uv=False)[:, -1]
    return max(1.0, float((norms.reshape(z.shape) * above[:, None]).max()))


@every
def test_the_numerical_radius_is_that_of_all_angles(name: str) -> None:
    W = MATRICES[name]
    found = numerical_radius(torch.tensor(W))
    assert found == pytest.approx(slow_numerical_radius(W), rel=1e-4)


@every
def test_the_largest_power_is_that_of_all_powers(name: str) -> None:
    W = MATRICES[name]
    assert figures(W)["largest power"] == pytest.approx(slow_largest_power(W), rel=1e-3)


@every
def test_the_kreiss_bound_is_that_of_a_fine_grid(name: str) -> None:
    W = MATRICES[name]
    assert figures(W)["Kreiss bound"] == pytest.approx(slow_kreiss(W), rel=0.02)


@every
def test_the_departure_from_normality_is_that_of_the_schur_form(name: str) -> None:
    W = MATRICES[name]
    expected = schur.departure_from_normality(W)
    assert figures(W)["departure from normality"] == pytest.approx(expected, rel=1e-7)


def test_by_eigenbasis_and_by_products_are_the_same() -> None:
    matrix = torch.tensor(GAUSSIAN)
    eigenvalues, vectors = torch.linalg.eig(matrix)
    basis = ByEigenbasis(eigenvalues, vectors, torch.linalg.inv(vectors))
    products = ByProducts(matrix, float(eigenvalues.abs().max()))
    z = torch.polar(
        torch.tensor([1.001, 1.1, 3.0]).double(), torch.tensor([0.0, 1.0, 3.0]).double()
    )
    expected = products.resolvent_norms(z)
    torch.testing.assert_close(basis.resolvent_norms(z), expected, rtol=1e-3, atol=0)
    assert basis.largest_power() == pytest.approx(products.largest_power(), rel=1e-3)
    assert kreiss_bound(basis, eigenvalues) == pytest.approx(
        kreiss_bound(products, eigenvalues), rel=1e-3
    )


@pytest.mark.parametrize("size", [1, 2, 9, 60])
def test_lanczos_finds_the_largest_eigenvalue_of_each_operator(size: int) -> None:
    made = normal(3, size, size).to(torch.complex128) + 1j * normal(3, size, size, seed=2)
    operators = made + made.mH
    expected = torch.linalg.eigvalsh(operators)[:, -1].clamp_min(0 if size == 1 else -math.inf)

    def apply(columns: Tensor) -> Tensor:
        return (operators @ columns.T.unsqueeze(-1)).squeeze(-1).T

    found = largest_eigenvalues(apply, size, 3, steps=60)
    torch.testing.assert_close(found.clamp_min(expected.min()), expected, rtol=1e-6, atol=1e-9)


# What must hold of every matrix.

ENTRIES = st.floats(-2, 2, allow_subnormal=False).map(lambda x: 0.0 if abs(x) < 1e-9 else x)
SQUARE = st.integers(1, 5).flatmap(lambda n: arrays(np.float64, (n, n), elements=ENTRIES))
SLACK = 1 + 1e-6


@given(SQUARE)
def test_radius_numerical_radius_and_norm_are_in_order(W: Array) -> None:
    found = figures(W)
    radius, numerical, sigma = (
        found[name] for name in ("spectral radius", "numerical radius", "largest singular value")
    )
    assert radius <= numerical <= sigma * SLACK + 1e-12
    assert sigma / 2 <= numerical * 1.001 + 1e-12


@given(SQUARE)
def test_the_departure_is_the_norm_less_the_eigenvalues(W: Array) -> None:
    found = MatrixFigures.of(torch.tensor(W))
    departure = dict(zip(FIGURES, found.summary, strict=True))["departure from normality"]
    eigenvalues = np.sum(np.abs(found.eigenvalues) ** 2)
    whole = np.sum(W**2)
    assert departure**2 + eigenvalues == pytest.approx(whole, rel=1e-9, abs=1e-12)


@given(SQUARE, st.floats(0.2, 0.97))
def test_the_kreiss_matrix_theorem(W: Array, radius: float) -> None:
    now = float(np.abs(np.linalg.eigvals(W)).max())
    assume(now > 1e-3)
    W = W * radius / now
    found, highest = figures(W), slow_largest_power(W)
    assert 1 <= found["Kreiss bound"] <= highest * SLACK
    assert highest <= math.e * len(W) * found["Kreiss bound"] * SLACK
    assert found["largest power"] <= highest * SLACK


@pytest.mark.parametrize(
    ("figure", "expected"),
    [("spectral radius", 1 / math.sqrt(3)), ("largest singular value", 2 / math.sqrt(3))],
)
def test_torchs_own_initialisation(figure: str, expected: float) -> None:
    size = 400
    weight = (2 * torch.rand(size, size, generator=generator()) - 1) / math.sqrt(size)
    assert figures(weight.numpy())[figure] == pytest.approx(expected, rel=0.04)


def test_torch_still_draws_that_initialisation() -> None:
    weight = nn.RNN(1, 400).weight_hh_l0.detach()
    assert float(weight.abs().max() * math.sqrt(400)) == pytest.approx(1, rel=1e-2)
    assert float(weight.std() * math.sqrt(3 * 400)) == pytest.approx(1, rel=1e-2)
