"""Flossing: its gradient against autograd through loops with Jacobians, and what it does."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from cases import fill, normal, weighed
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import throughtime as tt
from throughtime.cells import make_cell
from throughtime.errors import InputError
from throughtime.problem import seeded
from throughtime.recurrences import Driven
from throughtime.remedies.regularisation import Flossing, floss_
from throughtime.sweeps import random_frame

T, B, I, H, K, BURN_IN = 14, 2, 3, 4, 3, 3
TORCHS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
OURS = ["janet", "antisymmetric", "lem", "cornn", "lru", "orthogonal"]
CLOSE = {"rtol": 1e-8, "atol": 1e-10}


def make(name: str, **settings: object) -> nn.Module:
    with seeded(0):
        if name in TORCHS:
            return fill(TORCHS[name](I, H, **settings).double(), scale=2)
        return make_cell(name, I, H, **settings).double()


def step_of(layer: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """One step (S) of one sequence, in operations that autograd can go through twice."""
    if not isinstance(layer, nn.RNNBase):
        weights = layer.weights_of("_l0")
        given = [weights.get(name) for name in layer.recurrence.names]
        cell: Driven = layer.recurrence(*given, **layer.settings)
        return lambda state, x: cell.step(state.unsqueeze(0), x.unsqueeze(0))[0]

    def step(state: Tensor, x: Tensor) -> Tensor:
        h = state[:H]
        driven = layer.weight_ih_l0 @ x + layer.bias_ih_l0
        pushed = layer.weight_hh_l0 @ h + layer.bias_hh_l0
        if isinstance(layer, nn.GRU):
            reset, update = torch.sigmoid(driven[: 2 * H] + pushed[: 2 * H]).chunk(2)
            candidate = torch.tanh(driven[2 * H :] + reset * pushed[2 * H :])
            return (1 - update) * candidate + update * h
        if isinstance(layer, nn.LSTM):
            i, f, g, o = (driven + pushed).chunk(4)
            c = f.sigmoid() * state[H:] + i.sigmoid() * g.tanh()
            return torch.cat([o.sigmoid() * c.tanh(), c])
        return torch.tanh(driven + pushed)

    return step


def slow(layer: nn.Module, x: Tensor, size: int, interval: int, through_states: bool) -> Tensor:
    """The exponents (B K) of single sequences, one Jacobian after another."""
    step, found = step_of(layer), []
    for b in range(x.shape[1]):
        state = x.new_zeros(size)
        columns = random_frame(K, 1, size)[:, 0].T
        logs = []
        for t, row in enumerate(x[:, b]):
            jacobian = torch.autograd.functional.jacobian(
                lambda s, row=row: step(s, row),
                state if through_states else state.detach(),
                create_graph=True,
            )
            state = step(state, row)
            columns = jacobian @ columns
            if (t + 1 - BURN_IN) % interval == 0 or t == len(x) - 1 or t + 1 == BURN_IN:
                columns, r = torch.linalg.qr(columns)
                if t >= BURN_IN:
                    logs.append(r.diagonal().abs().log())
        found.append(torch.stack(logs).sum(0) / (len(x) - BURN_IN))
    return torch.stack(found)


@pytest.mark.parametrize(("interval", "through_states"), [(1, True), (3, True), (3, False)])
@pytest.mark.parametrize("name", [*TORCHS, *OURS])
def test_exponents_and_gradients_are_those_of_the_slow_reference(
    name: str, interval: int, through_states: bool
) -> None:
    layer, loops, x = make(name), make(name), normal(T, B, I)
    start = x.clone().requires_grad_()
    flossing = Flossing(
        K,
        weight=0.5,
        target=-0.1,
        burn_in=BURN_IN,
        interval=interval,
        through_states=through_states,
    )
    flossing(layer, lambda: weighed(layer(start)[0], 3))
    _, final = loops(x)
    parts = final if isinstance(final, tuple) else (final,)
    size = sum(part.shape[-1] for part in parts)
    slow_start = x.clone().requires_grad_()
    expected = slow(loops, slow_start, size, interval, through_states)
    loss = weighed(loops(slow_start)[0], 3)
    (loss + 0.5 * (expected + 0.1).square().mean()).backward()
    torch.testing.assert_close(
        torch.tensor(flossing.exponents[0], dtype=torch.float64), expected.mean(0).detach(), **CLOSE
    )
    torch.testing.assert_close(start.grad, slow_start.grad, **CLOSE)
    for one, other in zip(layer.parameters(), loops.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, **CLOSE)


def driven(gain: float) -> nn.RNN:
    """A tanh network with Gaussian weights, in float64: a training magnifies what is rounded."""
    layer, size = nn.RNN(2, 24, dtype=torch.float64), 24
    with torch.no_grad():
        layer.weight_hh_l0.copy_(normal(size, size, seed=0) * gain / size**0.5)
        layer.weight_ih_l0.copy_(normal(size, 2, seed=1) / 2)
        layer.bias_ih_l0.zero_()
        layer.bias_hh_l0.zero_()
    return layer


def leading(layer: nn.RNN) -> float:
    """Its first exponent on data of its own, by the measure."""
    x = normal(400, 4, 2, seed=99)
    with tt.capture(layer) as run:
        layer(x)[0].sum().backward()
    layer.zero_grad()
    return float(tt.measures.lyapunov(run.trace, k=1).values[0, 0])


@pytest.mark.parametrize(
    ("gain", "steps", "low", "high", "left"),
    [
        # A chaotic network magnifies what a processor rounds: 0.18 became 0.05 to 0.09.
        (3.0, 200, 0.1, 0.4, 0.75),
        (0.5, 60, -1.1, -0.6, 0.1),
    ],
)
def test_exponents_are_brought_to_0_from_either_side(
    gain: float, steps: int, low: float, high: float, left: float
) -> None:
    layer, draw = driven(gain), torch.Generator().manual_seed(4)
    before = leading(layer)
    floss_(
        layer,
        lambda: layer(torch.randn(40, 64, 2, generator=draw, dtype=torch.float64)),
        steps=steps,
        flossing=Flossing(1, burn_in=15, sequences=64),
    )
    assert low < before < high
    assert abs(leading(layer)) < left * abs(before)


def test_flossing_before_training_says_what_it_did_and_touches_nothing_else() -> None:
    model = nn.Sequential(nn.Linear(I, I), make("GRU")).double()
    x = normal(T, B, I)
    model[0].weight.grad = torch.ones(I, I, dtype=torch.float64)
    held, before = model[0].weight.grad, copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    done = floss_(model, lambda: model(x), steps=3, k=2)
    after = model.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {name for name in before if name.startswith("1.")}
    assert model[0].weight.grad is held
    assert model[1].weight_hh_l0.grad is None
    assert torch.equal(torch.get_rng_state(), state)
    assert sum(abs(v) for v in done.after[0]) < sum(abs(v) for v in done.before[0])


def test_every_layer_and_direction_has_its_exponents() -> None:
    layer, flossing = make("LSTM", num_layers=2, bidirectional=True), Flossing(K, burn_in=0)
    flossing(layer, lambda: weighed(layer(normal(T, B, I))[0], 3))
    assert [len(each) for each in flossing.exponents] == [K] * 4


def test_padding_does_not_count() -> None:
    layer, lengths, x = make("RNN"), (T, 11), normal(T, 2, I)
    packed, alone = Flossing(K, burn_in=1), Flossing(K, burn_in=1)
    packed(layer, lambda: weighed(layer(pack_padded_sequence(x, torch.tensor(lengths)))[0].data, 3))
    found = []
    for b, length in enumerate(lengths):
        alone(layer, lambda b=b, length=length: layer(x[:length, b : b + 1])[0].sum())
        found.append(torch.tensor(alone.exponents[0]))
    expected = torch.stack(found).mean(0).tolist()
    assert packed.exponents[0] == pytest.approx(expected, rel=1e-6)


def test_a_direction_that_is_lost_leaves_a_gradient_that_is_finite() -> None:
    layer = fill(nn.RNN(I, H, nonlinearity="relu").double(), scale=2)
    with torch.no_grad():
        layer.bias_ih_l0[0] = -100.0  # a dead unit
    flossing = Flossing(H, burn_in=0, interval=1)
    flossing(layer, lambda: weighed(layer(normal(T, B, I))[0], 3))
    assert flossing.exponents[0][-1] < -100
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_in_chaos_the_way_through_the_states_is_left_out() -> None:
    x, found = normal(60, 2, 2), {}
    for choice in (None, False, True):
        layer = driven(3.0)
        Flossing(1, through_states=choice)(layer, lambda layer=layer: 0 * layer(x)[0].sum())
        found[choice] = layer.weight_hh_l0.grad
    torch.testing.assert_close(found[None], found[False])
    assert found[True].norm() > 10 * found[False].norm()


def test_it_is_taken_on_the_first_sequences_alone() -> None:
    layer, x = make("GRU"), normal(T, B, I)
    some, alone = Flossing(K, burn_in=0, sequences=1), Flossing(K, burn_in=0)
    some(layer, lambda: weighed(layer(x)[0], 3))
    alone(layer, lambda: weighed(layer(x[:, :1])[0], 3))
    assert some.exponents[0] == pytest.approx(alone.exponents[0])


def test_a_weight_of_0_leaves_the_gradient_of_the_loss() -> None:
    layer, plain, x = make("LSTM"), make("LSTM"), normal(T, B, I)
    loss = Flossing(K, weight=0, burn_in=0)(layer, lambda: weighed(layer(x)[0], 3))
    expected = weighed(plain(x)[0], 3)
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), **CLOSE)
    for one, other in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, **CLOSE)


def calling_backward() -> object:
    layer = make("RNN")
    return floss_(layer, lambda: layer(normal(T, B, I))[0].sum().backward(), steps=2)


def of_few_steps() -> object:
    layer = make("RNN")
    return Flossing()(layer, lambda: weighed(layer(normal(11, B, I))[0], 3))


def on_a_linear_layer() -> object:
    layer = nn.Linear(I, H)
    return Flossing()(layer, lambda: layer(torch.zeros(B, I)).sum())


REFUSED: dict[str, Callable[[], object]] = {
    "k is 0": lambda: Flossing(0),
    "weight is nan": lambda: Flossing(weight=float("nan")),
    "closure called backward": calling_backward,
    "type RNN ran over 11 steps, 2 of them burn-in": of_few_steps,
    "no recurrent layer ran in the loss of this Linear": on_a_linear_layer,
    "no recurrent layer in this Linear has a weight": lambda: floss_(nn.Linear(2, 2), int),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_does_not_fit_is_refused(sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        REFUSED[sentence]()
