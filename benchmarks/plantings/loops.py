"""Plantings in loops: between the calls, in two cells with feedback, in marked recurrences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plantings.models import (
    CELLS,
    SAMPLE,
    STEP,
    Feedback,
    H,
    I,
    Loop,
    Marked,
    T,
    data,
    put,
)
from benchmarks.plantings.planting import Case, Planting


def plantings() -> Iterator[Planting]:
    """All of this file."""
    for kind in CELLS:
        yield from _between(kind)
        yield from _cells(kind)
    yield from _feedback()
    yield from _marked()


def _case(model: nn.Module, x: Tensor) -> Case:
    return Case(model, lambda: model(x).square().mean())


def _spoilt(t: int, h: Tensor) -> Tensor:
    return h * (math.nan if t == STEP else 0.9)


def _masked(t: int, h: Tensor) -> Tensor:
    """One sequence of the batch, and the others go on as they are."""
    if t != STEP:
        return h
    mask = torch.zeros_like(h)
    mask[SAMPLE] = math.inf
    return h + mask


def _between(kind: str) -> Iterator[Planting]:
    def make(between: Callable[[int, Tensor], Tensor], mark: bool = False) -> Callable[[int], Case]:
        return lambda _: _case(Loop(CELLS[kind](I, H), between, mark=mark), data())

    def norm(_: int) -> Case:
        layer = nn.LayerNorm(H)
        put(layer.weight, 2)
        model = Loop(CELLS[kind](I, H), lambda t, h: layer(h) if t == STEP else h * 0.9)
        model.norm = layer
        return _case(model, data())

    holds = {"after_step": STEP, "layer_called": "cell", "pass": "forward"}
    said = ("between the calls of layer 'cell'", f"after step {STEP}")
    for name, made in {
        "all": make(_spoilt),
        "one sequence": make(_masked),
        "marked": make(_spoilt, mark=True),
    }.items():
        yield Planting(f"{kind}, {name}", "between calls", made, "between calls", holds, "", said)
    more = {**holds, "parameter": "norm.weight"}
    yield Planting(f"{kind}, a norm", "between calls", norm, "between calls", more, "", said)


def _cells(kind: str) -> Iterator[Planting]:
    def bias(name: str, mark: bool) -> Callable[[int], Case]:
        def make(_: int) -> Case:
            model = Loop(CELLS[kind](I, H), mark=mark)
            put(getattr(model.cell, name), 1)
            return _case(model, data())

        return make

    def input_of_a_step(_: int) -> Case:
        x = data()
        put(x, (STEP, SAMPLE, 3))
        return _case(Loop(CELLS[kind](I, H), lambda _, h: h * 0.9), x)

    def made_before(_: int) -> Case:
        model = Loop(CELLS[kind](I, H), before=lambda t, x: x / (0.0 if t == STEP else 1.0) - x)
        return _case(model, data())

    for name, mark in (("bias_ih", False), ("bias_hh", True)):
        holds = {"parameter": f"cell.{name}", "time_step": 0}
        said = (f"{name} is not finite",)
        yield Planting(
            f"{kind}, {name}", "cell", bias(name, mark), "bad weight", holds, "cell", said
        )
    place = {"time_step": STEP, "sample": SAMPLE, "feature": 3}
    yield Planting(f"{kind}, input of a step", "cell", input_of_a_step, "bad input", place)
    yield Planting(
        f"{kind}, input made", "model", made_before, "model", {"time_step": STEP}, "cell",
        unsaid=("data",),
    )  # fmt: skip  # what belongs together, on one line


def _feedback() -> Iterator[Planting]:
    def make(change: Callable[[Feedback, Tensor], None]) -> Callable[[int], Case]:
        def made(_: int) -> Case:
            model, x = Feedback(), data()
            change(model, x)
            return _case(model, x)

        return made

    def upper(model: Feedback, _: Tensor) -> None:
        put(model.upper.bias_hh, 0)

    def lower(model: Feedback, _: Tensor) -> None:
        put(model.lower.weight_hh, 0)

    def given(_: Feedback, x: Tensor) -> None:
        put(x, (STEP, SAMPLE, 0))

    place: dict[str, Any] = {"time_step": 0, "parameter": "upper.bias_hh"}
    yield Planting("upper cell", "feedback", make(upper), "bad weight", place, "upper")
    place = {"time_step": 0, "parameter": "lower.weight_hh"}
    yield Planting("lower cell", "feedback", make(lower), "bad weight", place, "lower")
    place = {"time_step": STEP, "sample": SAMPLE}
    yield Planting("input", "feedback", make(given), "bad input", place, "lower")


def _marked() -> Iterator[Planting]:
    def make(
        change: Callable[[Marked, Tensor], None] = lambda *_: None,
        after: Callable[[int, Tensor], Tensor] | None = None,
    ) -> Callable[[int], Case]:
        def made(_: int) -> Case:
            model, x = Marked(after), data()
            change(model, x)
            return _case(model, x)

        return made

    def own(model: Marked, _: Tensor) -> None:
        put(model.w, (0, 0))

    def frozen(model: Marked, _: Tensor) -> None:
        put(model.w, (0, 0))
        model.w.requires_grad_(False)

    def inner(model: Marked, _: Tensor) -> None:
        put(model.inner.bias, 0)

    def given(_: Marked, x: Tensor) -> None:
        put(x, (STEP, SAMPLE, 0))

    def squares(_: int) -> Case:
        return _case(Marked(squash=lambda h: (h.abs() + 10) ** 2), data())

    def root(t: int, h: Tensor) -> Tensor:
        return (h - h.detach()).abs().sqrt() + h if t == STEP else h

    first = {"time_step": 0, "pass": "forward"}
    weight = {**first, "parameter": "w"}
    yield Planting("own parameter", "marked", make(own), "bad weight", weight, "mine")
    yield Planting("frozen parameter", "marked", make(frozen), "bad weight", weight, "mine")
    weight = {**first, "parameter": "inner.bias"}
    yield Planting("parameter of a module", "marked", make(inner), "bad weight", weight, "mine")
    place = {"time_step": STEP, "sample": SAMPLE}
    yield Planting("input", "marked", make(given), "bad input", place, "mine")
    place = {"time_step": STEP, "pass": "forward"}
    yield Planting("operation", "marked", make(after=_spoilt), "not known", place, "mine")
    yield Planting("squares", "marked", squares, "overflow", {"pass": "forward"}, "mine")
    back = {"pass": "backward"}
    yield Planting(
        "root of 0 on the way back", "marked", make(after=root), "not known", back, "mine"
    )


assert STEP < T
