"""``critical_``: the rate is 0 afterwards, and nothing but the knob has moved."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime import cells
from throughtime.errors import InputError, NoGradientError, ThroughtimeWarning
from throughtime.measures import gains
from throughtime.problem import Problem, seeded
from throughtime.recording import observe
from throughtime.remedies import chrono_, orthogonal_
from throughtime.remedies.initialisation import critical
from throughtime.remedies.initialisation.critical import Critical, critical_
from throughtime.remedies.initialisation.knobs import knobs
from throughtime.remedies.weights import recurrent_weights
from throughtime.tasks import make_task

I, H, T, B = 3, 12, 40, 4
Make = Callable[[], nn.Module]

ELMAN = ("rnn", "relu-rnn", "indrnn")
GATED = ("lstm", "gru", "janet", "mingru")


def drawing(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(steps: int = T, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(steps, B, I, generator=drawing(1))


def made(make: Make) -> nn.Module:
    with seeded(3):
        return make()


def problem(cell: str) -> Problem:
    return make_task("adding", cell=cell, length=60, hidden=32, batch=8)


def closure(module: nn.Module, x: Tensor | None = None) -> Callable[[], Tensor]:
    """A loss at every step."""
    x = inputs() if x is None else x
    return lambda: module(x)[0].square().mean()


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in module.state_dict().items()}


def moved(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    after = module.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("cell", [*ELMAN, *GATED])
def test_the_rate_of_a_task_is_0_afterwards(cell: str) -> None:
    one = problem(cell)
    result = critical_(one.model, one.closure, one.span)
    (layer,) = observe(one.model, one.closure)
    assert abs(slope(layer, one.span)) <= result.tolerance < 0.002


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_the_rates_are_those_of_a_diagnosis(cell: str) -> None:
    one = problem(cell)
    before = tt.diagnose(one).layers[0].rate
    (tuned,) = critical_(one.model, one.closure, one.span).layers
    assert tuned.before == pytest.approx(before, rel=1e-5)
    assert tuned.after == pytest.approx(tt.diagnose(one).layers[0].rate, rel=1e-4, abs=1e-7)


def test_the_gain_that_is_lacking_is_found() -> None:
    """With ``W = I / 2`` and positive states ReLU loses a factor of 2 at every step."""
    layer = nn.RNN(1, 4, nonlinearity="relu")
    with torch.no_grad():
        for weight in layer.parameters():
            weight.abs_()
        layer.weight_hh_l0.copy_(torch.eye(4) / 2)
    (tuned,) = critical_(layer, closure(layer, torch.ones(T, 2, 1))).layers
    assert (tuned.amount, tuned.before) == pytest.approx((2, -math.log10(2)), rel=1e-4)


SICK: dict[str, Callable[[], nn.Module]] = {
    "exploding": lambda: orthogonal_(nn.RNN(I, H, nonlinearity="relu"), 3.0, drawing()),
    "non-finite": lambda: orthogonal_(nn.RNN(I, H, nonlinearity="relu"), 1e4, drawing()),
    "chaotic": lambda: orthogonal_(nn.RNN(I, H), 4.0, drawing()),
    "saturated": lambda: orthogonal_(nn.RNN(I, H), 1e3, drawing()),
    "vanishing": lambda: orthogonal_(nn.RNN(I, H), 1e-3, drawing()),
    "an LSTM that explodes": lambda: orthogonal_(nn.LSTM(I, H), 12.0, drawing()),
    "a GRU whose gate is closed": lambda: shifted(nn.GRU(I, H), -6.0),
}


def shifted(layer: nn.Module, by: float) -> nn.Module:
    with torch.no_grad():
        layer.bias_ih_l0[H : 2 * H] += by
    return layer


@pytest.mark.parametrize("make", SICK.values(), ids=SICK)
def test_it_is_found_from_afar(make: Make) -> None:
    layer = made(make)
    result = critical_(layer, closure(layer))
    assert result.reached
    assert result.captures <= 24


STACKS: dict[str, Make] = {
    "RNN": lambda: nn.RNN(I, H, num_layers=2),
    "both directions": lambda: nn.GRU(I, H, num_layers=2, bidirectional=True),
    "LSTM": lambda: nn.LSTM(I, H, num_layers=2, dropout=0.3),
    "three IndRNN": lambda: cells.IndRNN(I, H, num_layers=3),  # the lower ones drift
    "RNN, GRU": lambda: Two(nn.RNN(I, H), nn.GRU(H, H)),
}


class Two(nn.Module):
    def __init__(self, below: nn.Module, above: nn.Module) -> None:
        super().__init__()
        self.below, self.above = below, above

    def forward(self, x: Tensor) -> tuple[Tensor, object]:
        return self.above(self.below(x)[0])


@pytest.mark.parametrize("make", STACKS.values(), ids=STACKS)
def test_every_layer_and_direction_is_tuned(make: Make) -> None:
    model = made(make)
    run = closure(model)
    with seeded(5):
        result = critical_(model, run, 20, tolerance=0.005)
        with tt.capture(model) as captured:
            run().backward()
    names = [weights.name for weights in recurrent_weights(model)]
    found = [slope(captured.trace[name]) for name in names]
    assert found == pytest.approx([one.after for one in result.layers], abs=1e-5)
    assert max(map(abs, found)) <= 0.005


def slope(layer: tt.LayerTrace, span: int = 20) -> float:
    values = gains(layer, anchors=32, quantiles=(0.5,)).values[0, 0][: span + 1]
    lags = torch.arange(span + 1.0, dtype=torch.float64)
    return float(torch.cov(torch.stack([lags, torch.tensor(values)]))[0, 1] / lags.var())


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_gain_or_a_bias_alone_is_changed(kind: type[nn.RNNBase]) -> None:
    layer = made(lambda: nn.Sequential(nn.Linear(2, 2), kind(I, H)))
    before = state(layer)
    critical_(layer, closure(layer[1]))
    knob = "weight_hh" if kind is nn.RNN else "bias_ih"
    assert moved(layer, before) == {f"1.{knob}_l0"}


def test_a_gain_leaves_the_directions_of_the_matrix() -> None:
    layer = made(lambda: nn.RNN(I, H))
    before = layer.weight_hh_l0.detach().clone()
    (tuned,) = critical_(layer, closure(layer)).layers
    torch.testing.assert_close(layer.weight_hh_l0.detach(), tuned.amount * before)


def test_the_time_scales_of_the_units_stay_apart() -> None:
    layer = chrono_(nn.GRU(I, H), 30, generator=drawing())
    before = recurrent_weights(layer)[0].bias("z")
    (tuned,) = critical_(layer, closure(layer)).layers
    torch.testing.assert_close(recurrent_weights(layer)[0].bias("z"), before + tuned.amount)


def test_an_lstm_writes_the_less_the_more_it_keeps() -> None:
    layer = made(lambda: nn.LSTM(I, H))
    before = recurrent_weights(layer)[0].bias("i")
    (tuned,) = critical_(layer, closure(layer)).layers
    torch.testing.assert_close(recurrent_weights(layer)[0].bias("i"), before - tuned.amount)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_what_is_critical_is_left_alone(cell: str) -> None:
    one = problem(cell)
    critical_(one.model, one.closure, one.span)
    before = state(one.model)
    again = critical_(one.model, one.closure, one.span)
    assert not moved(one.model, before)
    assert again.layers[0].before == again.layers[0].after


@pytest.mark.parametrize("whole", [True, False], ids=["the model", "its layer"])
def test_gradients_modes_and_random_state_are_as_they_were(whole: bool) -> None:
    one = make_task("adding", cell=nn.GRU(2, H, num_layers=2, dropout=0.2), length=20, batch=4)
    one.model.recurrent.eval()
    one.closure().backward()
    before = [parameter.grad.clone() for parameter in one.model.parameters()]
    modes = [part.training for part in one.model.modules()]
    random = torch.random.get_rng_state()
    critical_(one.model if whole else one.model.recurrent, one.closure, tolerance=0.05)
    torch.testing.assert_close([p.grad for p in one.model.parameters()], before, rtol=0, atol=0)
    assert modes == [part.training for part in one.model.modules()]
    assert torch.equal(random, torch.random.get_rng_state())


def test_a_closure_may_call_backward_itself() -> None:
    one, other = problem("rnn"), problem("rnn")

    def backward() -> Tensor:
        loss = other.closure()
        loss.backward()
        return loss

    assert critical_(other.model, backward) == critical_(one.model, one.closure)


def test_the_captures_are_counted() -> None:
    layer, calls = made(lambda: nn.RNN(I, H)), []
    run = closure(layer)
    result = critical_(layer, lambda: calls.append(1) or run())
    assert result.captures == len(calls) <= 12


def test_it_is_the_same_every_time() -> None:
    results = []
    for _ in range(2):
        layer = made(lambda: nn.RNN(I, H))
        results.append((critical_(layer, closure(layer)), state(layer)))
    assert results[0][0] == results[1][0]


def deaf() -> nn.Module:
    """Its units stand at 1, where the slope of tanh is 0 in float32, whatever W_hh is."""
    layer = made(lambda: nn.RNN(I, H))
    with torch.no_grad():
        layer.bias_ih_l0.fill_(2000.0)
    return layer


def noisy() -> nn.Module:
    layer = made(lambda: orthogonal_(nn.RNN(I, 3), generator=drawing()))
    with torch.no_grad():
        layer.weight_ih_l0.mul_(1e4)
    return layer


@pytest.mark.parametrize("make", [deaf, noisy])
def test_a_rate_of_0_that_cannot_be_reached_is_told(make: Make) -> None:
    layer = make()
    with pytest.warns(ThroughtimeWarning, match="not 0, and the nearest that was found"):
        result = critical_(layer, closure(layer))
    assert not result.reached
    assert abs(result.layers[0].after) <= abs(result.layers[0].before)


def test_what_a_capture_warns_of_is_said_once() -> None:
    layer, x = made(lambda: nn.RNN(I, H)), inputs()
    x[T // 2 :] = 0.0
    with pytest.warns(ThroughtimeWarning) as said:
        critical_(layer, lambda: layer(x)[0][-1].square().mean(), tolerance=0.05)
    assert len(said) == 1
    assert "as padding does" in str(said[0].message)


def test_an_error_of_the_closure_leaves_the_weights_as_they_were() -> None:
    layer, calls = made(lambda: nn.RNN(I, H)), []
    before, run = state(layer), closure(layer)

    def third_time() -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise ZeroDivisionError
        return run()

    with pytest.raises(ZeroDivisionError):
        critical_(layer, third_time)
    assert not moved(layer, before)


def test_it_says_what_it_did() -> None:
    layer = made(lambda: nn.GRU(I, H))
    said = str(critical_(layer, closure(layer)))
    assert said.startswith("gru: bias of z +")
    assert said.endswith("decades per step")


class ByHand(nn.Module):
    """h' = tanh(W_ih x + W_hh h), whose states are marked; its output as an nn.RNN has it."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.recur = nn.Linear(I, H), nn.Linear(H, H)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        states = [x.new_zeros(B, H)]
        for step in x:
            states.append(torch.tanh(self.read(step) + self.recur(states[-1])))
            tt.mark(states[-1], "own")
        return torch.stack(states[1:]), None


