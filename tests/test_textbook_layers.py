"""Elman, LSTM and GRU by hand against torch's layers and cells, all in one harness."""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from textbook_reference import autograd, layer_outputs, numeric_gradient, same

from throughtime.textbook import elman, gru, lstm
from throughtime.textbook.layer import Gradients, Weights
from throughtime.textbook.notation import Array

T, I, H = 6, 3, 4


class Kind(NamedTuple):
    """A layer, its forward pass, its number of gates, and its state size in units of H."""

    module: ModuleType
    forward: Callable[..., Any]
    gates: int
    state: int


KINDS = {
    "elman tanh": Kind(elman, elman.forward, 1, 1),
    "elman relu": Kind(elman, partial(elman.forward, nonlinearity="relu"), 1, 1),
    "lstm": Kind(lstm, lstm.forward, 4, 2),
    "gru": Kind(gru, gru.forward, 3, 1),
}


class Case(NamedTuple):
    """One problem: a kind of layer, its inputs, weights, initial state and direct gradients."""

    kind: str
    x: Array
    weights: Weights
    state0: Array
    direct: Array

    def run(self) -> Any:
        return KINDS[self.kind].forward(self.x, self.weights, self.state0)

    def gradients(self) -> Gradients:
        return KINDS[self.kind].module.backward(self.run(), self.direct)

    def jacobian(self, t: int) -> Array:
        return KINDS[self.kind].module.jacobian(self.run(), t)


def case(kind: str, batch: tuple[int, ...] = ()) -> Case:
    """Random numbers, large enough that every slope and gate takes part."""
    generator = np.random.default_rng(6)
    rows, S = KINDS[kind].gates * H, KINDS[kind].state * H
    return Case(
        kind,
        x=generator.normal(size=(T, *batch, I)),
        weights=Weights(*(generator.normal(size=s) for s in [(rows, I), (rows, H), rows, rows])),
        state0=generator.normal(size=(*batch, S)),
        direct=generator.normal(size=(T, *batch, S)),
    )


