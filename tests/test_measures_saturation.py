"""What is stuck: against a slow, obvious loop, and in networks that are stuck on purpose."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import fill, normal
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from worlds import captured, linear_world

import throughtime as tt
from throughtime.findings import Measurement
from throughtime.measures import saturation
from throughtime.measures.saturation import StuckOutputs

T, B, I, H = 9, 4, 3, 5
LENGTHS = (9, 2, 6, 4)
KINDS = ("RNN", "LSTM", "GRU")
FUNCTIONS = {
    "tanh": (math.tanh, lambda y: 1 - y * y, 1.0),
    "sigmoid": (lambda a: 1 / (1 + math.exp(-a)), lambda y: y * (1 - y), 0.25),
    "relu": (lambda a: max(a, 0.0), lambda y: float(y > 0), 1.0),
}
HIGH = {"tanh": 0.0, "sigmoid": 0.5, "relu": math.inf}
"""From which value on a stuck output is stuck at the high end."""


def named(trace: object, name: str) -> Measurement:
    return next(one for one in saturation(trace) if one.name == name)


def figures(trace: object, gate: str) -> dict[str, float]:
    found = named(trace, "saturation")
    row = found.values[found.coords["squashing"].index(gate)]
    return dict(zip(found.coords["figure"], map(float, row), strict=True))


def made(kind: str, scale: float = 3.0, **settings: object) -> nn.RNNBase:
    model = fill(getattr(nn, kind)(I, H, **settings).double(), scale=scale)
    assert isinstance(model, nn.RNNBase)
    return model


# A slow, obvious loop.


def slow(function: str, outputs: np.ndarray, alive: np.ndarray) -> dict[str, np.ndarray | float]:
    """Shares by unit, by time and over all, one output after another, in float64."""
    _, slope, largest = FUNCTIONS[function]
    steps, batch, units = outputs.shape
    by_unit = [[0, 0] for _ in range(units)]
    by_time = [[0, 0] for _ in range(steps)]
    low = high = total = 0
    for t in range(steps):
        for b in range(batch):
            for unit in range(units):
                y = float(outputs[t, b, unit])
                if not alive[t, b] or not math.isfinite(y):
                    continue
                stuck = slope(y) < 0.1 * largest
                for tally in (by_unit[unit], by_time[t]):
                    tally[0], tally[1] = tally[0] + stuck, tally[1] + 1
                low += stuck and y < HIGH[function]
                high += stuck and y >= HIGH[function]
                total += 1
    shares = np.array([part / whole if whole else math.nan for part, whole in by_unit])
    seen = shares[~np.isnan(shares)]
    return {
        "unit": shares,
        "time": np.array([part / whole if whole else math.nan for part, whole in by_time]),
        "figures": np.array(
            [(low + high) / total, low / total, high / total, (seen == 1).mean()]
            if total
            else [math.nan] * 4
        ),
    }


def check(function: str, outputs: Tensor, alive: Tensor) -> None:
    found, expected = (
        StuckOutputs.of(function, outputs, alive),
        slow(function, outputs.numpy(), alive.numpy()),
    )
    np.testing.assert_allclose(found.by_unit, expected["unit"], atol=1e-12)
    np.testing.assert_allclose(found.by_time, expected["time"], atol=1e-12)
    np.testing.assert_allclose(found.figures[:4], expected["figures"], atol=1e-12)


PREACTIVATIONS = st.floats(-8, 8) | st.sampled_from([0.0, math.nan, 40.0, -40.0])


@pytest.mark.parametrize("function", FUNCTIONS)
@given(data=st.data())
def test_shares_are_those_of_a_slow_loop(function: str, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 3)] * 3))
    count = math.prod(shape)
    drawn = data.draw(st.lists(PREACTIVATIONS, min_size=count, max_size=count))
    apply = FUNCTIONS[function][0]
    outputs = torch.tensor([a if math.isnan(a) else apply(a) for a in drawn]).double().view(shape)
    cells = shape[0] * shape[1]
    alive = data.draw(st.lists(st.booleans(), min_size=cells, max_size=cells))
    check(function, outputs, torch.tensor(alive).view(shape[:2]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_captured_layer_is_measured_over_its_own_gates(kind: str) -> None:
    trace = captured(made(kind), normal(T, B, I))
    linear, alive = trace[0].linear, torch.ones(T, B, dtype=torch.bool).numpy()
    by_unit = named(trace, "stuck by unit")
    assert by_unit.coords["squashing"] == tuple(linear.squashing)
    for name, row in zip(linear.squashing, by_unit.values, strict=True):
        outputs = linear.activations()[name].numpy()
        expected = slow(linear.squashing[name], outputs, alive)
        np.testing.assert_allclose(row, expected["unit"], atol=1e-12)


@pytest.mark.parametrize(
    ("function", "output", "stuck"),
    [
        ("tanh", 0.9486, False),
        ("tanh", 0.9488, True),
        ("tanh", -0.9488, True),
        ("sigmoid", 0.0258, False),
        ("sigmoid", 0.0256, True),
        ("sigmoid", 0.9744, True),
        ("sigmoid", 0.9742, False),
        ("relu", 0.0, True),
        ("relu", 1e-30, False),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_a_function_is_stuck(
    function: str, output: float, stuck: bool, dtype: torch.dtype
) -> None:
    values, alive = torch.full((1, 1, 1), output, dtype=dtype), torch.ones(1, 1, dtype=torch.bool)
    assert StuckOutputs.of(function, values, alive).figures[0] == stuck


# Networks that are stuck on purpose.


def test_a_recurrent_matrix_of_six_times_the_identity_sticks_at_both_ends() -> None:
    model = made("RNN", scale=1.0)
    with torch.no_grad():
        model.weight_hh_l0.copy_(6 * torch.eye(H))
        model.bias_hh_l0.copy_(torch.tensor([3.0, 3.0, 3.0, -3.0, -3.0]))
        model.weight_ih_l0.zero_()
    found = figures(captured(model, normal(T, B, I)), "h")
    assert found == pytest.approx(
        {"stuck": 1, "stuck low": 0.4, "stuck high": 0.6, "dead units": 1, "not finite": 0}
    )


def test_a_forget_bias_of_six_holds_the_forget_gate_open() -> None:
    model = made("LSTM", scale=1.0)
    with torch.no_grad():
        model.bias_hh_l0[H : 2 * H] = 6
    trace = captured(model, normal(T, B, I))
    assert figures(trace, "f")["stuck high"] > 0.95
    assert max(figures(trace, gate)["stuck"] for gate in "igo") < 0.05


@pytest.mark.parametrize("dead", [(), (1,), (0, 3)])
def test_dead_relu_units_are_counted(dead: tuple[int, ...]) -> None:
    model = made("RNN", scale=1.0, nonlinearity="relu")
    with torch.no_grad():
        model.bias_hh_l0.fill_(20)
        model.bias_hh_l0[list(dead)] = -1000
    trace = captured(model, normal(T, B, I))
    by_unit = named(trace, "stuck by unit").values[0]
    assert figures(trace, "h")["dead units"] == pytest.approx(len(dead) / H)
    assert np.flatnonzero(by_unit == 1).tolist() == list(dead)


def test_a_unit_that_wakes_once_is_not_dead() -> None:
    outputs = torch.zeros(T, B, 1)
    outputs[3, 2] = 1.0
    alive = torch.ones(T, B, dtype=torch.bool)
    assert StuckOutputs.of("relu", outputs, alive).figures[3] == 0


# Time, padding and directions.


def ramp(model: nn.RNNBase) -> nn.RNNBase:
    """A layer whose units follow its input alone: stuck where that is large."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for name, parameter in model.named_parameters():
            if name.startswith("weight_ih"):
                parameter.fill_(1)
    return model


