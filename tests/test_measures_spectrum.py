"""The spectrum of W_hh by gate, the norm condition, and what was measured beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import fill, normal
from torch import Tensor, nn
from worlds import captured

import throughtime as tt
from throughtime.findings import Measurement
from throughtime.measures import spectrum
from throughtime.measures.spectrum.figures import FIGURES
from throughtime.recurrences import Elman, Segment, Segments
from throughtime.textbook import nilpotent, scalar
from throughtime.trace import LayerTrace

T, B, I, H = 12, 3, 4, 6
Array = np.ndarray

MODELS: dict[str, Callable[[], nn.RNNBase]] = {
    "RNN": lambda: nn.RNN(I, H),
    "LSTM": lambda: nn.LSTM(I, H),
    "GRU": lambda: nn.GRU(I, H),
}
GATES = {"RNN": ("a",), "LSTM": ("i", "f", "g", "o"), "GRU": ("r", "z", "n")}


def model_of(kind: str) -> nn.RNNBase:
    made = fill(MODELS[kind]().double())
    assert isinstance(made, nn.RNNBase)
    return made


def named(found: list[Measurement], name: str) -> Measurement:
    return next(one for one in found if one.name == name)


@pytest.mark.parametrize("kind", MODELS)
def test_singular_values_are_those_of_each_gate_of_torchs_weight(kind: str) -> None:
    model = model_of(kind)
    found = named(spectrum(captured(model, normal(T, B, I))), "singular values")
    blocks = model.weight_hh_l0.detach().numpy().reshape(-1, H, H)
    assert found.coords["gate"] == GATES[kind]
    np.testing.assert_allclose(found.values, np.linalg.svd(blocks, compute_uv=False), rtol=1e-10)


@pytest.mark.parametrize("kind", MODELS)
def test_eigenvalues_are_those_of_each_gate_of_torchs_weight(kind: str) -> None:
    model = model_of(kind)
    values = named(spectrum(captured(model, normal(T, B, I))), "eigenvalues").values
    for found, block in zip(values, model.weight_hh_l0.detach().chunk(len(values)), strict=True):
        expected = np.linalg.eigvals(block.numpy())
        assert np.all(np.diff(np.hypot(*found)) <= 1e-12)
        np.testing.assert_allclose(
            np.sort_complex(found[0] + 1j * found[1]), np.sort_complex(expected), atol=1e-10
        )


@pytest.mark.parametrize("kind", MODELS)
def test_a_measurement_names_its_axes(kind: str) -> None:
    found = spectrum(captured(model_of(kind), normal(T, B, I)))
    assert [(one.name, one.axes) for one in found] == [
        ("eigenvalues", ("gate", "part", "index")),
        ("singular values", ("gate", "index")),
        ("spectrum summary", ("gate", "figure")),
        ("norm condition", ("figure",)),
    ]
    for one in found:
        labels = [len(one.coords.get(axis, range(size))) for axis, size in sizes(one)]
        assert (one.values.dtype, labels) == (np.float64, list(one.values.shape))


def sizes(one: Measurement) -> list[tuple[str, int]]:
    return list(zip(one.axes, one.values.shape, strict=True))


# The norm condition, and what was measured beside it.


def norm_condition(trace: tt.Trace | LayerTrace) -> tuple[float, float]:
    bound, measured = named(spectrum(trace), "norm condition").values
    return float(bound), float(measured)


def run(
    matrix: Array, steps: int, source: Array, start: Array, bias: Array | None = None, **more: str
) -> tt.Trace:
    """``h ← φ(W h + b)`` from h = ``start``, a loss ⟨source, h⟩ on the last step."""
    size = len(matrix)
    model = nn.RNN(1, size, **more).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.weight_hh_l0.copy_(torch.tensor(matrix))
        model.bias_hh_l0.copy_(torch.tensor(np.zeros(size) if bias is None else bias))
    with tt.capture(model) as captured_run:
        begin = torch.tensor(start, dtype=torch.float64).view(1, 1, size)
        output = model(torch.zeros(steps, 1, 1, dtype=torch.float64), begin)[0]
        (output[-1, 0] * torch.tensor(source)).sum().backward()
    return captured_run.trace


@pytest.mark.parametrize(("unit", "rate"), [(0, math.log10(2)), (1, math.log10(0.3))])
def test_one_matrix_explodes_and_vanishes_and_its_norm_says_only_the_first(
    unit: int, rate: float
) -> None:
    """diag(2, 0.3)^(t−1) of the lectures: a ReLU on positive states is a linear recurrence."""
    trace = run(np.diag([2.0, 0.3]), 15, np.eye(2)[unit], np.ones(2), nonlinearity="relu")
    assert norm_condition(trace) == pytest.approx((math.log10(2), rate), abs=1e-12)


@pytest.mark.parametrize("a", [0.5, 0.9, 1.5, 4.0])
def test_the_scalar_chain(a: float) -> None:
    steps = 20
    chain = scalar.Chain(a=a, b=0.0, c=0.1, d=1.0, e=0.0)
    factors = scalar.factors(chain, scalar.forward(chain, np.zeros(steps)))
    trace = run(np.array([[a]]), steps, np.ones(1), np.zeros(1), np.array([0.1]))
    expected = np.log10(np.abs(factors[1:])).mean()
    assert norm_condition(trace) == pytest.approx((math.log10(a), expected), abs=1e-10)


def test_the_gradient_doubles_where_the_spectral_radius_is_zero() -> None:
    """THEORY of the nilpotent matrix, in h = tanh(x): h ← tanh(W h + b) at its fixed point."""
    # (1, 1) is the left eigenvector of J = diag(1 − h²) W that belongs to 2.
    trace = run(
        nilpotent.W, 25, np.ones(2), np.tanh(nilpotent.FIXED_POINT), np.array(nilpotent.BIAS)
    )
    summary = named(spectrum(trace), "spectrum summary")
    radius = summary.values[0, summary.coords["figure"].index("spectral radius")]
    expected = (0, math.log10(16), math.log10(2))
    assert (radius, *norm_condition(trace)) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("kind", MODELS)
def test_what_was_measured_is_the_gradient_of_the_run(kind: str) -> None:
    trace = captured(model_of(kind), normal(T, B, I))
    log = trace[0].gradients.norm(dim=-1).log10()
    expected = float((log[0] - log[-1]).mean()) / (T - 1)
    assert norm_condition(trace)[1] == pytest.approx(expected, abs=1e-10)


def test_a_gated_cell_has_no_norm_condition() -> None:
    assert math.isnan(norm_condition(captured(model_of("GRU"), normal(T, B, I)))[0])


@pytest.mark.parametrize(
    "said",
    ["γ σ_max(W_hh)", "linear recurrence only", "Measured along the data"],
)
def test_the_norm_condition_says_what_it_means(said: str) -> None:
    assert said in named(spectrum(captured(model_of("RNN"), normal(T, B, I))), "norm condition").how


def test_a_wall_ends_the_path() -> None:
    trace = captured(model_of("RNN"), normal(T, B, I))
    log = trace[0].gradients.norm(dim=-1).log10()
    wall = T - 5
    expected = float((log[wall] - log[-1]).mean()) / (T - 1 - wall)
    found = named(spectrum(replace(trace[0], walls=(2, wall))), "norm condition")
    assert found.values[1] == pytest.approx(expected, abs=1e-10)
    assert "exact zero" not in found.how


def test_padding_is_no_part_of_the_path_of_a_layer_that_reads_backwards() -> None:
    model = fill(nn.RNN(I, H, bidirectional=True).double())
    weight = torch.zeros(T, B, 2 * H, dtype=torch.float64)
    weight[0, :, H:] = 1
    trace = captured(model, normal(T, B, I), weight)["rnn.reverse"]
    live = 5
    log = trace.gradients.norm(dim=-1).log10()
    expected = float((log[live - 1] - log[0]).mean()) / (live - 1)
    found = norm_condition(trace.with_lengths((live,) * B))[1]
    assert found == pytest.approx(expected, abs=1e-10)


def test_a_path_that_dies_is_counted_up_to_its_end_and_said_to() -> None:
    trace = run(nilpotent.chain(4), 12, np.eye(4)[3], np.ones(4), np.ones(4), nonlinearity="relu")
    found = named(spectrum(trace), "norm condition")
    assert found.values[1] == pytest.approx(math.log10(1.02))
    assert "1 of 1 paths end in an exact zero" in found.how


def test_a_loss_that_sends_nothing_back_was_not_measured() -> None:
    trace = captured(model_of("RNN"), normal(T, B, I))
    silent = replace(trace[0], direct=torch.zeros_like(trace[0].direct))
    assert math.isnan(norm_condition(silent)[1])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_network_whose_weights_are_not_finite_is_measured_as_such(bad: float) -> None:
    model = model_of("LSTM")
    with torch.no_grad():
        model.weight_hh_l0[H, 2] = bad  # of gate f alone
    summary = named(spectrum(captured(model, normal(T, B, I))), "spectrum summary")
    assert np.isnan(summary.values).all(1).tolist() == [False, True, False, False]


def test_a_projected_lstm_says_that_its_blocks_are_not_square() -> None:
    trace = captured(fill(nn.LSTM(I, H, proj_size=2).double()), normal(T, B, I))
    found = spectrum(trace)
    assert "6 by 2 have no eigenvalues" in named(found, "eigenvalues").how
    assert np.isnan(named(found, "eigenvalues").values).all()
    assert np.isfinite(named(found, "singular values").values).all()


def changing(first: Tensor, second: Tensor) -> LayerTrace:
    """An Elman layer whose W_hh is another from the fifth step on."""
    segments, state = [], torch.zeros(B, H, dtype=torch.float64)
    for weight in (first, second):
        cell = Elman(normal(H, I, seed=3), weight)
        inputs = normal(5, B, I, seed=4)
        states = cell.unroll(inputs, state)
        segments.append(Segment(cell, state, states, inputs))
        state = states[-1]
    states = torch.cat([segment.states for segment in segments])
    ones = torch.ones_like(states)
    return LayerTrace("loop", "RNN", cell.parts, states, ones, ones, Segments(segments))


@pytest.mark.parametrize(("scale", "said"), [(1.0, False), (2.0, True)])
def test_weights_that_changed_within_the_run_are_said_to(scale: float, said: bool) -> None:
    weight = normal(H, H, seed=6)
    found = named(spectrum(changing(weight, scale * weight)), "singular values")
    assert ("changed within the run" in found.how) is said
    np.testing.assert_allclose(found.values[0], scale * torch.linalg.svdvals(weight).numpy())


def marked() -> tt.Trace:
    weight = nn.Parameter(normal(H, H))

    def closure() -> Tensor:
        h = torch.ones(B, H, dtype=torch.float64)
        for _ in range(3):
            h = torch.tanh(h @ weight)
            tt.mark(h, "mine")
        return h.sum()

    module = nn.Module()
    module.register_parameter("weight", weight)
    return tt.observe(module, closure)


BAD = {
    "several layers": (
        lambda: spectrum(captured(nn.GRU(I, H, num_layers=2), normal(T, B, I).float())),
        tt.InputError,
        "choose one with layer=: 'gru.l0', 'gru.l1'",
    ),
    "unknown layer": (
        lambda: spectrum(captured(model_of("RNN"), normal(T, B, I)), "nope"),
        tt.InputError,
        "unknown layer 'nope'",
    ),
    "marked": (lambda: spectrum(marked()), tt.UnsupportedError, "'mine' .marked. has no recurrent"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_measured_is_refused_in_a_sentence(name: str) -> None:
    call, error, sentence = BAD[name]
    with pytest.raises(error, match=sentence):
        call()


def test_without_the_transient_the_rest_is_the_same() -> None:
    trace = captured(nn.GRU(3, 5).double(), torch.randn(6, 2, 3, dtype=torch.float64))
    whole, rest = (spectrum(trace, transient=wanted)[2] for wanted in (True, False))
    left_out = [name in ("numerical radius", "Kreiss bound", "largest power") for name in FIGURES]
    assert np.isnan(rest.values[:, left_out]).all()
    kept = ~np.array(left_out)
    np.testing.assert_allclose(rest.values[:, kept], whole.values[:, kept], rtol=1e-9)
