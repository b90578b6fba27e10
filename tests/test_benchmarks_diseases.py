"""The labelled suite at toy size: its truth in worlds with known answers, and its arithmetic."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import throughtime as tt
from benchmarks.diseases import changes, page, scores, unrolled
from benchmarks.diseases.compare import OURS, WHO, Case, case, labels_of
from benchmarks.diseases.networks import LAYERS, Network, Reader, Training
from benchmarks.diseases.suite import SUITE
from benchmarks.diseases.tasks import Task, adding, noise, spoilt, squared_error
from benchmarks.diseases.truth import LABELS, Figures, Truth, diseases, labels
from throughtime.findings import CONDITIONS

SMALL = noise(0.02, steps=40, span=25)
VECTOR = noise(0.02, steps=40, span=25, outputs=6)
PLAIN = Figures(
    gain=0, peak=0, operator_gain=0, exponent=0, growth=0, stuck=0, carousel=None,
    asked=8, left=8, window=None,
)  # fmt: skip  # what belongs together, on one line


def truth_of(network: Network, seed: int = 0) -> Truth:
    return diseases(*network.build(seed), network.task)


def small(cell: str, change: changes.Change | None = None, **more: int) -> Network:
    return Network("toy", cell, SMALL, change, **{"hidden": 8, **more})


KNOWN = {
    "orthogonal": (small("tanh", changes.orthogonal()), set()),
    "long windows": (
        replace(
            small("relu", changes.identity(), window=30), task=noise(steps=40, span=8, at="all")
        ),
        set(),
    ),
    "6 identity": (small("tanh", changes.identity(6.0)), {"vanishing", "saturated"}),
    "small radius": (small("tanh", changes.gaussian(0.3)), {"vanishing"}),
    "dead": (small("relu", changes.bias(-5.0)), {"vanishing", "saturated"}),
    "1.25 identity": (small("relu", changes.identity(1.25)), {"exploding"}),
    "open forget gates": (small("LSTM", changes.carry_bias(6.0)), set()),
    "closed forget gates": (small("LSTM", changes.carry_bias(-3.0)), {"vanishing", "gates closed"}),
    "closed update gates": (small("GRU", changes.carry_bias(-3.0)), {"vanishing", "gates closed"}),
    "short windows": (
        small("GRU", changes.carry_bias(6.0), window=10),
        {"vanishing", "truncated"},
    ),
    "rank one": (
        replace(small("tanh", changes.rank_one(1.0)), task=VECTOR),
        {"bottleneck"},
    ),
    "rank one, for one number": (small("tanh", changes.rank_one(1.0)), set()),
    "gain 4": (small("tanh", changes.gaussian(4.0), hidden=64), {"chaotic", "exploding"}),
    "bad input": (replace(small("GRU"), task=spoilt(SMALL, math.nan)), {"non-finite"}),
    "bad weight": (small("LSTM", changes.entry("weight_hh", math.inf)), {"non-finite"}),
    "overflow": (small("relu", changes.identity(60.0)), {"non-finite"}),
}


@pytest.mark.parametrize(("network", "expected"), KNOWN.values(), ids=KNOWN)
def test_the_truth_of_a_known_network(network: Network, expected: set[str]) -> None:
    assert truth_of(network).diseases == expected


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_a_multiple_of_the_identity_has_powers_for_gains(factor: float) -> None:
    inputs = torch.ones(40, 2, 8)  # positive: no unit of ReLU is ever off
    model = Reader(nn.RNN(8, 8, nonlinearity="relu", bias=True), 1, None, None).double()
    with torch.no_grad():
        changes.identity(factor)(model, torch.Generator())
        model.rnn.weight_ih_l0.fill_(1.0)
    found = diseases(model, inputs.double(), torch.zeros(40, 2, 1).double(), SMALL).figures
    assert found is not None
    expected = [25 * math.log10(factor)] * 2 + [math.log(factor)]
    assert [found.gain, found.operator_gain, found.exponent] == pytest.approx(expected)


def test_a_nilpotent_matrix_doubles_the_gradient_at_each_step() -> None:
    """Spectral radius 0; at the fixed point J = diag(1, ¾) W, and J² = 2 J."""
    matrix = torch.tensor([[8.0, 8.0], [-8.0, -8.0]], dtype=torch.float64)
    point = torch.tensor([0.0, 0.5], dtype=torch.float64)
    bias = point.atanh() - matrix @ point
    model = Reader(nn.RNN(2, 2), 1, None, None).double()
    with torch.no_grad():
        model.rnn.weight_hh_l0.copy_(matrix)
        model.rnn.weight_ih_l0.copy_(torch.eye(2))
        model.rnn.bias_ih_l0.copy_(bias)
        model.rnn.bias_hh_l0.zero_()
    inputs = torch.zeros(21, 1, 2, dtype=torch.float64)
    inputs[0, 0] = point.atanh() - bias
    task = Task("", 20, lambda *_: (inputs, inputs), lambda outputs, _: outputs[-1].sum())
    found = unrolled.run(model, inputs, inputs, task.loss)
    jacobian = torch.diag(1 - point.square()) @ matrix
    source = model.head.weight[0].detach()
    expected = 19 * math.log10(2) + float(
        (jacobian.T @ source).norm().log10() - source.norm().log10()
    )
    figures = diseases(model, inputs, inputs, task).figures
    assert figures is not None
    assert figures.gain == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(found.jacobians[1], jacobian.unsqueeze(0))


@pytest.mark.parametrize("forget", [0.0, 1.0, -2.0])
def test_a_cell_without_weights_is_its_forget_gate(forget: float) -> None:
    model = Reader(nn.LSTM(8, 8), 1, None, None).double()
    with torch.no_grad():
        for weight in model.rnn.parameters():
            weight.zero_()
        changes.carry_bias(forget)(model, torch.Generator())
    inputs = torch.zeros(40, 2, 8, dtype=torch.float64)
    targets = torch.ones(40, 2, 1, dtype=torch.float64)
    found = diseases(model, inputs, targets, SMALL).figures
    assert found is not None
    half, carried = math.log10(0.5), -math.log10(1 + math.exp(-forget))
    assert [found.gain, found.carousel] == pytest.approx([half + 25 * carried, half])


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", LAYERS)
def test_every_step_starts_where_the_model_was(cell: str, layers: int) -> None:
    network = small(cell, layers=layers)
    model, inputs, targets = network.build(0)
    found = unrolled.run(model, inputs, targets, network.task.loss)
    with torch.no_grad():
        step_by_step = torch.stack(
            [found.stack.step(*pair) for pair in zip(found.before, found.inputs, strict=True)]
        )
    torch.testing.assert_close(found.states, step_by_step, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        found.stack.output(found.states).float(), model.unroll(inputs).detach()
    )


def test_a_chaotic_run_is_followed_and_not_run_anew() -> None:
    network = small("tanh", changes.gaussian(8.0), hidden=64)
    model, inputs, targets = network.build(0)
    found = unrolled.run(model, inputs, targets, network.task.loss)
    with torch.no_grad():
        own, anew = model.unroll(inputs), model.double().unroll(inputs.double())
    assert torch.equal(found.states.float(), own)
    assert (found.states - anew).abs().max() > 0.1


def test_the_carousel_of_an_lstm_is_all_that_links_its_cells() -> None:
    network = small("LSTM")
    found = unrolled.run(*network.build(0), network.task.loss)
    cells = found.carousel()[..., 8:, 8:]
    torch.testing.assert_close(cells, torch.eye(8).double().expand_as(cells))


def test_the_update_gate_of_a_gru_that_reads_no_state_is_its_carousel() -> None:
    network = small("GRU", changes.times(recurrent=0.0))
    found = unrolled.run(*network.build(0), network.task.loss)
    seen = found.carousel()
    torch.testing.assert_close(seen, torch.eye(8).double().expand_as(seen))


@pytest.mark.parametrize("cell", ["tanh", "relu"])
def test_the_slopes_are_the_jacobian_over_the_matrix(cell: str) -> None:
    model, inputs, targets = (network := small(cell)).build(0)
    found = unrolled.run(model, inputs, targets, network.task.loss)
    matrix = model.rnn.weight_hh_l0.detach().double()
    torch.testing.assert_close(found.slopes().unsqueeze(-1) * matrix, found.jacobians)


@pytest.mark.parametrize(
    ("changed", "tanh", "expected"),
    [
        ({}, True, set()),
        ({"gain": -2.1}, True, {"vanishing"}),
        ({"gain": 2.1, "peak": 2.1}, True, {"exploding"}),
        ({"gain": 0.4, "peak": 1.5}, True, {"transient growth"}),
        ({"gain": 0.6, "peak": 1.5}, True, set()),
        ({"gain": 2.1, "peak": 4.0}, True, {"exploding", "transient growth"}),
        ({"gain": -3, "peak": 4.0}, True, {"vanishing", "transient growth"}),
        ({"gain": -3, "peak": 4.0, "window": 30}, True, {"vanishing", "transient growth"}),
        ({"gain": -math.inf, "peak": 4.0, "window": 20}, True, {"vanishing", "truncated"}),
        ({"exponent": 0.05, "growth": 0.001}, True, {"chaotic"}),
        ({"exponent": 0.05, "growth": 0.001, "gain": -3}, True, {"vanishing"}),
        ({"exponent": 0.05, "growth": 0.01}, True, set()),
        ({"stuck": 0.9}, True, set()),
        ({"gain": -3, "stuck": 0.5}, True, {"vanishing", "saturated"}),
        ({"gain": -3, "stuck": 0.9}, False, {"vanishing"}),
        ({"gain": -3, "carousel": -1.9}, True, {"vanishing", "gates closed"}),
        ({"gain": -3, "carousel": -2.1}, True, {"vanishing"}),
        ({"window": 24}, True, {"truncated"}),
        ({"window": 25}, True, set()),
        ({"left": 1.4}, True, {"bottleneck"}),
        ({"left": 1.4, "asked": 2.9}, True, set()),
        ({"left": 1.6}, True, set()),
        ({"left": 1.4, "gain": -3}, True, {"vanishing"}),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_the_definitions(changed: dict[str, float], tanh: bool, expected: set[str]) -> None:
    assert labels(replace(PLAIN, **changed), 25, tanh=tanh) == expected


def made_up(name: str, wanted: set[str], ours: set[str], peers: str) -> Case:
    said = {who: frozenset({peers}) for who in WHO} | {OURS: frozenset(ours)}
    figures = None if "non-finite" in wanted else PLAIN
    return Case(name, False, 7, 25, Truth(frozenset(wanted), figures), said, "gain 3.0")


MADE_UP = [
    made_up("a", {"vanishing", "saturated"}, {"vanishing"}, "vanishing"),
    made_up("b", set(), {"healthy"}, "healthy"),
    made_up("c", set(), {"exploding"}, "healthy"),
    made_up("d", {"non-finite"}, {"non-finite"}, "exploding"),
]


def test_scores_are_counted_by_label() -> None:
    found = scores.scores(MADE_UP)
    counted = {
        name: (one.hits, one.false_alarms, one.misses)
        for name, one in found.items()
        if one.support or one.false_alarms
    }
    assert counted == {
        "vanishing": (1, 0, 0),
        "exploding": (0, 1, 0),
        "saturated": (0, 0, 1),
        "non-finite": (1, 0, 0),
        "healthy": (1, 0, 1),
    }
    assert found["healthy"].f1 == pytest.approx(2 / 3)
    assert scores.macro_f1(found, ["vanishing", "healthy"]) == pytest.approx(5 / 6)
    assert scores.false_alarms(MADE_UP) == 0.5


def test_the_others_are_not_asked_about_what_they_have_no_word_for() -> None:
    found = scores.scores(MADE_UP, WHO[1])
    assert {name: one.f1 for name, one in found.items()} == pytest.approx(
        {"vanishing": 1.0, "exploding": math.nan, "healthy": 1.0}, nan_ok=True
    )


def test_every_error_is_told_with_its_figures() -> None:
    told = page.errors(MADE_UP)
    assert [line.split(":")[0] for line in told.splitlines() if line.startswith("- ")] == [
        "- a (seed 7)",
        "- c (seed 7)",
    ]
    assert "not named: saturated" in told
    assert "wrongly named: exploding" in told
    assert "gain at 25 0.00" in told


def test_one_network_is_built_judged_and_asked_about() -> None:
    network = Network("toy", "LSTM", adding(20), hidden=8, training=Training(steps=3))
    found = case(network, 0)
    assert found.trained
    assert set(found.said) == set(WHO)
    assert found.said[OURS] <= set(LABELS)


def test_an_answer_that_is_unknown_is_never_right() -> None:
    """Whatever else is found next to it, and healthy is not said for it."""
    model = nn.LSTM(3, 8)
    inputs = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    found = tt.diagnose(model, lambda: model(inputs)[0][-1].square().sum(), span=400)
    assert "too short" in found.diseases
    assert labels_of(found) - set(LABELS) == {"unknown"}


def test_training_lowers_the_loss() -> None:
    network = Network("toy", "GRU", adding(10), hidden=8)

    def loss_after(steps: int) -> float:
        model, inputs, targets = replace(network, training=Training(steps, 1e-2)).build(0)
        return float(network.task.loss(model(inputs), targets).detach())

    assert loss_after(60) < 0.5 * loss_after(0)


def test_a_task_asks_for_what_lies_inside_of_the_sequence() -> None:
    """Every loss step that the truth looks at has a state ``span`` steps before it."""
    generator = torch.Generator().manual_seed(0)
    short = {
        network.name
        for network in SUITE
        if len(network.task.draw(2, generator)[0]) <= network.task.span
    }
    assert not short


def test_the_suite_is_as_large_and_as_varied_as_it_says() -> None:
    names = [network.name for network in SUITE]
    assert len(set(names)) == len(names) >= 120
    assert 3 * sum(network.training is not None for network in SUITE) >= len(SUITE)
    assert {network.cell for network in SUITE} == set(LAYERS)


def test_the_labels_are_the_librarys() -> None:
    assert set(LABELS) == {*CONDITIONS, "truncated", "non-finite", "healthy"}


def test_the_loss_at_the_last_step_is_the_last_of_all() -> None:
    outputs, targets = torch.arange(6.0).reshape(3, 2, 1), torch.zeros(3, 2, 1)
    both: list[Tensor] = [squared_error(outputs, targets, at) for at in ("last", "all")]
    assert [float(loss) for loss in both] == pytest.approx([20.5, 55 / 6])