def stuck_from(step: int) -> Tensor:
    """Inputs that are 0 before the step and large from it on."""
    large = (torch.arange(T) >= step).double().view(T, 1, 1).expand(T, B, I) * 10
    return large + 0.01 * normal(T, B, I)  # what stands still at the end would pass for padding


@pytest.mark.parametrize("layer", ["rnn", "rnn.reverse"])
def test_stuck_by_time_is_in_the_time_of_the_sequence(layer: str) -> None:
    trace = captured(ramp(made("RNN", bidirectional=True)), stuck_from(6))[layer]
    np.testing.assert_array_equal(named(trace, "stuck by time").values[0], np.arange(T) >= 6)


@pytest.mark.parametrize("layer", ["rnn", "rnn.reverse"])
@pytest.mark.parametrize("packed", [True, False])
def test_padding_is_left_out(layer: str, packed: bool) -> None:
    model, inputs = ramp(made("RNN", bidirectional=True)), stuck_from(T)
    for b, length in enumerate(LENGTHS):
        inputs[length - 1 :, b] += 10  # the last live step is stuck, and so is all padding
    read: object = inputs
    if packed:
        read = pack_padded_sequence(inputs, torch.tensor(LENGTHS), enforce_sorted=False)
    with tt.capture(model, lengths=None if packed else LENGTHS) as run:
        output = model(read)[0]
        (output.data if packed else output).sum().backward()
    one = run.trace[layer]
    expected = [
        (np.array(LENGTHS) == t + 1).sum() / (np.array(LENGTHS) > t).sum() for t in range(T)
    ]
    np.testing.assert_allclose(named(one, "stuck by time").values[0], expected)
    assert figures(one, "h")["stuck"] == pytest.approx(B / sum(LENGTHS))


