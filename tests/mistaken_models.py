"""Models with one mistake each, as people make them; small enough to know the truth by hand."""

from collections.abc import Callable
from typing import Any

import torch
from ordinary_models import (
    CLASSES,
    LENGTHS,
    WORDS,
    B,
    Built,
    H,
    I,
    Net,
    T,
    ce,
    draw,
    head,
    net,
    pack,
    padded,
    tagging,
)
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import rnn


def read(layer: nn.Module, x: Tensor, index: Any, size: int = H) -> Built:
    """The head on ``index`` of the layer's output."""

    def run(m: Any) -> Tensor:
        scores = m.head(m.rnn(x)[0][index])
        return ce(scores.reshape(-1, CLASSES))

    return net(run, rnn=layer, head=head(size))


def zeros_of_a_packed_batch(bidirectional: bool = False) -> Built:
    x = padded()
    return net(
        lambda m: ce(m.head(rnn.pad_packed_sequence(m.lstm(pack(m, x))[0])[0][-1])),
        embed=nn.Embedding(WORDS, I, padding_idx=0),
        lstm=nn.LSTM(I, H, bidirectional=bidirectional),
        head=head(2 * H if bidirectional else H),
    )


def padding(dropout: float = 0.0, pad: int = 0, how: str = "last") -> Built:
    x = torch.where(padded() == 0, pad, padded())

    def run(m: Any) -> Tensor:
        out = m.lstm(functional.dropout(m.embed(x), dropout))[0]
        return ce(m.head(out[-1] if how == "last" else out.mean(0)))

    return net(run, embed=nn.Embedding(WORDS, 8), lstm=nn.LSTM(8, H), head=head())


def two_directions(layers: int, index: Any, batch_first: bool = False) -> Built:
    x = draw(B, T, I) if batch_first else draw(T, B, I)
    layer = nn.LSTM(I, H, layers, bidirectional=True, batch_first=batch_first)
    return read(layer, x, index, 2 * H)


def early_return() -> Built:
    """The loop over the batch returns in its first round."""
    x = draw(T, B, I)

    def run(m: Any) -> Tensor:
        scores = m.head(m.rnn(x)[0][-1])
        for row in scores:
            return ce(row.unsqueeze(0))
        raise AssertionError

    return net(run, rnn=nn.GRU(I, H), head=head())


def held_in(container: Callable[[nn.Module], Any], read: Callable[[Any], nn.Module]) -> Built:
    x = draw(T, B, I)
    model, closure = net(lambda m: ce(m.head(read(m)(x)[0][-1])), head=head())
    vars(model)["layers"] = container(nn.GRU(I, H))
    return model, closure


def made_in_forward() -> Built:
    x = draw(T, B, I)
    return net(lambda m: ce(m.head(nn.GRU(I, H)(x)[0][-1])), head=head())


def frozen() -> Built:
    x = draw(T, B, I)
    return net(
        lambda m: ce(m.head(m.lstm(m.before(x))[0][-1])),
        before=nn.Linear(I, I),
        lstm=nn.LSTM(I, H).requires_grad_(False),
        head=head(),
    )


def unread_encoder(detached: bool) -> Built:
    x, target = draw(T, B, I), draw(8, B, I)

    def run(m: Any) -> Tensor:
        state = m.encoder(x)[1]
        start = state.detach() if detached else torch.zeros_like(state)
        return ce(m.head(m.decoder(target, start)[0][-1]))

    return net(run, encoder=nn.GRU(I, H), decoder=nn.GRU(I, H), head=head())


def dead_relu() -> Built:
    x = draw(T, B, I)
    model, closure = net(
        lambda m: ce(m.head(m.lstm(x)[0][-1] + torch.relu(m.side(x[-1]) - 99))),
        lstm=nn.LSTM(I, H),
        side=nn.Linear(I, H),
        head=head(),
    )
    return model, closure


def unused() -> Built:
    model, closure = read(nn.LSTM(I, H), draw(T, B, I), -1)
    model.other = nn.Sequential(nn.Linear(H, H), nn.ReLU(), nn.Linear(H, 2))
    return model, closure


