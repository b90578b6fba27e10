"""Ω against loops in float64 whose constants are detached, and on worlds where it is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from cases import fill, normal, weighed
from torch import Tensor, nn

from throughtime.cells import JANET, AntisymmetricRNN
from throughtime.errors import InputError
from throughtime.problem import Problem
from throughtime.remedies.regularisation import Omega
from throughtime.training import train

T, B, I, H = 6, 3, 3, 4
EXACT = {"rtol": 1e-10, "atol": 1e-12}
KINDS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM, "JANET": JANET}


def step(layer: nn.Module, x: Tensor, pushed: Tensor, state: Tensor) -> Tensor:
    """One step from ``pushed`` = W_hh h + b_hh, the state (h, c) as one vector."""
    if isinstance(layer, JANET):
        driven = nn.functional.linear(x, layer.weight_ih_l0, layer.bias_l0)
        forget, candidate = (driven + pushed).chunk(2, -1)
        write = torch.sigmoid(layer.settings["beta"] - forget)
        return forget.sigmoid() * state + write * candidate.tanh()
    driven = nn.functional.linear(x, layer.weight_ih_l0, layer.bias_ih_l0)
    if isinstance(layer, nn.GRU):
        reset, update = torch.sigmoid(driven[:, : 2 * H] + pushed[:, : 2 * H]).chunk(2, -1)
        candidate = torch.tanh(driven[:, 2 * H :] + reset * pushed[:, 2 * H :])
        return (1 - update) * candidate + update * state
    if isinstance(layer, nn.LSTM):
        i, f, g, o = (driven + pushed).chunk(4, -1)
        c = f.sigmoid() * state[:, H:] + i.sigmoid() * g.tanh()
        return torch.cat([o.sigmoid() * c.tanh(), c], -1)
    return torch.tanh(driven + pushed)


def slow(layer: nn.Module, x: Tensor, squared: bool) -> tuple[Tensor, Tensor]:
    """Ω and its immediate derivative by W_hh, by autograd with all else detached."""
    size = 2 * H if isinstance(layer, nn.LSTM) else H
    bias = getattr(layer, "bias_hh_l0", None)
    state = x.new_zeros(B, size)
    states, befores = [], []
    for row in x:
        before = state.clone()
        pushed = nn.functional.linear(before[:, :H], layer.weight_hh_l0, bias)
        state = step(layer, row, pushed, before)
        state.retain_grad()
        states.append(state)
        befores.append(before)
    weighed(torch.stack(states)[..., :H], 3).backward()
    weight = layer.weight_hh_l0.detach().requires_grad_()
    terms = []
    for row, before, after in zip(x, befores, states, strict=True):
        held = before.detach().requires_grad_()
        pushed = (
            nn.functional.linear(held[:, :H].detach(), weight.detach(), bias)
            .detach()
            .requires_grad_()
        )
        entering, kept = torch.autograd.grad(
            step(layer, row, pushed, held),
            (pushed, held),
            after.grad,
            materialize_grads=True,
            allow_unused=True,
        )
        through = nn.functional.pad(entering @ weight, (0, size - H))
        ratio = (kept + through).square().sum(-1) / after.grad.square().sum(-1)
        terms.append((ratio - 1).square() if squared else (ratio.sqrt() - 1).square())
    omega = torch.stack(terms).mean()
    return omega.detach(), torch.autograd.grad(omega, weight)[0]


def made(kind: str, **settings: object) -> nn.Module:
    return fill(KINDS[kind](I, H, **settings).double(), scale=2)


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient_are_those_of_the_slow_reference(kind: str, squared: bool) -> None:
    layer, plain, x = made(kind), made(kind), normal(T, B, I)
    omega = Omega(weight=0.7, squared=squared)
    omega(layer, lambda: weighed(layer(x)[0], 3))
    weighed(plain(x)[0], 3).backward()
    value, gradient = slow(made(kind), x, squared)
    assert omega.value == pytest.approx(float(value), rel=1e-10)
    expected = dict(plain.named_parameters())
    for name, parameter in layer.named_parameters():
        more = 0.7 * gradient if name == "weight_hh_l0" else 0.0
        torch.testing.assert_close(parameter.grad, expected[name].grad + more, **EXACT)


def shifting(gain: float) -> nn.RNN:
    """A ReLU network that hands its units on in a circle, all of them active: J = gain · P."""
    layer = nn.RNN(1, H, nonlinearity="relu").double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(0.0)
        layer.bias_ih_l0.fill_(1.0)
        layer.weight_hh_l0.copy_(gain * torch.eye(H).double().roll(1, 0))
    return layer


def last(layer: nn.RNN, steps: int) -> Tensor:
    """A loss on the last step, without input."""
    return layer(torch.zeros(steps, 1, 1).double())[0][-1].sum()


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("gain", [0.5, 1.0, 1.2])
def test_on_a_scaled_rotation_it_is_known(gain: float, squared: bool) -> None:
    layer, omega = shifting(gain), Omega(squared=squared)
    omega(layer, lambda: last(layer, 5))
    expected = (gain**2 - 1) ** 2 if squared else (gain - 1) ** 2
    assert omega.value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_it_does_not_depend_on_the_size_of_the_loss(scale: float) -> None:
    values = []
    for factor in (1.0, scale):
        layer, omega = made("RNN").float(), Omega(bound=0.0)
        x = normal(T, B, I, dtype=torch.float32)
        omega(layer, lambda layer=layer, x=x, factor=factor: factor * layer(x)[0][-1].sum())
        values.append(omega.value)
    assert values[1] == pytest.approx(values[0], rel=1e-5)


def test_a_gradient_below_the_bound_counts_for_nothing() -> None:
    layer = shifting(0.1)
    omega = Omega(bound=1e-3)  # ‖δ‖² = 4, 4e-2, 4e-4, 4e-6: the first two count, and are alike
    omega(layer, lambda: last(layer, 4))
    assert omega.value == pytest.approx(0.99**2)


def test_a_loop_of_single_steps_is_one_run() -> None:
    x, whole, looped = normal(T, B, I), made("RNN"), made("RNN")

    def in_a_loop() -> Tensor:
        state, outputs = None, []
        for row in x:
            output, state = looped(row.unsqueeze(0), state)
            outputs.append(output)
        return weighed(torch.cat(outputs), 3)

    of_whole, of_looped = Omega(), Omega()
    of_whole(whole, lambda: weighed(whole(x)[0], 3))
    of_looped(looped, in_a_loop)
    assert of_looped.value == pytest.approx(of_whole.value)
    torch.testing.assert_close(looped.weight_hh_l0.grad, whole.weight_hh_l0.grad, **EXACT)


def test_layers_and_directions_add_up() -> None:
    layer, omega = made("GRU", num_layers=2, bidirectional=True), Omega()
    omega(layer, lambda: weighed(layer(normal(T, B, I))[0], 3))
    alone = made("GRU", num_layers=2, bidirectional=True)
    weighed(alone(normal(T, B, I))[0], 3).backward()
    differ = {
        name
        for (name, one), other in zip(layer.named_parameters(), alone.parameters(), strict=True)
        if not torch.allclose(one.grad, other.grad, rtol=1e-9, atol=1e-12)
    }
    assert differ == {name for name, _ in alone.named_parameters() if name.startswith("weight_hh")}


def test_descending_it_alone_makes_steps_keep_the_length_of_the_gradient() -> None:
    layer, omega = shifting(0.5), Omega(weight=1e9, bound=0.0)
    descent = torch.optim.Adam([layer.weight_hh_l0], lr=0.02)
    values = []
    for _ in range(100):
        descent.zero_grad()
        omega(layer, lambda: last(layer, 10))
        descent.step()
        values.append(omega.value)
    assert values[0] > 0.5
    assert values[-1] < 1e-3


def sums() -> Problem:
    """The sum of the first inputs, by a small RNN."""

    def batches(seed: int):
        draw = torch.Generator().manual_seed(seed)
        while True:
            yield torch.randn(T, B, 1, generator=draw)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.read = nn.RNN(1, H), nn.Linear(H, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.read(self.rnn(x)[0][-1])

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        return (model(x) - x[0]).square().mean()

    return Problem("sums", fill(Net()), batches, loss, span=T)


def test_as_the_backward_of_a_problem_it_is_trained_with() -> None:
    plain, other = sums(), replace(sums(), backward=Omega(weight=2.0))
    train(plain, steps=3)
    train(other, steps=3)
    assert not torch.equal(plain.model.rnn.weight_hh_l0, other.model.rnn.weight_hh_l0)
    assert other.backward.value > 0


def on_a_cell() -> object:
    cell = nn.RNNCell(I, H)
    return Omega()(cell, lambda: cell(torch.zeros(B, I)).sum())


def on_an_antisymmetric_layer() -> object:
    layer = AntisymmetricRNN(I, H)
    return Omega()(layer, lambda: weighed(layer(normal(T, B, I).float())[0], 3))


REFUSED: dict[str, Callable[[], object]] = {
    "weight is -1": lambda: Omega(-1),
    "bound is nan": lambda: Omega(bound=math.nan),
    "no layer with a recurrent matrix ran in the loss of this RNNCell": on_a_cell,
    "of type AntisymmetricRNN the state is not multiplied": on_an_antisymmetric_layer,
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_does_not_fit_is_refused(sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        REFUSED[sentence]()