def test_steps_at_which_no_sequence_is_alive_have_no_share() -> None:
    trace = captured(made("RNN"), normal(T, B, I))[0].with_lengths((3, 2, 1, 3))
    values = named(trace, "stuck by time").values[0]
    np.testing.assert_array_equal(np.isnan(values), np.arange(T) >= 3)


def test_what_is_not_finite_is_counted_apart() -> None:
    inputs = stuck_from(T)
    inputs[4:, 0] = math.nan
    inputs[2:, 1] += 10
    found = figures(captured(ramp(made("RNN")), inputs), "h")
    finite = T * B - (T - 4)
    assert found["not finite"] == pytest.approx((T - 4) / (T * B))
    assert found["stuck"] == pytest.approx((T - 2) / finite)


def test_a_layer_without_one_finite_output_has_no_shares() -> None:
    trace = captured(made("LSTM"), torch.full((T, B, I), math.nan, dtype=torch.float64))
    values = named(trace, "saturation").values
    assert np.isnan(values[:, :4]).all()
    assert (values[:, 4] == 1).all()
    assert np.isnan(named(trace, "gate histogram").values).all()


# The histogram.


@pytest.mark.parametrize("kind", KINDS)
def test_the_histogram_is_numpys(kind: str) -> None:
    trace = captured(made(kind), normal(T, B, I))
    found = named(trace, "gate histogram")
    for name, row in zip(found.coords["squashing"], found.values, strict=True):
        values = trace[0].linear.activations()[name].numpy()
        expected = np.histogram(values, bins=len(row), range=(-1, 1))[0] / values.size
        np.testing.assert_allclose(row, expected, atol=1e-12)


def test_the_bins_are_named_by_their_centres() -> None:
    found = named(captured(made("GRU"), normal(T, B, I)), "gate histogram")
    np.testing.assert_allclose(found.coords["bin"], np.arange(-0.975, 1, 0.05), atol=1e-12)


def test_relu_has_bins_up_to_its_largest_output() -> None:
    trace = captured(made("RNN", nonlinearity="relu"), normal(T, B, I))
    found = named(trace, "gate histogram")
    bins = np.array(found.coords["bin"])
    assert bins[-1] + bins[0] == pytest.approx(float(trace[0].states.max()))
    assert found.values.sum() == pytest.approx(1)


# Shapes and refusals.


@pytest.mark.parametrize("kind", KINDS)
def test_measurements_name_their_axes(kind: str) -> None:
    found = saturation(captured(made(kind), normal(T, B, I)))
    assert [(one.name, one.axes[1], one.unit) for one in found] == [
        ("stuck by unit", "unit", "share"),
        ("stuck by time", "time", "share"),
        ("gate histogram", "bin", "share"),
        ("saturation", "figure", "share"),
    ]
    for one in found:
        labels = [len(one.coords.get(axis, one.values[0])) for axis in one.axes]
        assert (one.values.dtype, tuple(labels)) == (np.float64, one.values.shape)


def test_a_projected_lstm_is_measured_by_its_cells() -> None:
    trace = captured(made("LSTM", proj_size=2), normal(T, B, I))
    assert named(trace, "stuck by unit").values.shape == (5, H)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_in_float32(dtype: torch.dtype) -> None:
    outputs, alive = torch.tensor([[[0.94, 0.96]]], dtype=dtype), torch.ones(1, 1, dtype=torch.bool)
    assert StuckOutputs.of("tanh", outputs, alive).figures[0] == 0.5


BAD = {
    "several layers": (
        lambda: saturation(captured(made("GRU", num_layers=2), normal(T, B, I))),
        tt.InputError,
        "choose one with layer=: 'gru.l0', 'gru.l1'",
    ),
    "unknown layer": (
        lambda: saturation(captured(made("RNN"), normal(T, B, I)), "nope"),
        tt.InputError,
        "unknown layer 'nope'",
    ),
    "custom": (
        lambda: saturation(replace(linear_world(torch.eye(2), 3, torch.ones(2)), name="mine")),
        tt.UnsupportedError,
        "'mine' .custom. has no squashing functions",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_measured_is_refused_in_a_sentence(name: str) -> None:
    call, error, sentence = BAD[name]
    with pytest.raises(error, match=sentence):
        call()
