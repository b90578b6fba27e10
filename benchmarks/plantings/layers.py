"""Plantings in fused layers: input, each weight, each bias, initial state, overflow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plantings.models import (
    FUSED,
    SAMPLE,
    STEP,
    B,
    H,
    I,
    Packed,
    Reader,
    T,
    data,
    put,
)
from benchmarks.plantings.planting import Case, Planting

Wrap = Callable[[nn.RNNBase, Tensor], tuple[nn.Module, Callable[[], Tensor]]]


def plantings() -> Iterator[Planting]:
    """All of this file."""
    for kind in FUSED:
        yield from _inputs(kind)
        yield from _weights(kind)
        yield from _states(kind)
    yield from _overflows()


def _case(model: nn.Module, x: Tensor, *more: Any) -> Case:
    return Case(model, lambda: model(x, *more).float().square().mean())


def _inputs(kind: str) -> Iterator[Planting]:
    def plain(value: float, batch_first: bool) -> Callable[[int], Case]:
        def make(_: int) -> Case:
            x = data(batch_first=batch_first)
            put(x, (SAMPLE, STEP, 0) if batch_first else (STEP, SAMPLE, 0), value)
            return _case(Reader(FUSED[kind](I, H, batch_first=batch_first)), x)

        return make

    def reverse(_: int) -> Case:
        x = data()
        put(x, (STEP, SAMPLE, 0))
        model = FUSED[kind](I, H, bidirectional=True)
        return Case(model, lambda: model(x)[0][..., H:].square().mean())

    def packed(_: int) -> Case:
        x = data()
        put(x, (STEP, SAMPLE, 0))
        return _case(Packed(FUSED[kind](I, H), [4, T, 7]), x)

    place = {"time_step": STEP, "sample": SAMPLE, "pass": "forward", "feature": 0}
    yield Planting(f"{kind}, NaN", "input", plain(math.nan, False), "bad input", place, "rnn")
    yield Planting(f"{kind}, inf", "input", plain(math.inf, True), "bad input", place, "rnn")
    layer = FUSED[kind](1, 1).mode.split("_")[0].lower()  # both directions read it: this one first
    yield Planting(f"{kind}, read backwards", "input", reverse, "bad input", place, layer)
    yield Planting(f"{kind}, packed", "input", packed, "bad input", place, "rnn")


def _weights(kind: str) -> Iterator[Planting]:
    def make(name: str, **more: Any) -> Callable[[int], Case]:
        def made(seed: int) -> Case:
            model = Reader(FUSED[kind](I, H, **more))
            weight = getattr(model.rnn, name)
            put(weight, seed % len(weight), math.inf if seed % 3 == 0 else math.nan)
            return _case(model, data())

        return made

    options: list[tuple[str, str, dict[str, Any]]] = [
        ("weight_ih_l0", "rnn", {}),
        ("weight_hh_l0", "rnn", {}),
        ("bias_ih_l0", "rnn", {}),
        ("bias_hh_l0", "rnn", {}),
        ("bias_hh_l1", "rnn.l1", {"num_layers": 2}),
        ("weight_hh_l0_reverse", "rnn.reverse", {"bidirectional": True}),
    ]
    for name, layer, more in options:
        label = name.split("_l")[0]
        step = T - 1 if layer.endswith("reverse") else 0
        holds = {"parameter": f"rnn.{name}", "time_step": step, "pass": "forward"}
        said = (f"{label} is not finite",)
        yield Planting(
            f"{kind}, {name}", "weight", make(name, **more), "bad weight", holds, layer, said
        )


def _states(kind: str) -> Iterator[Planting]:
    def made(_: int) -> Case:
        state = torch.zeros(1, B, H)
        put(state, (0, SAMPLE, 2))
        given = (torch.zeros(1, B, H), state) if kind == "LSTM" else state
        return _case(Reader(FUSED[kind](I, H)), data(), given)

    place = {"time_step": 0, "sample": SAMPLE, "pass": "forward"}
    yield Planting(kind, "initial state", made, "bad initial state", place, "rnn")


def _overflows() -> Iterator[Planting]:
    def growing(dtype: torch.dtype, gain: float) -> Callable[[int], Case]:
        def make(_: int) -> Case:
            rnn = nn.RNN(I, H, nonlinearity="relu", bias=False).to(dtype)
            with torch.no_grad():
                rnn.weight_hh_l0.copy_(gain * torch.eye(H, dtype=dtype))
                rnn.weight_ih_l0.fill_(1.0)
            model, x = Reader(rnn), torch.ones(T, B, I, dtype=dtype)
            return Case(model, lambda: model(x)[:2].square().mean())

        return make

    def large_input(_: int) -> Case:
        rnn, x = nn.RNN(I, H, nonlinearity="relu"), data()
        put(x, (STEP, SAMPLE), 3e38)
        with torch.no_grad():
            rnn.weight_ih_l0.fill_(2.0)
        return _case(Reader(rnn), x)

    def backwards(_: int) -> Case:
        rnn = nn.RNN(I, H, nonlinearity="relu", bias=False)
        with torch.no_grad():
            rnn.weight_hh_l0.copy_(1e4 * torch.eye(H))
            rnn.weight_ih_l0.zero_()
        state, x, model = torch.full((1, B, H), 1e-36), torch.zeros(16, B, I), Reader(rnn)
        return Case(model, lambda: model(x, state)[-1].sum() * 1e-20)

    for dtype, gain in (
        (torch.float16, 20),
        (torch.float32, 1e6),
        (torch.float64, 1e40),
        (torch.bfloat16, 1e7),
    ):
        name = str(dtype)[6:]
        holds = {"pass": "forward", "product": "W_hh h", "dtype": name}
        unsaid = tuple({"float32", "float64", "float16", "bfloat16"} - {name, "float16"})
        unsaid = tuple(word for word in unsaid if word not in name)
        yield Planting(
            f"growth in {name}", "overflow", growing(dtype, gain), "overflow", holds, "rnn",
            (name, "W_hh h overflows"), unsaid,
        )  # fmt: skip  # what belongs together, on one line
    holds = {"time_step": STEP, "sample": SAMPLE, "product": "W_ih x"}
    yield Planting("large input", "overflow", large_input, "overflow", holds, "rnn", ("W_ih x",))
    yield Planting(
        "on the way back", "overflow", backwards, "overflow", {"pass": "backward"}, "rnn"
    )
