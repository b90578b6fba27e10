"""Plantings around the recurrence: in a module before or behind it, in the loss, in the padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.plantings.models import FUSED, SAMPLE, STEP, H, I, Packed, Reader, T, data, put
from benchmarks.plantings.planting import Case, Planting


class Scaled(nn.Module):
    """A module with an operation, and no module, of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """0/0."""
        return x / (x - x)


class ByKeyword(nn.Module):
    """A model that hands its input on by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Reader(nn.GRU(I, H))

    def forward(self, x: Tensor) -> Tensor:
        """The same."""
        output: Tensor = self.inner(x=x * 1.0)
        return output


def plantings() -> Iterator[Planting]:
    """All of this file."""
    yield from _before()
    yield from _elsewhere()
    yield from _loss()
    yield from _padding()


def _case(model: nn.Module, x: Tensor) -> Case:
    return Case(model, lambda: model(x).square().mean())


def _linear(index: object = 0) -> nn.Linear:
    layer = nn.Linear(I, I)
    put(layer.weight, index)
    return layer


def _before() -> Iterator[Planting]:
    def make(front: Callable[[], Callable[[Tensor], Tensor]], kind: str) -> Callable[[int], Case]:
        return lambda _: _case(Reader(FUSED[kind](I, H), front()), data())

    def two() -> nn.Module:
        return nn.Sequential(nn.Linear(I, I), nn.Tanh(), _linear())

    def frozen() -> nn.Module:
        return _linear().requires_grad_(False)

    def norm() -> nn.Module:
        layer = nn.BatchNorm1d(3)
        put(layer.running_var, 0)
        return layer.eval()

    def operation() -> Callable[[Tensor], Tensor]:
        return lambda x: torch.log(x - x)

    unsaid = ("the data given",)
    for kind in FUSED:
        holds = {"parameter": "front.weight", "time_step": 0}
        yield Planting(
            f"linear, {kind}", "model", make(_linear, kind), "model", holds, "rnn", unsaid=unsaid
        )
    holds = {"parameter": "front.2.weight"}
    yield Planting(
        "third of a Sequential", "model", make(two, "GRU"), "model", holds, "rnn", unsaid=unsaid
    )
    holds = {"parameter": "front.weight"}
    yield Planting(
        "frozen linear", "model", make(frozen, "GRU"), "model", holds, "rnn", unsaid=unsaid
    )
    holds = {"parameter": "front.running_var"}
    yield Planting(
        "buffer of a norm", "model", make(norm, "GRU"), "model", holds, "rnn", unsaid=unsaid
    )
    holds = {"module": "front"}
    yield Planting(
        "module without weights",
        "model",
        make(Scaled, "LSTM"),
        "model",
        holds,
        "rnn",
        unsaid=unsaid,
    )
    yield Planting(
        "operation",
        "model",
        make(operation, "RNN"),
        "model",
        {"time_step": 0},
        "rnn",
        unsaid=unsaid,
    )


def _elsewhere() -> Iterator[Planting]:
    """What is not in a front: outside of the model, in its data, in a state."""

    def infinite(_: int) -> Case:
        model = Reader(nn.LSTM(I, H), nn.Linear(I, I))
        with torch.no_grad():
            model.front.weight.fill_(3e38)  # type: ignore[union-attr]  # a Linear, just above
        return _case(model, data())

    def outside(_: int) -> Case:
        net, x = Reader(nn.RNN(I, H), nn.Linear(I, I)), data()
        return Case(net, lambda: net.rnn(net.front(x) / 0.0 * 0.0)[0].square().mean())

    def by_keyword(_: int) -> Case:
        x = data()
        put(x, (STEP, SAMPLE, 0))
        return _case(ByKeyword(), x)

    def embedded(_: int) -> Case:
        table = nn.Embedding(9, I)
        put(table.weight, 3)
        words = torch.zeros(T, 3, dtype=torch.long)
        words[STEP, SAMPLE] = 3
        return _case(Reader(nn.GRU(I, H), table), words)

    def learned_state(_: int) -> Case:
        model = Reader(nn.GRU(I, H))
        model.start = nn.Parameter(torch.zeros(1, 1, H))
        put(model.start, (0, 0, 1))
        x = data()
        return Case(model, lambda: model(x, model.start.expand(1, 3, H).contiguous()).sum())

    unsaid = ("the data given",)
    yield Planting(
        "overflow of a linear",
        "model",
        infinite,
        "model",
        {"module": "front"},
        "rnn",
        unsaid=unsaid,
    )
    holds = {"after_module": "front"}
    yield Planting("outside of the model", "model", outside, "model", holds, "rnn", unsaid=unsaid)
    place = {"time_step": STEP, "sample": SAMPLE}
    yield Planting("data by keyword", "input", by_keyword, "bad input", place, "inner.rnn")
    holds = {**place, "parameter": "front.weight"}
    yield Planting("row of an embedding", "model", embedded, "model", holds, "rnn", unsaid=unsaid)
    holds = {"time_step": 0}
    yield Planting(
        "learned state", "initial state", learned_state, "bad initial state", holds, "rnn"
    )


def _loss() -> Iterator[Planting]:
    def log_of_zero(kind: str) -> Callable[[int], Case]:
        def make(_: int) -> Case:
            model, x = Reader(FUSED[kind](I, H)), data()

            def closure() -> Tensor:
                output = model(x)
                return output.sum() + (output[STEP, SAMPLE] * 0).sum().log()

            return Case(model, closure)

        return make

    def target(_: int) -> Case:
        model, x, y = Reader(nn.LSTM(I, H)), data(), torch.zeros(T, 3, H)
        y[STEP, SAMPLE, 0] = math.nan
        return Case(model, lambda: (model(x) - y).square().mean())

    def head(_: int) -> Case:
        model = Reader(nn.GRU(I, H), head=nn.Linear(H, 2))
        put(model.head.bias, 0)  # type: ignore[union-attr]  # a Linear, just above
        return _case(model, data())

    place = {"time_step": STEP, "sample": SAMPLE, "pass": "backward"}
    for kind in FUSED:
        yield Planting(f"log 0, {kind}", "loss", log_of_zero(kind), "bad loss", place, "rnn")
    yield Planting("NaN in a target", "loss", target, "bad loss", place, "rnn")
    holds = {"parameter": "head.bias", "pass": "backward"}
    yield Planting("bias of the head", "loss", head, "model", holds, "rnn")


def _padding() -> Iterator[Planting]:
    lengths = [T, 4, 7]

    def padded() -> Tensor:
        x = data()
        for sample, length in enumerate(lengths):
            put(x, (slice(length, None), sample))
        return x

    def ahead(kind: str) -> Callable[[int], Case]:
        def make(_: int) -> Case:
            model, x = Reader(FUSED[kind](I, H)), padded()

            def closure() -> Tensor:
                output = model(x)
                return torch.stack([output[n - 1, b] for b, n in enumerate(lengths)]).sum()

            return Case(model, closure, lengths)

        return make

    def backwards(_: int) -> Case:
        model, x = nn.GRU(I, H, bidirectional=True), padded()
        return Case(model, lambda: model(x)[0][0, :, H:].square().sum(), lengths)

    def packed(_: int) -> Case:
        model, x = Packed(nn.LSTM(I, H), lengths), padded()
        return Case(model, lambda: model(x).sum())

    def unsaid(_: int) -> Case:
        model, x = Reader(nn.GRU(I, H)), padded()
        return Case(model, lambda: model(x)[0].square().sum())

    for kind in FUSED:
        # ReLU hands no NaN back; the gradient of W_ih has it all the same.
        holds = {"pass": "forward" if kind == "RNN relu" else "backward"}
        yield Planting(f"ahead, {kind}", "padding", ahead(kind), "padding", holds, "rnn")
    holds = {"pass": "forward"}
    yield Planting("read backwards", "padding", backwards, "padding", holds, "gru.reverse")
    yield Planting("packed", "padding", packed, "", clean=True)
    place = {"time_step": 4, "sample": 1}
    said = ("if they are padding",)
    yield Planting("without lengths", "padding", unsaid, "bad input", place, "rnn", said)