def test_a_recurrence_by_hand_is_tuned_by_its_matrix_as_torchs_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(critical, "_MARKED_ANCHORS", critical._ANCHORS)  # the same loss steps
    own, torchs = made(ByHand), nn.RNN(I, H)
    weights = (own.read.weight, own.recur.weight, own.read.bias, own.recur.bias)
    with torch.no_grad():
        for mine, theirs in zip(torchs.parameters(), weights, strict=True):
            mine.copy_(theirs)
    before = state(own)
    found = critical_(own, closure(own), tolerance=1e-3, own={"own": own.recur.weight})
    same = critical_(torchs, closure(torchs), tolerance=1e-3)
    assert found.reached
    assert moved(own, before) == {"recur.weight"}
    assert found.layers[0].amount == pytest.approx(same.layers[0].amount, rel=1e-3)
    assert str(found).startswith("own: gain of W_hh × ")


def lonely() -> Critical:
    layer = nn.RNN(I, H)
    return critical_(nn.ModuleList([layer, nn.GRU(I, H)]), closure(layer))


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "no recurrent layer": (lambda: critical_(nn.Linear(2, 2), closure(nn.RNN(I, H))), "no recurr"),
    "a span of 0": (lambda: critical_(nn.RNN(I, H), closure(nn.RNN(I, H)), 0), "span is 0"),
    "a single step": (lambda: on_itself(nn.RNN(I, H), inputs(1)), "have one step"),
    "orthogonal": (lambda: on_itself(cells.OrthogonalRNN(I, H)), "of this OrthogonalRNN"),
    "oscillators": (lambda: on_itself(cells.CoRNN(I, H)), "of this coRNN"),
    "no bias": (lambda: on_itself(nn.LSTM(I, H, bias=False)), "a gated layer with biases"),
    "parametrised": (lambda: on_itself(tt_parametrised()), "is parametrised"),
    "no matrix": (lambda: on_itself(zero()), "no gain to tune"),
    "a matrix that is not square": (
        lambda: critical_(m := ByHand(), closure(m), own={"own": m.read.weight}),
        "give the square",
    ),
    "another mark": (
        lambda: critical_(m := ByHand(), closure(m), own={"his": m.recur.weight}),
        "unknown layer 'his'",
    ),
    "a layer that does not run": (lonely, "unknown layer '1'"),
    "no loss": (lambda: critical_(layer := nn.RNN(I, H), lambda: layer(inputs())), "the loss"),
}


def on_itself(layer: nn.Module, x: Tensor | None = None) -> Critical:
    return critical_(layer, closure(layer, x))


def tt_parametrised() -> nn.Module:
    from throughtime.remedies.parametrisation import orthogonal_weights_

    return orthogonal_weights_(nn.RNN(I, H))


def zero() -> nn.Module:
    layer = nn.RNN(I, H)
    nn.init.zeros_(layer.weight_hh_l0)
    return layer


@pytest.mark.parametrize(("asked", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(asked: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        asked()


def test_a_frozen_model_says_why() -> None:
    layer = nn.RNN(I, H).requires_grad_(False)
    with pytest.raises(NoGradientError, match="frozen"):
        critical_(layer, closure(layer))


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, cells.IndRNN, cells.MinGRU])
def test_a_knob_at_0_is_where_it_was_found(kind: Callable[..., nn.Module]) -> None:
    layer = made(lambda: kind(I, H))
    before = copy.deepcopy(layer.state_dict())
    (knob,) = knobs(layer)
    knob.turn(1.5)
    knob.turn(0.0)
    assert not moved(layer, before)
