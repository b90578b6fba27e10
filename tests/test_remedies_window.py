"""``suggest_window`` on worlds whose decay, or whose Lyapunov exponent, is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from cases import normal
from torch import Tensor, nn
from worlds import captured, linear_world, relu_world

import throughtime as tt
from throughtime.errors import InputError
from throughtime.problem import seeded
from throughtime.remedies.window import suggest_window
from throughtime.trace import Trace

EYE = torch.eye(2, dtype=torch.float64)
ONES = torch.ones(2, dtype=torch.float64)


def geometric(gain: float, share: float) -> int:
    """The smallest W with gain^W ≤ share: what lies beyond of Σ_k gain^k."""
    return math.ceil(math.log(share) / math.log(gain))


@pytest.mark.parametrize("steps", [30, 200])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.05, 0.01, 0.001])
@pytest.mark.parametrize("gain", [0.3, 0.85, 0.95])
def test_a_geometric_decay_has_the_window_of_its_sum(gain: float, share: float, steps: int) -> None:
    found = suggest_window(relu_world(gain, steps, torch.float64), share=share)
    wanted = geometric(gain, share)
    assert (found.steps, found.extrapolated) == (wanted, wanted > steps)


@pytest.mark.parametrize("steps", [40, 300])
def test_a_slow_rest_behind_a_fast_start_goes_on_as_the_slow_one(steps: int) -> None:
    slow, fast, source = 0.97, 0.3, torch.tensor([0.1, 1.0], dtype=torch.float64)
    world = linear_world(torch.diag(torch.tensor([slow, fast], dtype=torch.float64)), steps, source)
    lags = torch.arange(5000, dtype=torch.float64)
    gains = torch.hypot(0.1 * slow**lags, fast**lags)
    wanted = int((gains.flip(0).cumsum(0).flip(0) > 0.01 * gains.sum()).sum())
    assert suggest_window(world).steps == wanted


@pytest.mark.parametrize("gain", [0.3, 0.85, 0.95])
def test_it_says_what_is_lost(gain: float) -> None:
    found = suggest_window(relu_world(gain, 60, torch.float64))
    assert found.lost == pytest.approx(gain**found.steps, rel=1e-6)


@pytest.mark.parametrize("gain", [1.05, 1.1, 1.5, 3.0])
def test_a_known_exponent_has_its_doubling_time(gain: float) -> None:
    found = suggest_window(relu_world(gain, 60))
    assert found.steps == max(1, round(math.log(2) / math.log(gain)))
    assert found.exponent == pytest.approx(math.log(gain), rel=1e-5)


def random_network(gain: float) -> nn.RNN:
    """Gaussian weights of deviation gain/√N, tanh, no input, as in docs/reproductions.md."""
    size = 200
    layer = nn.RNN(1, size, bias=False)
    with seeded(0), torch.no_grad():
        layer.weight_hh_l0.normal_(0, gain / math.sqrt(size))
    return layer


@pytest.mark.parametrize(("gain", "exponent"), [(1.5, 0.062), (2.0, 0.153), (3.0, 0.301)])
def test_a_chaotic_network_has_the_window_of_its_exponent(gain: float, exponent: float) -> None:
    layer, start = random_network(gain), normal(1, 2, 200, dtype=torch.float32)
    with tt.capture(layer) as run:
        layer(torch.zeros(300, 2, 1), start)[0].sum().backward()
    assert suggest_window(run.trace).steps == pytest.approx(math.log(2) / exponent, rel=0.35)


def rotation(angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]], dtype=torch.float64)


SAID = {
    "flat": (linear_world(rotation(0.7), 40, ONES), 40, "does not fade within the 40 steps"),
    "hardly fading": (relu_world(0.999, 40), 40, "does not fade within the 40 steps"),
    "gone at once": (linear_world(0 * EYE, 20, ONES), 1, "0.00% of the gradient lies beyond"),
    "fading": (linear_world(0.5 * EYE, 40, ONES), 7, "fades by 0.301 decades a step"),
    "carried on": (linear_world(0.9 * EYE, 20, ONES), 44, "carried on from the 20 steps"),
    "chaotic": (relu_world(2.0, 40), 1, "1 step: the largest Lyapunov exponent is +0.693 nats"),
}


@pytest.mark.parametrize("name", SAID)
def test_it_says_why(name: str) -> None:
    trace, steps, reason = SAID[name]
    found = suggest_window(trace)
    assert found.steps == steps
    assert reason in str(found)


def test_walls_do_not_hide_what_would_have_crossed_them() -> None:
    whole = linear_world(0.85 * EYE, 60, ONES)
    assert suggest_window(replace(whole, walls=(20, 40))) == suggest_window(whole)


def test_a_training_in_short_windows_is_told_of_a_longer_one() -> None:
    layer = tt.remedies.identity_(nn.RNN(2, 4, nonlinearity="relu"), 0.9)
    state, outputs = torch.ones(1, 1, 4), []
    with tt.capture(layer) as run:
        for x in torch.zeros(60, 1, 2).split(5):
            output, state = layer(x, state.detach())
            outputs.append(output)
        torch.cat(outputs).sum().backward()
    assert run.trace[0].walls
    assert suggest_window(run.trace).steps == geometric(0.9, 0.01)


def test_a_stack_is_taken_jointly() -> None:
    """A gradient that dies in the layer above goes back through the slower one below."""
    slow, fast, steps = 0.9, 0.5, 120
    model = nn.RNN(1, 4, num_layers=2, nonlinearity="relu", bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight_ih_l0.fill_(1.0)
        for weight, gain in (("hh_l0", slow), ("hh_l1", fast), ("ih_l1", 1.0)):
            getattr(model, f"weight_{weight}").copy_(gain * torch.eye(4))
    trace = captured(model, torch.ones(steps, 1, 1, dtype=torch.float64))
    lags = torch.arange(2000, dtype=torch.float64)
    below = (slow**lags - fast**lags) * slow / (slow - fast)  # Σ_i fast^i slow^(k − i), i < k
    gains = torch.hypot(fast**lags, below)
    beyond = gains.flip(0).cumsum(0).flip(0) / gains.sum()
    wanted = int((beyond > 0.01).sum())
    assert (suggest_window(trace).steps, suggest_window(trace, "rnn.l1").steps) == (wanted, 7)


def test_of_layers_that_are_no_stack_the_longest_window_is_taken() -> None:
    short, long = linear_world(0.5 * EYE, 60, ONES), linear_world(0.9 * EYE, 60, ONES)
    both = Trace((replace(short, name="short"), replace(long, name="long")))
    found = [suggest_window(both, name).steps for name in ("short", "long", None)]
    assert found == [7, 44, 44]


def test_a_marked_state_has_a_window_too() -> None:
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(0.5 * EYE)
    with tt.capture(model) as run:
        state = torch.zeros(3, 2)
        for x in normal(30, 3, 2, dtype=torch.float32):
            state = model(state) + x
            tt.mark(state, "state")
        state.sum().backward()
    found = suggest_window(run.trace)
    assert (found.steps, found.exponent) == (7, None)


REFUSED = {
    "no share": (lambda: suggest_window(relu_world(0.9, 9), share=0.0), "between 0 and 1, not 0.0"),
    "all of it": (lambda: suggest_window(relu_world(0.9, 9), share=1.0), "between 0 and 1"),
    "one step": (lambda: suggest_window(relu_world(0.9, 1)), "over at least 2 steps"),
    "no layer": (
        lambda: suggest_window(Trace((relu_world(0.9, 9),)), "nope"), "unknown layer 'nope'",
    ),
    "not finite": (
        lambda: suggest_window(linear_world(math.nan * EYE, 9, ONES)), "a finite gradient",
    ),
}  # fmt: skip  # rows of a table


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_answered_is_refused_in_a_sentence(name: str) -> None:
    ask, sentence = REFUSED[name]
    with pytest.raises(InputError, match=sentence):
        ask()
