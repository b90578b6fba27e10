"""Measures against worlds with known answers, and against one autograd.grad per anchor."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from worlds import captured, fixed_point_world, linear_world, relu_world

import throughtime as tt
from throughtime.measures import gains, lags, norms
from throughtime.measures.lags import _quantile
from throughtime.recurrences import LSTM, Custom, Stacked
from throughtime.sweeps import lag_norms

EXACT, ROUNDING = 1e-12, 1e-5
T, B, H = 7, 3, 4


def rotation(angle: float) -> torch.Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]], dtype=torch.float64)


DIAGONAL = torch.diag(torch.tensor([2.0, 0.3], dtype=torch.float64))
KNOWN = {
    "orthogonal is flat": (rotation(0.7), [1.0, 2.0], 0.0),
    "rho times identity": (0.9 * torch.eye(2, dtype=torch.float64), [1.0, 1.0], math.log10(0.9)),
    "the growing eigenvector": (DIAGONAL, [1.0, 0.0], math.log10(2.0)),
    "the shrinking eigenvector": (DIAGONAL, [0.0, 1.0], math.log10(0.3)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_gain_by_lag_of_linear_worlds(name: str) -> None:
    matrix, source, rate = KNOWN[name]
    trace = linear_world(matrix, 30, torch.tensor(source, dtype=torch.float64))
    expected = rate * np.arange(30)
    np.testing.assert_allclose(gains(trace).values[0, 1], expected, atol=EXACT)


def test_the_product_doubles_where_the_spectral_radius_is_zero() -> None:
    curve = gains(fixed_point_world(12)).values[0, 1]
    np.testing.assert_allclose(np.diff(curve)[1:], math.log10(2.0), atol=1e-9)


@pytest.mark.parametrize("gain", [1e-3, 0.5, 1.25, 1e3])
@pytest.mark.parametrize("measure", ["lags", "norms"])
def test_nothing_underflows_or_overflows_in_float32(gain: float, measure: str) -> None:
    steps = 400
    trace = relu_world(gain, steps)
    found = norms(trace).values[:, 0] if measure == "norms" else lags(trace).values[0, :, 0]
    expected = math.log10(2.0) + math.log10(gain) * np.arange(steps - 1, -1, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


def test_an_exact_zero_is_minus_infinity_and_no_small_number() -> None:
    values = lags(relu_world(0.0, 3)).values[0, :, 0]
    np.testing.assert_array_equal(np.isneginf(values), [True, True, False])


def test_a_floor_ends_the_curve_and_says_so() -> None:
    found = gains(relu_world(0.1, 40), floor=-7.0)
    curve = found.values[0, 1]
    np.testing.assert_allclose(curve[:8], -np.arange(8.0), atol=1e-5)
    np.testing.assert_allclose(curve[12:], -7.0, atol=1e-6)
    assert "down to a gain of 1e-7" in found.how


CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def one_grad_per_anchor(model: nn.Module, x: torch.Tensor, weight: torch.Tensor) -> np.ndarray:
    """log10 ‖∂L_t/∂s_k‖ by autograd through torch's cell, one backward pass for each t."""
    cell = {nn.RNN: nn.RNNCell, nn.GRU: nn.GRUCell, nn.LSTM: nn.LSTMCell}[type(model)](
        x.shape[-1], H, dtype=x.dtype
    )
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in model.state_dict().items()})
    zero = torch.zeros(x.shape[1], H, dtype=x.dtype, requires_grad=True)
    state = (zero, zero.clone()) if isinstance(model, nn.LSTM) else (zero,)
    states = []
    for step in x:
        made = cell(step, state if len(state) > 1 else state[0])
        # An alias is an output of its own: torch's cell makes h from the very c it returns.
        state = tuple(p.view_as(p) for p in (made if isinstance(made, tuple) else (made,)))
        states.append(state)
    found = np.full((len(x), len(x), x.shape[1]), np.nan)
    for t in range(len(x)):
        loss = (states[t][0] * weight[t]).sum()
        for k in range(t + 1):
            grads = torch.autograd.grad(loss, states[k], retain_graph=True, allow_unused=True)
            joint = torch.cat([g for g in grads if g is not None], -1)
            found[t, k] = torch.linalg.vector_norm(joint, dim=-1).log10().numpy()
    return found


