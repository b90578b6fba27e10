"""The auxiliary reconstruction loss: what it adds, what it learns, and that it can be resumed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cases import fill, normal, weighed
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from throughtime.cells import JANET
from throughtime.errors import InputError
from throughtime.problem import Problem
from throughtime.remedies.regularisation import Flossing, Omega, Reconstruction
from throughtime.training import train

T, B, I, H = 9, 4, 3, 5
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def made(kind: type[nn.Module] = nn.GRU, **settings: object) -> nn.Module:
    return fill(kind(I, H, **settings).double(), scale=2)


def told_by_hand(
    reconstruction: Reconstruction, length: int, draw: torch.Generator, states: Tensor, x: Tensor
) -> Tensor:
    """The term, one sequence after another, with the decoder that is in ``reconstruction``."""
    weights = reconstruction.state_dict()["decoders"][0]
    size = len(weights["start.weight"])
    gru = nn.GRU(I, size).double()
    own = {name.removeprefix("layer."): w for name, w in weights.items() if "layer." in name}
    gru.load_state_dict(own)
    ends = torch.rand(B, generator=draw, dtype=torch.float64) * (T - length + 1)
    anchors = length - 1 + ends.long()
    starts = torch.rand(B, generator=draw, dtype=torch.float64) * (anchors - length + 2)
    errors = []
    for b, (anchor, start) in enumerate(zip(anchors.tolist(), starts.long().tolist(), strict=True)):
        assert start + length - 1 <= anchor
        first = torch.tanh(
            nn.functional.linear(states[anchor, b], weights["start.weight"], weights["start.bias"])
        )
        before = torch.cat([torch.zeros(1, I).double(), x[:, b]])[start : start + length]
        found = gru(before, first.unsqueeze(0))[0]
        found = nn.functional.linear(found, weights["tell.weight"], weights["tell.bias"])
        errors.append((found - x[start : start + length, b]).square())
    return torch.stack(errors).mean()


@pytest.mark.parametrize("length", [1, 4, 20])
def test_loss_and_gradient_are_those_of_the_term_by_hand(length: int) -> None:
    layer, plain, x = made(), made(), normal(T, B, I)
    reconstruction = Reconstruction(length, weight=0.3, lr=0.0, size=6, seed=5)
    loss = reconstruction(layer, lambda: weighed(layer(x)[0], 3))
    draw = torch.Generator().manual_seed(5)
    states = plain(x)[0]
    expected = weighed(states, 3)
    term = told_by_hand(reconstruction, min(length, T), draw, states, x)
    (expected + 0.3 * term).backward()
    assert reconstruction.value == pytest.approx(term.item())
    torch.testing.assert_close(loss, expected.detach(), **CLOSE)
    for one, other in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, **CLOSE)


def test_a_weight_of_0_leaves_the_gradient_of_the_loss() -> None:
    layer, plain, x = made(nn.LSTM), made(nn.LSTM), normal(T, B, I)
    Reconstruction(4, weight=0)(layer, lambda: weighed(layer(x)[0], 3))
    weighed(plain(x)[0], 3).backward()
    for one, other in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, **CLOSE)


def test_the_state_learns_to_tell_what_was_read() -> None:
    layer, draw = fill(nn.GRU(1, 16)), torch.Generator().manual_seed(0)
    reconstruction, values = Reconstruction(3, lr=0.01, anchors=4, size=16), []
    descent = torch.optim.Adam(layer.parameters(), lr=0.01)
    for _ in range(250):
        x = torch.randn(6, 32, 1, generator=draw)
        descent.zero_grad()
        reconstruction(layer, lambda x=x: 0 * layer(x)[0].sum())
        descent.step()
        values.append(reconstruction.value)
    # The input has variance 1: what a decoder gets that knows nothing.
    assert values[0] > 0.9
    assert sum(values[-20:]) / 20 < 0.6


@pytest.mark.parametrize(
    ("make", "decoders"),
    [
        (lambda: made(num_layers=2, bidirectional=True), 2),
        (lambda: made(nn.LSTM, num_layers=3), 1),
        (lambda: made(JANET, num_layers=2), 1),
    ],
    ids=["two directions", "three layers", "ours"],
)
def test_the_lowest_layers_of_a_stack_are_asked(
    make: Callable[[], nn.Module], decoders: int
) -> None:
    layer, reconstruction = make(), Reconstruction(4)
    reconstruction(layer, lambda: weighed(layer(normal(T, B, I))[0], 3))
    assert len(reconstruction.state_dict()["decoders"]) == decoders


def test_padding_is_never_told() -> None:
    layer, lengths = made(), (T, 5, 3, 2)
    x = torch.full((T, B, I), 7.0).double()
    reconstruction = Reconstruction(2, lr=0.0, anchors=20)
    packed = pack_padded_sequence(x, torch.tensor(lengths))
    reconstruction(layer, lambda: weighed(layer(packed)[0].data, 3))
    # Every input is 7, and a decoder that has learned nothing tells less than 1 of it.
    assert 6**2 < reconstruction.value < 8**2


def test_it_goes_on_from_its_state_dict_bit_for_bit() -> None:
    layer, x = made(), normal(T, B, I)
    one, other = Reconstruction(4), Reconstruction(4, seed=9)
    one(layer, lambda: weighed(layer(x)[0], 3))
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    values = []
    for reconstruction in (one, other):
        for _ in range(2):
            reconstruction(layer, lambda: weighed(layer(x)[0], 3))
        values.append(reconstruction.value)
    assert values[0] == values[1]


class Last(nn.Module):
    """What the last state says."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.read = nn.RNN(1, H), nn.Linear(H, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.layer(x)[0][-1])


def batches(seed: int) -> Iterator[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(T, B, 1, generator=draw)


def first_input(model: nn.Module, x: Tensor) -> Tensor:
    return (model(x) - x[0]).square().mean()


def recalling() -> Problem:
    problem = Problem("recall", fill(Last()), batches, first_input, span=T)
    return replace(problem, backward=Reconstruction(4, lr=0.01))


def test_a_training_that_was_resumed_is_the_one_that_was_not(tmp_path: Path) -> None:
    whole, resumed = recalling(), recalling()
    train(whole, 8)
    train(resumed, 5, run=tmp_path / "run", checkpoint_every=5)
    again = recalling()
    train(again, 8, run=tmp_path / "run", resume=True)
    for one, other in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert again.backward.value == whole.backward.value


def test_its_repr_makes_it_again() -> None:
    for one in (Reconstruction(7, 0.5), Omega(4.0), Flossing(3, burn_in=2)):
        assert repr(eval(repr(one))) == repr(one)  # noqa: S307  — our own repr


def on_a_cell() -> object:
    cell = nn.GRUCell(I, H)
    return Reconstruction()(cell, lambda: cell(torch.zeros(B, I)).sum())


def on_another_model() -> object:
    reconstruction = Reconstruction()
    for layer in (nn.GRU(I, H), nn.LSTM(I, H)):
        reconstruction(layer, lambda layer=layer: layer(torch.zeros(T, B, I))[0].sum())
    return reconstruction


REFUSED: dict[str, Callable[[], object]] = {
    "length is 0": lambda: Reconstruction(0),
    "lr is nan": lambda: Reconstruction(lr=float("nan")),
    "no recurrent layer ran over two steps or more": on_a_cell,
    "take one Reconstruction for each model": on_another_model,
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_does_not_fit_is_refused(sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        REFUSED[sentence]()
