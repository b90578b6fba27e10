"""Initialisations of scans: a state decays as the formula says; on a copy alone; not of LSTMs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scan_layers as layers
import torch
from torch import nn

import throughtime as tt
from throughtime.findings import DISEASES
from throughtime.prescription import TREATMENTS, fitting, treated
from throughtime.prescription.pair import from_pair
from throughtime.remedies.catalogue import CATALOGUE
from throughtime.remedies.initialisation.state_matrix import state_matrix_
from throughtime.remedies.remedy import SLOTS

STEPS, SPAN = 62, 60
TIMED: list[tuple[str, type[layers.Diagonal]]] = [
    ("step-sizes", layers.S6),
    ("step-sizes", layers.SSD),
    ("step-sizes", layers.KDA),
    ("step-sizes", layers.S4D),
    ("decay-ring", layers.RGLRU),
    ("decay-ring", layers.LRU),
    ("decay-scales", layers.WKV),
    ("decay-scales", layers.RWKV7),
    ("decay-scales", layers.Slopes),
    ("forget-ramp", layers.MLSTM),
    ("forget-ramp", layers.Capped),
]
VERBS: dict[str, Callable[..., nn.Module]] = {
    "step-sizes": tt.remedies.step_sizes_,
    "decay-ring": tt.remedies.decay_ring_,
    "decay-scales": tt.remedies.decay_scales_,
    "forget-ramp": tt.remedies.forget_ramp_,
}
KINDS = pytest.mark.parametrize(
    ("name", "kind"), TIMED, ids=[f"{name} {kind.__name__}" for name, kind in TIMED]
)


def layer_of(kind: type[layers.Diagonal]) -> layers.Diagonal:
    torch.manual_seed(0)
    return kind()


def problem_of(kind: type[layers.Diagonal]) -> tt.Problem:
    model, x = layer_of(kind), layers.sequences(STEPS)
    return from_pair(model, lambda: model(x).square().mean(), SPAN)


def captured(model: nn.Module) -> tt.Trace:
    x = layers.sequences(STEPS)
    return tt.observe(model, lambda: model(x).square().mean())


def drawing(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# What a state keeps, against the formula.


@KINDS
def test_what_is_left_at_the_span_is_what_the_time_scale_says(
    name: str, kind: type[layers.Diagonal]
) -> None:
    time = 40.0
    model = layer_of(kind).double()
    VERBS[name](model, time, time)
    x = layers.sequences(STEPS).double()
    trace = tt.observe(model, lambda: model(x).square().mean())
    gains = tt.measures.gains(trace["own"], quantiles=(0.5,))
    found = np.asarray(gains.values)[0, 0]
    expected = [layers.decades(lag, time) for lag in range(len(found))]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert trace["own"].verified == pytest.approx(0, abs=1e-8)


@KINDS
def test_time_scales_lie_in_the_range_and_differ(name: str, kind: type[layers.Diagonal]) -> None:
    model = layer_of(kind)
    VERBS[name](model, 400.0, 20.0)
    slowest = -1 / model.log_decay().detach().flatten(1 if kind in (layers.S6, layers.S4D) else 0)
    times = slowest.amax(-1) if slowest.dim() == 2 else slowest
    assert float(times.min()) >= 20 * (1 - 1e-4)
    assert float(times.max()) <= 400 * (1 + 1e-4)
    assert len(times.unique()) == len(times)


@pytest.mark.parametrize("kind", [layers.WKV, layers.RWKV7, layers.Slopes])
def test_decays_that_are_not_drawn_are_a_constant_factor_apart(kind: type[layers.Diagonal]) -> None:
    model = layer_of(kind)
    tt.remedies.decay_scales_(model, 256.0, 2.0)
    times = -1 / model.log_decay().detach()
    expected = 256 * 128.0 ** (-torch.arange(len(times)) / (len(times) - 1))
    torch.testing.assert_close(times, expected, rtol=1e-4, atol=0)


def test_the_defaults_of_retention_are_its_own() -> None:
    model = layer_of(layers.Slopes)
    tt.remedies.decay_scales_(model, t_max=32 * 2.0 ** (layers.H - 1))
    retention = 1 - 2.0 ** (-5 - torch.arange(layers.H))  # 1 − 2^(−5−h)
    torch.testing.assert_close(model.log_decay().exp().flip(0), retention, rtol=1e-3, atol=0)


@pytest.mark.parametrize("kind", [layers.MLSTM, layers.Capped])
def test_the_default_ramp_is_that_of_the_paper(kind: type[layers.Diagonal]) -> None:
    model = layer_of(kind)
    tt.remedies.forget_ramp_(model)
    paper = torch.linspace(3, 6, layers.H).sigmoid()
    torch.testing.assert_close(model.log_decay().exp(), paper, rtol=0, atol=2e-3)


def test_step_sizes_are_log_uniform() -> None:
    model = nn.ModuleList(layer_of(layers.KDA) for _ in range(400))
    tt.remedies.step_sizes_(model, 1000.0, 1.0, drawing())
    times = torch.cat([-1 / one.log_decay().detach().flatten() for one in model])
    placed = (times.log10() / 3).sort().values
    evenly = torch.arange(len(placed)) / len(placed)
    assert float((placed - evenly).abs().max()) < 1.63 / math.sqrt(len(placed))  # KS, 1 %


def test_a_ring_is_uniform_in_area() -> None:
    model = nn.ModuleList(layer_of(layers.RGLRU) for _ in range(600))
    tt.remedies.decay_ring_(model, 1000.0, 10.0, drawing())
    squared = torch.cat([(2 * one.log_decay().detach()).exp().flatten() for one in model])
    low, high = math.exp(-2 / 10), math.exp(-2 / 1000)
    placed = ((squared - low) / (high - low)).sort().values
    evenly = torch.arange(len(placed)) / len(placed)
    assert float((placed - evenly).abs().max()) < 1.63 / math.sqrt(len(placed))


def test_an_lru_keeps_its_input_at_unit_size() -> None:
    model = layer_of(layers.LRU).double()
    tt.remedies.decay_ring_(model, generator=drawing())
    squared = (2 * model.log_decay()).exp() + (2 * model.gamma_log).exp()
    torch.testing.assert_close(squared, torch.ones_like(squared))


def test_every_layer_of_ones_own_cells_has_its_ring() -> None:
    model = tt.cells.LRU(3, 5, 2, bidirectional=True)
    tt.remedies.decay_ring_(model, 50.0, 50.0)
    for name, parameter in model.named_parameters():
        if name.startswith("nu_log"):
            torch.testing.assert_close(parameter.exp(), torch.full((5,), 1 / 50))


def test_the_state_matrix_is_that_of_the_papers() -> None:
    mamba, heads, s4d = layer_of(layers.S6), layer_of(layers.SSD), layer_of(layers.S4D)
    for model in (mamba, heads, s4d):
        state_matrix_(model, drawing())
    torch.testing.assert_close(mamba.A_log.exp(), torch.arange(1.0, 5).expand(layers.D, -1))
    rates = heads.A_log.detach().exp()
    assert 1 <= float(rates.min()) < float(rates.max()) <= 16
    torch.testing.assert_close(s4d.log_A_real.exp(), torch.full((layers.H, layers.N), 0.5))
    torch.testing.assert_close(s4d.A_imag[0], torch.pi * torch.arange(4.0))


def test_a_state_matrix_that_is_there_already_is_told() -> None:
    model = state_matrix_(layer_of(layers.S6))
    with pytest.raises(tt.InputError, match="as it would be set"):
        state_matrix_(model)


# Where they do not fit.


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN, tt.cells.MinGRU])
def test_a_layer_without_such_parameters_is_refused(
    name: str, make: Callable[..., nn.Module]
) -> None:
    model = make(3, 4)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert not CATALOGUE[name].found_in(model)
    with pytest.raises(tt.InputError, match="no module of this"):
        CATALOGUE[name].do(model, SPAN, drawing())
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("verb", VERBS.values())
@pytest.mark.parametrize(("t_max", "t_min"), [(1.0, 2.0), (0.0, 0.0), (math.inf, 1.0), (-1, -2)])
def test_times_out_of_order_are_refused(
    verb: Callable[..., nn.Module], t_max: float, t_min: float
) -> None:
    with pytest.raises(tt.InputError, match="must be in order"):
        verb(layer_of(layers.SSD), t_max, t_min)


def test_a_gate_that_is_no_softplus_is_left_alone() -> None:
    model = layer_of(layers.SSD)
    model.lower_bound = -5.0
    with pytest.raises(tt.InputError, match="no module of this SSD has step sizes"):
        tt.remedies.step_sizes_(model)


# As treatments.


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_remedy_of_the_catalogue_says_what_it_is(name: str) -> None:
    one = CATALOGUE[name]
    assert TREATMENTS[name].sentence == one.sentence
    assert one.slot in SLOTS
    assert set(one.fits) <= set(DISEASES)
    assert one.korean.endswith("니다")
    assert any("가" <= letter <= "힣" for letter in one.korean)
    assert hasattr(tt.remedies, one.call.partition("(")[0])


@KINDS
def test_a_treatment_changes_a_copy_alone(name: str, kind: type[layers.Diagonal]) -> None:
    problem = problem_of(kind)
    before = {key: value.clone() for key, value in problem.model.state_dict().items()}
    first, second = (treated(problem, name, SPAN, seed=3).model.state_dict() for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(problem.model.state_dict(), before, rtol=0, atol=0)
    assert any(not torch.equal(value, before[key]) for key, value in first.items())


@KINDS
def test_the_lines_to_paste_do_the_same(name: str, kind: type[layers.Diagonal]) -> None:
    problem = problem_of(kind)
    code = TREATMENTS[name].code(problem, SPAN)
    exec(code, {"tt": tt, "model": problem.model})  # noqa: S102  — our own
    before = layer_of(kind).state_dict()
    after = problem.model.state_dict()
    assert any(not torch.equal(value, before[key]) for key, value in after.items())


def test_the_one_layer_that_has_the_parameters_is_named() -> None:
    model = nn.ModuleDict({"first": nn.Linear(2, 2), "mixer": layer_of(layers.SSD)})
    problem = from_pair(model, lambda: model["mixer"](layers.sequences(4)).sum(), SPAN)
    code = TREATMENTS["step-sizes"].code(problem, SPAN)
    assert code == "tt.remedies.step_sizes_(model.mixer, t_max=2 * 60)"


@KINDS
def test_a_layer_that_forgets_is_given_them_and_they_reach_the_span(
    name: str, kind: type[layers.Diagonal]
) -> None:
    model, x = layer_of(kind), layers.sequences(STEPS)
    found = tt.prescribe(model, lambda: model(x).square().mean(), SPAN, updates=1)
    assert found.before.verdict == "vanishing"
    assert found.options[0].verdict == "healthy"
    assert name in found.options[0].name.split("+")
    tried = {part for option in found.options for part in option.name.split("+")}
    assert tried <= CATALOGUE.keys()  # no cell is put in the place of what is no layer of torch's
    assert not found.refused


def test_an_lstm_is_given_none_of_them() -> None:
    model = nn.LSTM(layers.D, 4, batch_first=True)
    x = layers.sequences(STEPS)
    problem = from_pair(model, lambda: model(x)[0][:, -1].square().mean(), SPAN)
    names = fitting(tt.diagnose(problem.model, problem.closure, SPAN), problem)
    assert names
    assert not {part for name in names for part in name.split("+")} & CATALOGUE.keys()
