"""The verdict: from gains that are known, and from runs that are sick in a known place."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from worlds import captured, relu_world

import throughtime as tt
from throughtime.diagnosis import reach, rules
from throughtime.trace import Trace

STEPS = 60


def gain(curve: list[float] | np.ndarray) -> tt.Measurement:
    values = np.asarray(curve, dtype=float)[None, None]
    coords = {"part": ("s",), "quantile": (0.5,), "lag": tuple(range(values.shape[2]))}
    return tt.Measurement("gain", values, ("part", "quantile", "lag"), "log10", "given", coords)


LAGS = np.arange(STEPS)
DEAD = -math.inf
CURVES = {
    # name: curve, span, (verdict, horizon, reaches_end, extrapolated, cut)
    "flat": (0 * LAGS, None, ("healthy", 59, True, False, False)),
    "slow loss": (-0.01 * LAGS, None, ("healthy", 59, True, False, False)),
    "one percent is still there": (-2 / 59 * LAGS, None, ("healthy", 59, True, False, False)),
    "vanishing": (-0.2 * LAGS, None, ("vanishing", 10, False, False, False)),
    "falls, then stays": (
        np.maximum(-0.4 * LAGS, -3.0),
        None,
        ("vanishing", 5, False, False, False),
    ),
    "vanishing beyond the span": (-0.2 * LAGS, 10, ("healthy", 10, False, False, False)),
    "dead at once": ([0, DEAD, DEAD], None, ("vanishing", 0, False, False, True)),
    "cut by a wall": ([0, 0, 0, DEAD, DEAD], None, ("vanishing", 2, False, False, True)),
    "exploding": (0.1 * LAGS, None, ("exploding", 59, True, False, False)),
    "growth within a hundredfold": (0.03 * LAGS, None, ("healthy", 59, True, False, False)),
    "a hump, then nothing": (
        np.where(LAGS < 20, 0.2 * LAGS, 4 - 0.3 * (LAGS - 20)),
        None,
        ("vanishing", 40, False, False, False),
    ),
    "a hump that stays": (np.minimum(0.2 * LAGS, 3), None, ("exploding", 59, True, False, False)),
    "healthy, carried on": (0 * LAGS, 500, ("healthy", 59, True, True, False)),
    "vanishing, carried on": (-0.03 * LAGS, 500, ("vanishing", 59, True, True, False)),
    "exploding, carried on": (0.03 * LAGS, 500, ("exploding", 59, True, True, False)),
    "one step": ([0.0], None, ("unknown", 0, False, False, False)),
    "nothing": ([], None, ("unknown", None, False, False, False)),
    "no number": ([0.0, math.nan], None, ("unknown", 0, False, False, False)),
    "too few lags to carry on": (0 * LAGS[:5], 500, ("unknown", 4, True, True, False)),
    "a pace that changes": (-0.002 * LAGS[:30] ** 1.5, 100, ("unknown", 29, True, True, False)),
    "faded and levelling off": (
        -4 * np.tanh(LAGS / 30),
        500,
        ("vanishing", 16, False, True, False),
    ),
    "swelled and passed": (
        np.where(LAGS < 20, 0.15 * LAGS, 3 - 0.05 * (LAGS - 20)),
        None,
        ("healthy", 59, True, False, False),
    ),
    "infinite": ([0.0, math.inf], None, ("non-finite", None, False, False, False)),
}


@pytest.mark.parametrize("name", CURVES)
def test_reach_of_a_known_curve(name: str) -> None:
    curve, span, expected = CURVES[name]
    found = reach.read(gain(curve), len(curve), span)
    shown = found.verdict, found.horizon, found.reaches_end, found.extrapolated, found.cut
    assert shown == expected


SENTENCES = {
    "flat": "still counts after 59 steps",
    "vanishing": "to a tenth every 5.0 steps: more than 10 steps back less than",
    "dead at once": "is gone at once: more than 0 steps back nothing",
    "falls, then stays": "falls to 1 % within 5 steps, and then stays where it is; the task",
    "vanishing, carried on": "too few to see it die, and the task needs 500 (more",
    "healthy, carried on": "capture a sequence that long",
    "exploding": "grows tenfold every 10.0 steps, in all by 10^5.9 over 59 steps",
    "infinite": "NaN or infinite",
}


@pytest.mark.parametrize("name", SENTENCES)
def test_the_sentence_says_what_was_found(name: str) -> None:
    curve, span, _ = CURVES[name]
    found = reach.read(gain(curve), len(curve), span)
    assert SENTENCES[name] in rules.verdict_sentence(found).english


@pytest.mark.parametrize("rate", [-0.5, -0.01, 0.0, 0.02])
def test_rate_is_the_slope_in_decades_per_step(rate: float) -> None:
    assert reach.read(gain(rate * LAGS), STEPS, None).rate == pytest.approx(rate, abs=1e-12)


@pytest.mark.parametrize(
    ("factor", "verdict"), [(0.5, "vanishing"), (1.0, "healthy"), (1.25, "exploding")]
)
def test_verdict_of_a_relu_world(factor: float, verdict: str) -> None:
    assert tt.diagnose(Trace((relu_world(factor, STEPS),))).verdict == verdict


def sick(model: nn.Module, name: str, index: int) -> nn.Module:
    with torch.no_grad():
        getattr(model, name).view(-1)[index] = math.nan
    return model


def bad_input() -> Trace:
    x = torch.randn(9, 3, 2)
    x[5, 1, 0] = math.nan
    return captured(nn.GRU(2, 4), x)


def bad_input_backwards() -> Trace:
    x = torch.randn(9, 3, 2)
    x[5, 1, 0] = math.nan
    with tt.capture(model := nn.GRU(2, 4, bidirectional=True)) as run:
        model(x)[0][:, :, 4:].sum().backward()
    return run.trace


def infinite_input() -> Trace:
    """The gates saturate, every state is finite, and yet the gradient of W_ih is NaN."""
    x = torch.randn(9, 3, 2)
    x[5, 1, 0] = math.inf
    return captured(nn.GRU(2, 4), x)


def second_layer() -> Trace:
    return captured(sick(nn.LSTM(2, 4, num_layers=2), "weight_ih_l1", 13 * 4), torch.randn(6, 3, 2))


def overflow() -> Trace:
    model = nn.RNN(2, 4, nonlinearity="relu")
    with torch.no_grad():
        model.weight_hh_l0.fill_(1e12)
        model.weight_ih_l0.fill_(1.0)
    return captured(model, torch.ones(9, 3, 2))


def bad_loss() -> Trace:
    model, x = nn.LSTM(2, 4), torch.randn(9, 3, 2)
    with tt.capture(model) as run:
        output = model(x)[0]
        (output.sum() + (output[4, 1] * 0).sum().log()).backward()
    return run.trace


def backward_overflow() -> Trace:
    model = nn.RNN(2, 4, nonlinearity="relu", bias=False)
    with torch.no_grad():
        model.weight_hh_l0.copy_(1e4 * torch.eye(4))
        model.weight_ih_l0.zero_()
    state = torch.full((1, 3, 4), 1e-36)
    with tt.capture(model) as run:
        output = model(torch.zeros(16, 3, 2), state)[0]
        (output[-1] * 1e-20).sum().backward()
    return run.trace


def bad_state() -> Trace:
    model = nn.GRU(2, 4)
    state = torch.zeros(1, 3, 4)
    state[0, 2, 1] = math.nan
    with tt.capture(model) as run:
        model(torch.randn(5, 3, 2), state)[0].sum().backward()
    return run.trace


Found = tuple[str, str, int, int, str | None, str]
NON_FINITE: dict[str, tuple[Callable[[], Trace], Found]] = {
    # name: run, (layer, pass, time step, sample, gate, part of the kind)
    "input": (bad_input, ("gru", "forward", 5, 1, "r", "input is not finite")),
    "input, read backwards": (
        bad_input_backwards,
        ("gru", "forward", 5, 1, "r", "input is not"),
    ),
    "infinite input": (infinite_input, ("gru", "forward", 5, 1, "r", "input is not finite")),
    "recurrent weight": (
        lambda: captured(sick(nn.LSTM(2, 4), "weight_hh_l0", 4 * 4), torch.randn(6, 3, 2)),
        ("lstm", "forward", 0, 0, "f", "weight_hh is not finite (row 4)"),
    ),
    "bias": (
        lambda: captured(sick(nn.GRU(2, 4), "bias_ih_l0", 9), torch.randn(6, 3, 2)),
        ("gru", "forward", 0, 0, "n", "bias_ih is not finite"),
    ),
    "second layer": (second_layer, ("lstm.l1", "forward", 0, 0, "o", "weight_ih is not finite")),
    "initial state": (bad_state, ("gru", "forward", 0, 2, "r", "initial state is not finite")),
    "overflow": (overflow, ("rnn", "forward", 4, 0, None, "W_hh h overflows")),
    "loss": (bad_loss, ("lstm", "backward", 4, 1, None, "the loss")),
    "exploded": (backward_overflow, ("rnn", "backward", -1, 0, None, "overflows")),
}


@pytest.mark.parametrize("name", NON_FINITE)
def test_the_first_non_finite_number_is_named(name: str) -> None:
    run, (layer, phase, step, sample, gate, kind) = NON_FINITE[name]
    first = next(f for f in tt.diagnose(run()).findings if "pass" in f.evidence)
    seen = first.evidence
    step = seen["time_step"] if step < 0 else step
    shown = (first.subject, seen["pass"], seen["time_step"], seen["sample"], seen["gate"])
    assert (shown, kind in seen["kind"]) == ((layer, phase, step, sample, gate), True)


def test_the_layer_where_it_began_decides() -> None:
    """A loss on the upper layer breaks it first, and from there the lower one."""
    model, x = nn.LSTM(2, 4, num_layers=2), torch.randn(9, 3, 2)
    with tt.capture(model) as run:
        output = model(x)[0]
        (output.sum() + (output[4, 1] * 0).sum().log()).backward()
    found = tt.diagnose(run.trace)
    assert {layer.verdict for layer in found.layers if layer.kind == "LSTM"} == {"non-finite"}
    assert found.decided_by == "lstm.l1"
    assert found.sentence.startswith("The backward pass of layer 'lstm.l1' goes non-finite first")
    assert [cause.subject for cause in found.causes if cause.disease == "non-finite"] == ["lstm.l1"]


CAUSES = {
    "input": ("bad input", None),
    "infinite input": ("bad input", None),
    "recurrent weight": ("bad weight", None),
    "bias": ("bad weight", None),
    "initial state": ("bad initial state", None),
    "overflow": ("overflow", "W_hh h"),
    "loss": ("bad loss", None),
    "exploded": ("overflow", "W_hhᵀ δa"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_is_told_apart(name: str) -> None:
    found = tt.diagnose(NON_FINITE[name][0]())
    assert found.diseases == ("non-finite",)
    assert (found.causes[0].evidence["cause"], found.causes[0].evidence["product"]) == CAUSES[name]
    assert found.causes[0].korean == found.korean


@pytest.mark.parametrize("name", NON_FINITE)
def test_a_non_finite_run_has_no_horizon(name: str) -> None:
    found = tt.diagnose(NON_FINITE[name][0]())
    assert (found.verdict, found.rate, found.horizon) == ("non-finite", None, None)


def windows(detach: bool) -> Trace:
    model, state = nn.GRU(2, 4), None
    with tt.capture(model) as run:
        losses = []
        for window in torch.randn(30, 3, 2).split(10):
            output, state = model(window, state)
            state = state.detach() if detach else state
            losses.append(output.square().sum())
        torch.stack(losses).sum().backward()
    return run.trace


@pytest.mark.parametrize(
    ("detach", "disease", "key", "steps"),
    [
        (True, "truncated", "window_steps", 10),
        (False, "state carried", "effective_window_steps", 30),
    ],
)
def test_windows_are_named(detach: bool, disease: str, key: str, steps: int) -> None:
    found = {f.disease: f.evidence.get(key) for f in tt.diagnose(windows(detach), 20).findings}
    assert found[disease] == steps
    assert ("truncated" in found) == detach


def test_a_wall_is_said_to_be_one() -> None:
    model, state = nn.RNN(1, 4, nonlinearity="relu", bias=False), torch.ones(1, 2, 4)
    with torch.no_grad():
        model.weight_hh_l0.copy_(torch.eye(4))
    with tt.capture(model) as run:
        for window in torch.zeros(40, 2, 1).split(10):
            output, state = model(window, state.detach())
        output[-1].sum().backward()
    found = tt.diagnose(run.trace)
    assert (found.verdict, found.horizon, "wall" in found.sentence) == ("vanishing", 9, True)


EMPTY = {
    "one step": (torch.randn(1, 3, 2), "too short"),
    "no sequence": (torch.randn(5, 0, 2), "no gradient"),
}


@pytest.mark.parametrize("name", EMPTY)
def test_what_has_no_past_is_unknown(name: str) -> None:
    x, disease = EMPTY[name]
    found = tt.diagnose(captured(nn.LSTM(2, 4), x))
    assert (found.verdict, found.horizon, found.diseases) == ("unknown", None, (disease,))


def test_a_stack_is_judged_jointly() -> None:
    found = tt.diagnose(captured(nn.LSTM(2, 4, num_layers=2), torch.randn(20, 3, 2)))
    kinds = [layer.kind for layer in found.layers]
    assert (found.decided_by, kinds) == ("all layers", ["LSTM", "LSTM", "stack"])


def test_a_failed_check_leaves_no_verdict_and_no_number() -> None:
    trace = captured(nn.GRU(2, 4), torch.randn(9, 3, 2))
    object.__setattr__(trace[0], "parameter_gradient", 2 * trace[0].parameter_gradient)
    found = tt.diagnose(trace)
    shown = found.verdict, found.diseases, found.rate, found.horizon
    assert shown == ("unknown", ("check failed",), None, None)


def test_a_diagnosis_survives_json() -> None:
    found = tt.diagnose(captured(nn.LSTM(2, 4), torch.randn(30, 3, 2)))
    assert tt.Diagnosis.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("argument", "sentence"), [(0, "span is 0: give a whole number"), ("x", "takes a Trace")]
)
def test_bad_arguments_are_refused(argument: int | str, sentence: str) -> None:
    trace = captured(nn.GRU(2, 4), torch.randn(9, 3, 2))
    arguments = (trace, argument) if isinstance(argument, int) else (argument,)
    with pytest.raises(tt.InputError, match=sentence):
        tt.diagnose(*arguments)


def test_observing_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.GRU(2, 4, dropout=0.5, num_layers=2))
    model[1].weight_hh_l0.grad = torch.ones_like(model[1].weight_hh_l0)
    before = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()

    def closure() -> Tensor:
        return model(torch.randn(5, 2))[0].sum()

    tt.observe(model, closure)
    same = all(torch.equal(v, before[0][k]) for k, v in model.state_dict().items())
    grads = [k for k, p in model.named_parameters() if p.grad is not None]
    seen = (same, torch.equal(torch.get_rng_state(), before[1]), grads)
    assert seen == (True, True, ["1.weight_hh_l0"])


def closures(model: nn.GRU) -> dict[str, tuple[Callable[[], object], str]]:
    """What a closure can do wrong, and what the error says."""
    x = torch.randn(9, 3, 2)
    return {
        "a vector": (lambda: model(x)[0][-1, 0], r"returned a tensor of shape \(4,\)"),
        "a number": (lambda: model(x)[0].sum().item(), "returned float"),
        "complex": (lambda: model(x)[0].sum() * 1j, "one real number"),
        "detached": (lambda: model(x)[0].sum().detach(), "is there a detach"),
        "no recurrence": (
            lambda: torch.ones(1, requires_grad=True),
            "no recurrent layer of the model ran",
        ),
    }


@pytest.mark.parametrize("name", closures(nn.GRU(2, 4)))
def test_a_closure_that_gives_no_loss_is_told_why(name: str) -> None:
    model = nn.GRU(2, 4)
    closure, sentence = closures(model)[name]
    with pytest.raises(tt.ThroughtimeError, match=sentence):
        tt.observe(model, closure)


def test_a_closure_may_call_backward_itself() -> None:
    model = nn.GRU(2, 4)

    def closure() -> None:
        model(torch.randn(9, 3, 2))[0].sum().backward()

    assert tt.observe(model, closure)[0].verified is not None
