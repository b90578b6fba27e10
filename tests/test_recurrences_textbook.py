"""The fast paths against the textbook: the chain rule by hand, in NumPy, to 1e-12."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from cases import B, I, T, normal
from test_recurrences import Cell, cell
from torch import Tensor

from throughtime.recording import capture
from throughtime.textbook import elman, gru, layer, lstm

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
KINDS = {"tanh": elman, "relu": elman, "LSTM": lstm, "GRU": gru}


def array(value: Tensor) -> np.ndarray:
    return value.detach().numpy()


def textbook_run(made: Cell, book: ModuleType, inputs: Tensor, initial: Tensor) -> tuple:
    w = made.weights
    weights = layer.Weights(*(array(w[name]) for name in ("ih", "hh", "b_ih", "b_hh")))
    more = {"nonlinearity": made.kind} if book is elman else {}
    return book.forward(array(inputs), weights, array(initial), **more)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_states_jacobians_and_gradients_are_those_of_the_textbook(kind: str) -> None:
    made, book = cell(kind), KINDS[kind]
    ours = made.ours
    inputs, initial = normal(T, B, I, seed=3), normal(B, ours.state_size, seed=2)
    run = textbook_run(made, book, inputs, initial)
    states = ours.unroll(inputs, initial)
    np.testing.assert_allclose(states, run.states[1:], **CLOSE)

    before = torch.cat([initial[None], states[:-1]])
    for t in range(T):
        np.testing.assert_allclose(
            ours.jacobian(before[t], inputs[t]), book.jacobian(run, t + 1), **CLOSE
        )

    direct = normal(T, B, ours.state_size, seed=4)
    linear, by_hand = ours.linearise(before, inputs), book.backward(run, array(direct))
    total = linear.adjoint(direct)
    np.testing.assert_allclose(total, by_hand.total[1:], **CLOSE)
    np.testing.assert_allclose(linear.vjp(0, total[0]), by_hand.total[0], **CLOSE)
    np.testing.assert_allclose(
        linear.recurrent_weight_gradient(total), by_hand.weights.weight_hh, **CLOSE
    )
    for t in range(T):
        np.testing.assert_allclose(linear.input_vjp(t, total[t]), by_hand.x[t], **CLOSE)


MODULES: dict[str, Callable[[], torch.nn.RNNBase]] = {
    "tanh": lambda: torch.nn.RNN(I, 4),
    "relu": lambda: torch.nn.RNN(I, 4, nonlinearity="relu"),
    "LSTM": lambda: torch.nn.LSTM(I, 4),
    "GRU": lambda: torch.nn.GRU(I, 4),
}


def test_what_capture_sees_of_torchs_own_layer_is_what_the_textbook_computes(kind: str) -> None:
    made, book, module = cell(kind), KINDS[kind], MODULES[kind]().double()
    names = {"ih": "weight_ih_l0", "hh": "weight_hh_l0", "b_ih": "bias_ih_l0", "b_hh": "bias_hh_l0"}
    module.load_state_dict({names[key]: weight for key, weight in made.weights.items()})
    inputs, size = normal(T, B, I, seed=3), made.ours.state_size
    with capture(module) as run:
        module(inputs)[0].square().sum().backward()
    h = made.ours.parts["h"]
    by_hand = textbook_run(made, book, inputs, torch.zeros(B, size, dtype=torch.float64))
    direct = np.zeros((T, B, size))
    direct[..., h] = 2 * by_hand.states[1:, ..., h]
    seen = run.trace[0]
    np.testing.assert_allclose(seen.states, by_hand.states[1:], **CLOSE)
    np.testing.assert_allclose(seen.direct, direct, **CLOSE)
    np.testing.assert_allclose(seen.gradients, book.backward(by_hand, direct).total[1:], **CLOSE)