CASES = {
    f"{kind}{' batched' * bool(batch)}": case(kind, batch) for kind in KINDS for batch in [(), (2,)]
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
steps = pytest.mark.parametrize("t", [1, T])
weight_names = pytest.mark.parametrize("name", Weights._fields)


@cases
def test_the_states_are_those_of_torchs_layer(case: Case) -> None:
    same(case.run().states[1:, ..., :H], layer_outputs(case.kind, *case[1:4])[0])


@cases
def test_the_last_state_is_that_of_torchs_layer(case: Case) -> None:
    same(case.run().states[-1], layer_outputs(case.kind, *case[1:4])[1])


@cases
def test_the_total_gradients_are_autograds(case: Case) -> None:
    same(case.gradients().total, autograd(*case)[0])


@cases
def test_the_input_gradients_are_autograds(case: Case) -> None:
    same(case.gradients().x, autograd(*case)[1])


@cases
@weight_names
def test_the_weight_gradients_are_autograds(case: Case, name: str) -> None:
    same(getattr(case.gradients().weights, name), getattr(autograd(*case)[2], name))


@cases
@weight_names
def test_the_weight_gradients_are_finite_differences(case: Case, name: str) -> None:
    def loss(value: Array) -> float:
        changed = case._replace(weights=case.weights._replace(**{name: value}))
        return float((changed.run().states[1:] * case.direct).sum())

    numeric = numeric_gradient(loss, getattr(case.weights, name))
    same(getattr(case.gradients().weights, name), numeric, tolerance=1e-6)


@cases
@steps
def test_the_jacobian_carries_the_total_gradient_one_step_back(case: Case, t: int) -> None:
    total = case.gradients().total
    direct = case.direct[t - 2] if t > 1 else 0.0  # no loss reads the initial state
    same(total[t - 1], direct + np.einsum("...ij,...i->...j", case.jacobian(t), total[t]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_jacobian_is_finite_differences(kind: str) -> None:
    one = case(kind)._replace(x=case(kind).x[:1])

    def row(index: int) -> Array:
        return numeric_gradient(
            lambda state0: float(one._replace(state0=state0).run().states[1][index]), one.state0
        )

    same(one.jacobian(1), [row(index) for index in range(one.state0.size)], tolerance=1e-8)


@cases
def test_the_initial_state_is_zero_by_default(case: Case) -> None:
    given = KINDS[case.kind].forward(case.x, case.weights, np.zeros_like(case.state0))
    same(KINDS[case.kind].forward(case.x, case.weights).states, given.states, tolerance=0.0)


def without_the_gates(one: Case) -> Array:
    """LSTM: forget gates alone, as if c were read by nobody but the next c."""
    back = one.direct.copy()
    for t in range(T - 1, 0, -1):
        back[t - 1, H:] += one.run().gates[t].f * back[t, H:]
    return back


def by_jacobian(change: Callable[[Array], Array]) -> Callable[[Case], Array]:
    """The recursion with a changed Jacobian."""

    def total(one: Case) -> Array:
        back = one.direct.copy()
        for t in range(T - 1, 0, -1):
            back[t - 1] += change(one.jacobian(t + 1)).T @ back[t]
        return back

    return total


def reordered(*order: int) -> Callable[[Case], Array]:
    """The gates read in another order."""

    def total(one: Case) -> Array:
        swap = (np.concatenate([np.split(w, len(order))[i] for i in order]) for w in one.weights)
        return one._replace(weights=Weights(*swap)).gradients().total[1:]

    return total


WRONG = {
    "lstm: the carousel alone": ("lstm", without_the_gates),
    "lstm: the order i f o g": ("lstm", reordered(0, 1, 3, 2)),
    "lstm: no way from c to h": (
        "lstm",
        by_jacobian(
            lambda J: J * np.block([[np.ones((H, H)), np.zeros((H, H))], [np.ones((H, 2 * H))]])
        ),
    ),
    "gru: the order z r n": ("gru", reordered(1, 0, 2)),
    "gru: without z on the diagonal": ("gru", by_jacobian(lambda J: J - np.diag(np.diag(J)))),
    "elman: the transposed factor": ("elman tanh", by_jacobian(np.transpose)),
    "elman: direct gradients alone": ("elman tanh", lambda one: one.direct),
}


@pytest.mark.parametrize(("kind", "wrong"), WRONG.values(), ids=WRONG)
def test_the_harness_rejects_a_wrong_formula(kind: str, wrong: Callable[[Case], Array]) -> None:
    with pytest.raises(AssertionError):
        same(wrong(case(kind)), autograd(*case(kind))[0][1:])


@pytest.mark.parametrize("kind", ["elman tanh", "gru"])
def test_the_harness_accepts_the_unchanged_jacobian(kind: str) -> None:
    same(by_jacobian(lambda J: J)(case(kind)), autograd(*case(kind))[0][1:])


def test_the_carousel_is_the_true_gradient_where_the_gates_read_no_h() -> None:
    one = case("lstm")
    one.weights.weight_hh[:] = 0.0
    direct = np.zeros_like(one.direct)
    direct[-1, H:] = one.direct[-1, H:]
    run = one.run()
    same(lstm.carousel(run, direct[-1, H:]), lstm.backward(run, direct).total[:, H:])


@pytest.mark.parametrize(("bias", "decades"), [(0.0, 0.301), (1.0, 0.136), (2.0, 0.055)])
def test_the_carousel_loses_so_many_decades_per_step(bias: float, decades: float) -> None:
    zeros = Weights(
        np.zeros((4, 1)), np.zeros((4, 1)), np.array([0.0, bias, 0.0, 0.0]), np.zeros(4)
    )
    run = lstm.forward(np.zeros((50, 1)), zeros)
    assert -np.log10(lstm.carousel(run, np.ones(1))[0, 0]) / 50 == pytest.approx(decades, abs=5e-4)


GOOD = case("gru", (2,))
BAD = {
    "weight_ih": (
        GOOD._replace(weights=GOOD.weights._replace(weight_ih=np.ones((12, 2)))),
        "weight_ih",
    ),
    "bias_hh": (
        GOOD._replace(weights=GOOD.weights._replace(bias_hh=np.ones(4))),
        r"bias_hh must be \(12,\)",
    ),
    "flat weight_hh": (
        GOOD._replace(weights=GOOD.weights._replace(weight_hh=np.ones(4))),
        "2 axes",
    ),
    "x": (GOOD._replace(x=np.ones(3)), r"x must be \(T, I\) or \(T, B, I\)"),
    "no steps": (GOOD._replace(x=np.ones((0, 2, 3))), "T ≥ 1"),
    "state0": (GOOD._replace(state0=np.ones((3, 4))), r"initial state must be \(2, 4\)"),
    "direct": (GOOD._replace(direct=np.ones((5, 2, 4))), r"direct gradients must be one per state"),
}


@pytest.mark.parametrize(("bad", "sentence"), BAD.values(), ids=BAD)
def test_shapes_that_do_not_fit_are_named(bad: Case, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        bad.gradients()