@pytest.mark.parametrize("name", CELLS)
def test_the_lag_matrix_is_one_grad_per_anchor(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    model = CELLS[name](3, H, dtype=torch.float64)
    x = torch.randn(T, B, 3, dtype=torch.float64, generator=generator)
    weight = torch.randn(T, B, H, dtype=torch.float64, generator=generator)
    expected = one_grad_per_anchor(model, x, weight)
    np.testing.assert_allclose(lags(captured(model, x, weight)).values, expected, atol=1e-10)


def test_many_blocks_of_anchors_are_one_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = captured(nn.GRU(3, H), torch.randn(T, B, 3), torch.randn(T, B, H))
    whole = lags(trace).values
    monkeypatch.setattr("throughtime.sweeps.backward._BLOCK_ROWS", 2 * B)
    np.testing.assert_allclose(lags(trace).values, whole, atol=ROUNDING)


def test_a_stack_is_one_recurrence_on_the_joint_state() -> None:
    generator = torch.Generator().manual_seed(2)

    def made(inputs: int) -> LSTM:
        shapes = (4 * H, inputs), (4 * H, H), (4 * H,)
        return LSTM(*(torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes))

    lower, upper = made(3), made(H)
    scale = (torch.rand(T, B, H, generator=generator, dtype=torch.float64) > 0.3).double() / 0.7
    x = torch.randn(T, B, 3, generator=generator, dtype=torch.float64)
    size = lower.state_size

    def step(state: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        first = lower.step(state[..., :size], read[..., :3])
        second = upper.step(state[..., size:], first[..., :H] * read[..., 3:])
        return torch.cat([first, second], -1)

    joint = Custom(step, 2 * size)
    read = torch.cat([x, scale], -1)
    initial = torch.zeros(B, 2 * size, dtype=torch.float64)
    states = joint.unroll(read, initial)
    before = torch.cat([initial.unsqueeze(0), states[:-1]])
    hidden = states[..., :H] * scale
    stack = Stacked(
        [lower.linearise(before[..., :size], x), upper.linearise(before[..., size:], hidden)],
        [size, size],
        [H, H],
        [None, scale],
    )
    sources = torch.randn(T, B, 2 * size, generator=generator, dtype=torch.float64)
    expected = lag_norms(joint.linearise(before, read), sources, range(T))
    torch.testing.assert_close(
        lag_norms(stack, sources, range(T)), expected, rtol=0, atol=1e-10, equal_nan=True
    )


def test_norms_are_those_of_the_gradients() -> None:
    trace = captured(nn.LSTM(3, H, dtype=torch.float64), torch.randn(T, B, 3, dtype=torch.float64))
    expected = trace[0].gradients.norm(dim=-1).log10().numpy()
    np.testing.assert_allclose(norms(trace).values, expected, atol=1e-10)


@pytest.mark.parametrize(
    ("model", "axes"),
    [
        (nn.LSTM(3, H), ("part", "quantile", "lag")),
        (nn.LSTM(3, H, num_layers=2), ("part", "quantile", "lag")),
    ],
    ids=["layer", "stack"],
)
def test_a_measurement_names_its_axes(model: nn.Module, axes: tuple[str, ...]) -> None:
    found = gains(captured(model, torch.randn(T, B, 3)))
    assert (found.axes, len(found.values.shape)) == (axes, len(axes))


def test_a_reverse_layer_is_measured_in_the_time_of_the_sequence() -> None:
    trace = captured(
        nn.GRU(3, H, bidirectional=True), torch.randn(T, B, 3), torch.ones(T, B, 2 * H)
    )
    values = lags(trace, "gru.reverse").values
    np.testing.assert_array_equal(np.isnan(values[:, :, 0]), np.tril(np.ones((T, T)), -1) > 0)


BAD = {
    "unknown layer": (lambda trace: lags(trace, "nope"), "unknown layer 'nope'"),
    "unknown part": (lambda trace: lags(trace, 0, part="c"), "unknown part 'c'"),
    "anchor outside": (lambda trace: lags(trace, 0, anchors=[T]), f"anchor {T} lies outside"),
    "no anchors": (lambda trace: lags(trace, 0, anchors=0), "anchors is 0: give a whole number"),
    "floor above": (lambda trace: lags(trace, 0, floor=1.0), "floor must be a log10 gain below 0"),
    "no stack": (lags, "choose one"),
    "unknown norm": (lambda trace: norms(trace, of="nope"), "unknown kind of norm 'nope'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_measured_is_refused_in_a_sentence(name: str) -> None:
    call, sentence = BAD[name]
    trace = captured(nn.GRU(3, H, bidirectional=True), torch.randn(T, B, 3))
    with pytest.raises(tt.InputError, match=sentence):
        call(trace)


@pytest.mark.parametrize(
    ("samples", "q", "expected"),
    [
        ([1.0, 2.0, 4.0], 0.5, 2.0),
        ([1.0, 2.0, 4.0, 8.0], 0.5, 3.0),
        ([1.0, np.nan, 4.0], 0.5, 2.5),
        ([-np.inf, -np.inf, 4.0, 8.0], 0.5, 4.0),
        ([-np.inf, -np.inf, -np.inf, 8.0], 0.5, -np.inf),
        ([0.0, 10.0], 0.1, 1.0),
        ([np.nan, np.nan], 0.5, np.nan),
    ],
)
def test_a_quantile_lies_between_finite_samples(
    samples: list[float], q: float, expected: float
) -> None:
    found = _quantile(np.array(samples)[None, :, None], q)
    np.testing.assert_array_equal(found, [[expected]])