def written(write: Callable[[Any], None]) -> Built:
    x = draw(T, B, I)

    def run(m: Any) -> Tensor:
        write(m.rnn)
        return ce(m.head(m.rnn(x)[0][-1]))

    return net(run, rnn=nn.RNN(I, H), head=head())


def scale_in_place(m: Any) -> None:
    with torch.no_grad():
        m.weight_hh_l0.mul_(0.9)


def new_parameter(m: Any) -> None:
    m.weight_hh_l0 = nn.Parameter(m.weight_hh_l0.detach() * 0.5)


def loaded(m: Any) -> None:
    m.load_state_dict({name: value * 0.5 for name, value in m.state_dict().items()})


def broken(before: Callable[[Tensor], Tensor]) -> Built:
    """The function ``before`` of a scale that starts at 0 stands before the layer."""
    x = draw(T, B, I)
    model = Net(
        lambda m: ce(m.head(m.rnn(x + before(m.scale))[0][-1])), rnn=nn.RNN(I, H), head=head()
    )
    model.register_parameter("scale", nn.Parameter(torch.zeros(I)))
    return model, model


LAST, FIRST = (slice(None), -1), (slice(None), 0)
# name -> (what it is, the layer or parameter that is named, words of the sentence)
Case = tuple[Callable[[], Built], str, tuple[str, ...]]
PARTIAL: dict[str, Case] = {
    "reverse, last step": (
        lambda: two_directions(1, -1), "rnn.reverse", ("1 of 12 inputs", "h_n[-2]")
    ),
    "reverse, last step, batch first": (
        lambda: two_directions(1, LAST, True), "rnn.reverse", ("1 of 12 inputs", "h_n")
    ),
    "reverse of the upper layer": (
        lambda: two_directions(2, -1), "rnn.l1.reverse", ("1 of 12 inputs",)
    ),
    "forward, first step": (
        lambda: read(nn.LSTM(I, H), draw(T, B, I), 0), "rnn", ("first step", "1 of 12 inputs")
    ),
    "both directions, first step": (
        lambda: two_directions(1, 0), "rnn", ("first step", "1 of 12 inputs")
    ),
    "the first steps": (
        lambda: read(nn.LSTM(I, H), draw(T, B, I), slice(0, 4)), "rnn", ("at most 4 of 12",)
    ),
    "the last steps of both directions": (
        lambda: two_directions(1, slice(9, None)), "rnn.reverse", ("at most 3 of 12",)
    ),
    "one sequence": (early_return, "rnn", ("1 of 6 sequences", "only sequence 0")),
    "a sequence in the middle": (
        lambda: read(nn.GRU(I, H), draw(T, B, I), (-1, slice(3, 4))), "rnn",
        ("1 of 6 sequences", "only sequence 3"),
    ),
    "half of the batch": (
        lambda: read(nn.GRU(I, H), draw(T, B, I), (-1, slice(0, 3))), "rnn",
        ("3 of 6 sequences", "sequences 0 to 2"),
    ),
    "one sequence, batch first": (
        lambda: read(nn.GRU(I, H, batch_first=True), draw(B, T, I), -1), "rnn",
        ("1 of 6 sequences", "only sequence 5"),
    ),
    "zeros of a packed batch": (
        zeros_of_a_packed_batch, "lstm", ("2 of 6 sequences", "full 12 steps", "h_n")
    ),
    "zeros of a packed bidirectional batch": (
        lambda: zeros_of_a_packed_batch(True), "lstm", ("2 of 6 sequences", "h_n")
    ),
    "padding, with lengths": (
        lambda: (*padding(), LENGTHS), "lstm", ("4 of 6 sequences", "lengths − 1")
    ),
    "padding, mean, with lengths": (
        lambda: (*padding(how="mean"), LENGTHS), "lstm", ("4 of 6 sequences", "Mask the loss")
    ),
    "padding, constant": (padding, "lstm", ("4 of 6 sequences", "no longer changes")),
    "padding, another token": (lambda: padding(pad=3), "lstm", ("4 of 6", "Give lengths=")),
    "padding, dropped out": (lambda: padding(0.3), "lstm", ("of 6 sequences", "no longer changes")),
    "tags of padding": (
        lambda: (*tagging(ignored=False), LENGTHS), "lstm", ("4 of 6 sequences", "Mask the loss")
    ),
}  # fmt: skip  # a table
SWAPPED: dict[str, Case] = {
    "batch first, out[-1]": (
        lambda: read(nn.GRU(I, H, batch_first=True), draw(B, T, I), -1), "rnn",
        ("batch_first=True", "6 sequences of 12 steps", "sequence 5", "out[:, -1]"),
    ),
    "batch first, out[0]": (
        lambda: read(nn.LSTM(I, H, batch_first=True), draw(B, T, I), 0), "rnn",
        ("batch_first=True", "sequence 0", "out[:, 0]"),
    ),
    "as long as many": (
        lambda: read(nn.GRU(I, H, batch_first=True), draw(T, T, I), -1), "rnn", ("sequence 11",)
    ),
    "time first, given (batch, time), out[:, -1]": (
        lambda: read(nn.LSTM(I, H), draw(B, T, I), LAST), "rnn",
        ("12 sequences of 6 steps", "sequence 11", "set batch_first=True"),
    ),
    "time first, out[:, -1]": (
        lambda: read(nn.RNN(I, H), draw(T, B, I), LAST), "rnn",
        ("6 sequences of 12 steps", "out[-1] is the last step"),
    ),
    "bidirectional": (lambda: two_directions(1, -1, True), "rnn", ("sequence 5",)),
    "two layers": (lambda: two_directions(2, -1, True), "rnn", ("sequence 5",)),
}  # fmt: skip  # a table
DEAD: dict[str, Case] = {
    "in a list": (
        lambda: held_in(lambda one: [one], lambda m: m.layers[0]), "gru",
        ("not registered", "'layers'", "4 parameters", "nn.ModuleList"),
    ),
    "in a dictionary": (
        lambda: held_in(lambda one: {"a": one}, lambda m: m.layers["a"]), "gru",
        ("not registered", "'layers'"),
    ),
    "made in forward": (made_in_forward, "gru", ("not registered", "inside forward")),
    "frozen": (frozen, "lstm", ("'lstm' is frozen", "4 parameters")),
    "an encoder that nobody reads": (
        lambda: unread_encoder(False), "encoder", ("'encoder' ran", "4 parameters", "no gradient")
    ),
    "an encoder behind detach": (
        lambda: unread_encoder(True), "encoder", ("'encoder' ran", "detach()")
    ),
    "a ReLU that is off": (dead_relu, "side", ("exactly 0", "2 parameters of 'side'")),
    "a head that does not run": (unused, "other", ("'other' did not run", "4 parameters")),
}  # fmt: skip  # a table
CHANGED: dict[str, Case] = {
    "in place": (lambda: written(scale_in_place), "rnn.weight_hh_l0", ("writes into",)),
    ".data": (
        lambda: written(lambda m: m.weight_hh_l0.data.mul_(0.5)), "rnn.weight_hh_l0", (".data",)
    ),
    "load_state_dict": (lambda: written(loaded), "rnn.weight_ih_l0", ("and 1 more",)),
    "a new parameter": (
        lambda: written(new_parameter), "rnn.weight_hh_l0", ("new parameter", "optimizer")
    ),
}  # fmt: skip  # a table
BROKEN: dict[str, Case] = {
    "sqrt": (lambda: broken(torch.sqrt), "scale", ("'scale' is NaN", "through sqrt")),
    "sqrt of a square": (
        lambda: broken(lambda one: one.square().sqrt()), "scale", ("through pow, sqrt",)
    ),
    "power": (lambda: broken(lambda one: one.abs().pow(0.5)), "scale", ("through", "pow")),
    "where": (
        lambda: broken(lambda one: torch.where(one > 0, one.log(), 0 * one)), "scale", ("log",)
    ),
}  # fmt: skip  # a table
