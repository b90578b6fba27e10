"""Powers of W by eigendecomposition and by the Schur form, and the nilpotent counter-example."""

import numpy as np
import pytest
from textbook_reference import numeric_gradient, same

from throughtime.textbook import nilpotent, powers, schur
from throughtime.textbook.notation import Array

GENERATOR = np.random.default_rng(3)
V = np.array([[1.0, 1.0], [0.5, -1.0]])
DIAGONALISABLE = {
    "diag(2, 0.3)": np.diag([2.0, 0.3]),
    "diag(2, 0.3) in another basis": V @ np.diag([2.0, 0.3]) @ np.linalg.inv(V),
    "rotation": np.array([[0.6, -0.8], [0.8, 0.6]]),
    "symmetric": np.array([[2.0, 1.0], [1.0, 3.0]]),
    "gaussian": GENERATOR.normal(size=(6, 6)) / np.sqrt(6),
    "one by one": np.array([[-0.5]]),
}
Q = np.linalg.qr(GENERATOR.normal(size=(3, 3)))[0]
DEFECTIVE = {
    "Jordan block": np.array([[1.0, 1.0], [0.0, 1.0]]),
    "nilpotent": nilpotent.W,
    "hidden Jordan block": Q @ np.array([[0.9, 1, 0], [0, 0.9, 1], [0, 0, 0.9]]) @ Q.T,
    "hidden pair": Q @ np.array([[0.9, 1, 0], [0, 0.9, 0], [0, 0, 0.2]]) @ Q.T,
    "chain of 1.02": 1.02 * np.eye(20, k=-1),
    "almost defective": np.array([[1.0, 1.0], [0.0, 1.0 + 1e-8]]),
}
diagonalisable = pytest.mark.parametrize("W", DIAGONALISABLE.values(), ids=DIAGONALISABLE)
defective = pytest.mark.parametrize("W", DEFECTIVE.values(), ids=DEFECTIVE)
every = pytest.mark.parametrize(
    "W", [*DIAGONALISABLE.values(), *DEFECTIVE.values()], ids=[*DIAGONALISABLE, *DEFECTIVE]
)


@diagonalisable
@pytest.mark.parametrize("n", [0, 1, 2, 7, 30])
def test_the_eigenbasis_gives_the_power(W: Array, n: int) -> None:
    same(powers.power_by_eigenbasis(W, n), np.linalg.matrix_power(W, n))


@diagonalisable
def test_the_columns_of_V_are_right_eigenvectors(W: Array) -> None:
    eigenvalues, basis = powers.eigenbasis(W)
    same(W @ basis, basis @ np.diag(eigenvalues))


def test_the_rows_of_V_taken_for_eigenvectors_are_caught() -> None:
    W = DIAGONALISABLE["diag(2, 0.3) in another basis"]
    eigenvalues, basis = powers.eigenbasis(W)
    with pytest.raises(AssertionError):
        same(W @ basis.T, basis.T @ np.diag(eigenvalues))


@pytest.mark.parametrize(("column", "eigenvalue"), [(0, 2.0), (1, 0.3)])
def test_one_matrix_explodes_and_vanishes(column: int, eigenvalue: float) -> None:
    W = DIAGONALISABLE["diag(2, 0.3) in another basis"]
    t = 5
    same(
        powers.power_by_multiplication(W, t - 1) @ V[:, column],
        eigenvalue ** (t - 1) * V[:, column],
        1e-10,
    )


@defective
def test_a_matrix_without_a_full_eigenbasis_is_refused(W: Array) -> None:
    with pytest.raises(powers.NoEigenbasisError, match="no usable full set of eigenvectors"):
        powers.power_by_eigenbasis(W, 5)


@pytest.mark.parametrize("other_way", ["power_by_multiplication", "schur.power"])
def test_the_refusal_is_one_line_that_offers_another_way(other_way: str) -> None:
    with pytest.raises(powers.NoEigenbasisError, match=rf"^[^\n]*{other_way}[^\n]*$"):
        powers.eigenbasis(nilpotent.W)


