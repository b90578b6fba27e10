"""One rule for each disease: networks that have it, networks that nearly do, and what is said."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from cases import normal
from torch import Tensor, nn
from worlds import captured

import throughtime as tt
from throughtime.findings import DISEASES
from throughtime.trace import Trace

T, B, I, H = 60, 4, 4, 16
Change = Callable[[nn.RNNBase], None]


def network(
    kind: str, change: Change | None = None, *, bias: bool = True, **more: object
) -> nn.Module:
    """A layer in float64 with small known weights, then changed."""
    model = getattr(nn, kind)(I, H, bias=bias, **more).double()
    with torch.no_grad():
        for index, weight in enumerate(model.parameters()):
            weight.copy_(normal(*weight.shape, seed=index) / H**0.5)
        if change is not None:
            change(model)
    return model


def run(model: nn.Module, scale: float = 1.0, weight: Tensor | None = None) -> Trace:
    return captured(model, scale * normal(T, B, I, seed=7), weight)


def recurrent(matrix: Tensor) -> Change:
    return lambda model: model.weight_hh_l0.copy_(matrix)


def gate(value: float) -> Change:
    """The LSTM's forget gate, or the GRU's update gate, by its bias alone."""
    return lambda model: model.bias_ih_l0[H : 2 * H].fill_(value)


def orthogonal(seed: int = 0) -> Tensor:
    return torch.linalg.qr(normal(H, H, seed=seed))[0]


def chain(gain: float, length: int) -> Tensor:
    """Each unit feeds the next: spectral radius 0, and for ``length`` steps the gain grows."""
    matrix = torch.zeros(H, H, dtype=torch.float64)
    for unit in range(length):
        matrix[unit + 1, unit] = gain
    return matrix


def small() -> Trace:
    return run(network("RNN", recurrent(0.5 * orthogonal()), bias=False), 0.01)


def faithful() -> Trace:
    return run(network("RNN", recurrent(orthogonal()), bias=False), 0.01)


def wild() -> Trace:
    return run(network("RNN", recurrent(4 * normal(H, H, seed=5) / H**0.5), bias=False), 0.1)


def stuck() -> Trace:
    return run(network("RNN", recurrent(6 * torch.eye(H)), bias=False))


def growing() -> Trace:
    return run(network("RNN", recurrent(1.25 * torch.eye(H)), nonlinearity="relu"))


def closed(kind: str) -> Callable[[], Trace]:
    return lambda: run(network(kind, gate(-1.0)))


def opened(kind: str) -> Callable[[], Trace]:
    return lambda: run(network(kind, gate(7.0)))


def swelling() -> Trace:
    """The last unit is read; its gradient grows along the chain, and falls off its end."""
    weight = torch.zeros(T, B, H, dtype=torch.float64)
    weight[-1, :, H - 1] = 1
    model = network("RNN", recurrent(chain(2.0, H - 1)), bias=False)
    return run(model, 1e-6, weight)


def funnel() -> Trace:
    """Everything is read, and one direction is kept."""
    column = normal(H, seed=1)
    matrix = torch.outer(column, column) / column.square().sum()
    model = network("RNN", recurrent(matrix), bias=False)
    return run(model, 0.01, normal(T, B, H, seed=2))


def windowed(size: int) -> Callable[[], Trace]:
    def make() -> Trace:
        model, state = network("RNN", recurrent(orthogonal()), bias=False), None
        with tt.capture(model) as captured_run:
            for window in (0.01 * normal(T, B, I)).split(size):
                output, state = model(window, state)
                state = state.detach()
            output[-1].sum().backward()
        return captured_run.trace

    return make


CASES: dict[str, tuple[Callable[[], Trace], int | None, tuple[str, ...]]] = {
    # name: run, span, diseases
    "small weights": (small, None, ("vanishing",)),
    "small weights, short span": (small, 5, ("healthy",)),
    "orthogonal": (faithful, None, ("healthy",)),
    "g = 3": (wild, None, ("exploding", "chaotic")),
    "W = 6 I": (stuck, None, ("vanishing", "saturated")),
    "ReLU that grows is not chaotic": (growing, None, ("exploding",)),
    "LSTM, closed": (closed("LSTM"), None, ("vanishing", "gates closed")),
    "GRU, closed": (closed("GRU"), None, ("vanishing", "gates closed")),
    "LSTM, open": (opened("LSTM"), None, ("healthy",)),
    "GRU, open": (opened("GRU"), None, ("healthy",)),
    "chain": (swelling, 40, ("vanishing", "transient growth")),
    "chain, seen on its way up": (swelling, 6, ("healthy",)),
    "rank one": (funnel, 20, ("bottleneck",)),
    "windows": (windowed(20), 40, ("truncated", "vanishing")),
    "windows as long as the span": (windowed(20), 19, ("healthy",)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_diseases_of_a_known_network(name: str) -> None:
    make, span, diseases = CASES[name]
    assert tt.diagnose(make(), span).diseases == diseases


@pytest.mark.parametrize("name", CASES)
def test_every_cause_has_both_sentences_and_a_confidence(name: str) -> None:
    make, span, _ = CASES[name]
    found = tt.diagnose(make(), span)
    for cause in found.causes:
        assert cause.disease == "budget" or cause.disease in DISEASES
        assert re.search("[가-힣]", cause.korean)
        assert not re.search("[가-힣]", cause.sentence)
        assert 0.5 <= cause.confidence <= 1
    assert re.search("[가-힣]", found.korean)


EVIDENCE = {
    # case: disease, (what the evidence says, the value, tolerance)
    "small weights": ("vanishing", "rate_decades_per_step", np.log10(0.5), 1e-3),
    "W = 6 I": ("saturated", "stuck_share", 1.0, 0.1),
    "ReLU that grows is not chaotic": ("exploding", "rate_decades_per_step", np.log10(1.25), 5e-3),
    "windows": ("truncated", "window_steps", 20, 0),
    "rank one": ("bottleneck", "directions_left", 1.0, 1e-2),
    "chain": ("transient growth", "peak_lag_steps", H - 1, 0),
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_the_evidence_holds_the_figures(name: str) -> None:
    make, span, _ = CASES[name]
    disease, key, value, tolerance = EVIDENCE[name]
    found = next(one for one in tt.diagnose(make(), span).causes if one.disease == disease)
    assert found.evidence[key] == pytest.approx(value, abs=tolerance)


def test_the_budget_says_what_would_help() -> None:
    found = next(one for one in tt.diagnose(small()).causes if one.disease == "budget")
    assert found.sentence.startswith("−0.30 decades a step: ")
    assert found.sentence.endswith(
        "−0.30 by the recurrent matrix; with W_hh orthogonal it would be 0."
    )


def test_a_dependency_may_travel_through_another_layer() -> None:
    """The upper layer forgets at once, the lower one never does: the stack is healthy."""
    model = nn.LSTM(I, H, num_layers=2).double()
    with torch.no_grad():
        for index, weight in enumerate(model.parameters()):
            weight.copy_(normal(*weight.shape, seed=index) / H**0.5)
        model.bias_ih_l0[H : 2 * H] = 8.0
        model.bias_ih_l1[H : 2 * H] = -2.0
    found = tt.diagnose(run(model))
    verdicts = {layer.name: layer.verdict for layer in found.layers}
    assert verdicts == {"lstm.l0": "healthy", "lstm.l1": "vanishing", "all layers": "healthy"}
    assert found.diseases == ("healthy",)
    assert "vanishing" in {one.disease for one in found.layers[1].findings}


def test_a_layer_of_a_stack_that_vanishes_is_no_bottleneck() -> None:
    """The lower layer keeps one direction for ever, the upper one and the stack forget."""
    model = nn.RNN(I, H, num_layers=2, bias=False).double()
    column = normal(H, seed=1)
    with torch.no_grad():
        for index, weight in enumerate(model.parameters()):
            weight.copy_(0.1 * normal(*weight.shape, seed=index) / H**0.5)
        model.weight_hh_l0.copy_(torch.outer(column, column) / column.square().sum())
        model.weight_ih_l1.mul_(1e-4)
    trace = run(model, 0.01, normal(T, B, H, seed=2))
    found = tt.diagnose(trace, 20)
    assert {one.disease for one in found.layers[0].findings} == {"bottleneck", "budget"}
    assert found.diseases == ("vanishing",)


def test_confidence_is_the_share_of_the_sequences_that_say_so() -> None:
    """ReLU units that one sequence of two keeps alive, and the other kills at once."""
    model = nn.RNN(1, 2, nonlinearity="relu", bias=False).double()
    with torch.no_grad():
        model.weight_hh_l0.copy_(torch.eye(2))
        model.weight_ih_l0.fill_(1.0)
    x = torch.linspace(1, 2, T * 3, dtype=torch.float64).view(T, 3, 1)
    x[T // 2, :2] = -1e3
    x[-1] = 1e4
    found = tt.diagnose(captured(model, x)).causes[0]
    assert (found.disease, found.confidence) == ("vanishing", pytest.approx(2 / 3))


def test_deep_measures_more() -> None:
    quick, deep = tt.diagnose(faithful()), tt.diagnose(faithful(), deep=True)
    more = {one.name for one in deep.layers[0].measurements}
    less = {one.name for one in quick.layers[0].measurements}
    assert less < more
    assert more - less == {
        "lyapunov", "eigenvalues", "singular values", "spectrum summary", "norm condition",
        "input memory", "memory capacity", "effective rank", "contributions", "directions",
    }  # fmt: skip  # rows of a table
    assert tt.Diagnosis.from_json(deep.to_json()) == deep
    assert deep.diseases == quick.diseases


def test_one_step_and_one_unit_are_no_trouble() -> None:
    verdicts = [
        tt.diagnose(captured(nn.LSTM(1, 1).double(), normal(steps, 1, 1)), deep=True).verdict
        for steps in (1, 2, 3)
    ]
    assert verdicts[0] == "unknown"
    assert set(verdicts[1:]) <= {"healthy", "vanishing", "exploding"}
