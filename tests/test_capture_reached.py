"""What a capture reaches: kernels without a hook, scripts, lengths by layer; what observe keeps."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from cases import B, H, I, T, fill, normal
from torch import Tensor, nn
from torch.func import functional_call

import throughtime as tt


class OwnCall(nn.Module):
    """Its ``__call__`` is its own, and its kernel is called as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(I, H)

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        zero = x.new_zeros(1, x.shape[1], H)
        weights = self.rnn._flat_weights
        return torch._VF.lstm(x, (zero, zero), weights, True, 1, 0.0, True, False, False)[0]


WAYS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Tensor], Tensor], str]] = {
    "forward": (lambda: nn.LSTM(I, H), lambda m, x: m.forward(x)[0], "lstm"),
    "a cell's forward": (lambda: nn.GRUCell(I, H), lambda m, x: m.forward(x[0]), "grucell"),
    "own call": (OwnCall, lambda m, x: m(x), "rnn"),
    "functional": (
        lambda: nn.LSTM(I, H),
        lambda m, x: functional_call(m, dict(m.named_parameters()), (x,))[0],
        "lstm",
    ),
    "a cell of tt.cells": (
        lambda: nn.ModuleDict({"inner": tt.cells.MinGRU(I, H)}),
        lambda m, x: m["inner"].forward(x)[0],
        "inner",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_kernel_that_no_hook_announces_is_seen(way: str) -> None:
    make, run, name = WAYS[way]
    model = fill(make().double())
    trace = tt.observe(model, lambda: run(model, normal(T, B, I)).square().sum())
    assert trace.names == (name,)
    assert trace[0].verified is not None
    assert trace[0].verified < 1e-10


def test_a_kernel_of_another_model_is_not() -> None:
    model, other = fill(nn.GRU(I, H).double()), fill(nn.GRU(I, H).double())
    x = normal(T, B, I)
    trace = tt.observe(model, lambda: torch.sum(model(x)[0] * other.forward(x)[0]))
    assert trace.names == ("gru",)


class Reader(nn.Module):
    """A layer within a module, as a script takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(I, H)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


class Scripted(nn.Module):
    """A script before a layer."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.rnn = torch.jit.script(inner), nn.GRU(H, H)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.inner(x))[0]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_scripted_helper_is_fine_and_a_scripted_recurrence_is_noted() -> None:
    helper, half = Scripted(nn.Sequential(nn.Linear(I, H), nn.ReLU())), Scripted(Reader())
    x = normal(T, B, I).float()
    seen = [tt.observe(model, lambda m=model: m(x).square().sum()) for model in (helper, half)]
    assert [trace.names for trace in seen] == [("rnn",), ("rnn",)]
    assert [trace.run.get("part", False) for trace in seen] == [False, True]
    assert any("'inner' is a torch.jit script" in note for note in seen[1].notes)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_script_alone_is_refused_in_a_sentence() -> None:
    script, x = torch.jit.script(Reader()), normal(T, B, I).float()
    with pytest.raises(tt.NothingRecordedError, match=r"torch\.jit script"):
        tt.observe(script, lambda: script(x).square().sum())


class Translator(nn.Module):
    """An encoder of a padded batch, and a decoder of as many steps."""

    def __init__(self, bridge: bool) -> None:
        super().__init__()
        self.enc, self.dec = nn.GRU(I, H), nn.GRU(I, H)
        self.bridge = nn.Linear(H, H) if bridge else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.dec(x.flip(0), self.bridge(self.enc(x)[1]))[0]


LENGTHS = (T, T - 1, 2)


@pytest.mark.parametrize("bridge", [False, True])
def test_lengths_are_the_encoders_and_not_the_decoders(bridge: bool) -> None:
    model, x = fill(Translator(bridge)), normal(T, B, I).float()
    trace = tt.observe(model, lambda: model(x).square().sum(), lengths=LENGTHS)
    assert [layer.lengths for layer in trace] == [LENGTHS, None]
    assert any("lengths= was not given to layer 'dec'" in note for note in trace.notes)


def test_lengths_by_the_name_of_a_layer() -> None:
    model, x = fill(Translator(bridge=True)), normal(T, B, I).float()
    trace = tt.observe(model, lambda: model(x).square().sum(), lengths={"dec": LENGTHS})
    assert [layer.lengths for layer in trace] == [None, LENGTHS]
    with pytest.raises(tt.InputError, match="names a layer 'no'; choose from: 'enc', 'dec'"):
        tt.observe(model, lambda: model(x).square().sum(), lengths={"no": LENGTHS})


def test_observe_leaves_random_states_and_modes_as_they_were() -> None:
    model = nn.Sequential(nn.GRU(I, H), nn.Identity())
    model[1].eval()

    def closure() -> Tensor:
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002  — the global one is looked at
        model.train()
        return model[0](normal(T, B, I).float())[0].sum()

    mine = random.getstate()
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002  — the global one is looked at
    tt.observe(model, closure)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002  — the global one is looked at
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]
    assert any(draws_lead(mine, random.getstate()))
    assert (model.training, model[1].training) == (True, False)


def draws_lead(start: tuple[Any, ...], end: tuple[Any, ...]) -> Iterator[bool]:
    """Whether so many draws lead from one state to another: the tests' type checks draw a few."""
    generator = random.Random()
    generator.setstate(start)
    for _ in range(5000):
        yield generator.getstate() == end
        generator.getrandbits(32)