@every
@pytest.mark.parametrize("n", [0, 1, 5, 12])
def test_repeated_multiplication_needs_no_eigenbasis(W: Array, n: int) -> None:
    same(powers.power_by_multiplication(W, n), np.linalg.matrix_power(W, n), tolerance=1e-11)


@every
@pytest.mark.parametrize("n", [0, 1, 5, 12])
def test_the_schur_form_gives_the_power_of_every_matrix(W: Array, n: int) -> None:
    size = np.linalg.norm(W, 2) ** n  # where W^n is zero, rounding is judged by what was multiplied
    assert np.abs(schur.power(W, n) - np.linalg.matrix_power(W, n)).max() <= 1e-12 * size


@every
def test_the_schur_form_is_upper_triangular_and_unitary_and_gives_W_back(W: Array) -> None:
    T, unitary = schur.schur(W)
    parts = [
        np.tril(T, k=-1),
        unitary.conj().T @ unitary - np.eye(len(W)),
        unitary @ T @ unitary.conj().T - W,
    ]
    assert max(np.abs(part).max() for part in parts) <= 1e-12 * np.abs(W).max()


@pytest.mark.parametrize(
    ("W", "departure"),
    [(DIAGONALISABLE["symmetric"], 0.0), (DIAGONALISABLE["rotation"], 0.0), (nilpotent.W, 16.0)],
    ids=["symmetric", "rotation", "nilpotent"],
)
def test_the_departure_from_normality(W: Array, departure: float) -> None:
    assert schur.departure_from_normality(W) == pytest.approx(departure, abs=1e-12)


def test_a_chain_of_radius_zero_gains_seven_point_two() -> None:
    power = powers.power_by_multiplication(nilpotent.chain(101), 100)
    assert np.linalg.norm(power, 2) == pytest.approx(1.02**100)


@pytest.mark.parametrize(
    ("W", "n", "sentence"),
    [
        (np.ones((2, 3)), 1, "square matrix, got shape (2, 3)"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), 1, "finite"),
        (np.eye(2), -1, "0 or more, got -1"),
    ],
    ids=["not square", "not finite", "negative power"],
)
@pytest.mark.parametrize(
    "power", [powers.power_by_eigenbasis, powers.power_by_multiplication, schur.power]
)
def test_bad_input_is_refused(power: object, W: Array, n: int, sentence: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  — the sentence is the assertion
        power(W, n)
    assert sentence in str(refusal.value)


def test_the_nilpotent_matrix_has_square_zero() -> None:
    same(nilpotent.W @ nilpotent.W, np.zeros((2, 2)), tolerance=0.0)


def test_its_fixed_point_is_one() -> None:
    same(nilpotent.step(nilpotent.FIXED_POINT), nilpotent.FIXED_POINT)


def test_its_jacobian_is_the_closed_form() -> None:
    same(nilpotent.jacobian(nilpotent.FIXED_POINT), [[8.0, 6.0], [-8.0, -6.0]])


@pytest.mark.parametrize("row", [0, 1])
def test_its_jacobian_is_finite_differences(row: int) -> None:
    x = np.array([0.3, -0.2])
    numeric = numeric_gradient(lambda at: float(nilpotent.step(at)[row]), x)
    same(nilpotent.jacobian(x)[row], numeric, tolerance=1e-8)


@pytest.mark.parametrize("n", range(1, 31, 4))
def test_its_gain_doubles_at_every_step(n: int) -> None:
    assert nilpotent.gain(n + 1) / nilpotent.gain(n) == pytest.approx(2.0, rel=1e-12)


@pytest.mark.parametrize(("n", "gain"), [(10, 7240.8), (30, 7.59e9)])
def test_its_gain_is_the_reference_value(n: int, gain: float) -> None:
    assert nilpotent.gain(n) == pytest.approx(gain, rel=1e-3)


def test_its_gain_along_a_run_is_that_of_the_fixed_point() -> None:
    same(nilpotent.measured_gains(20), [nilpotent.gain(n) for n in range(1, 21)], 1e-8)


def test_a_run_leaves_the_unstable_fixed_point_in_the_end() -> None:
    assert nilpotent.measured_gains(100)[-1] < nilpotent.gain(40)
