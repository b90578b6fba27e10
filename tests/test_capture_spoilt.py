"""Records that a program spoils: right all the same, or not used, with the reason."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from cases import B, H, I, T, fill, normal, weighed
from reference import assert_same, unrolled
from torch import Tensor, nn

import throughtime as tt
from throughtime.diagnosis.mistakes.spoilt_record import KOREAN
from throughtime.recording.passages import HOOKED, IN_PLACE, MIXED, SKIPPED

EXACT = 1e-10
LAYERS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
CELLS = {"RNN": nn.RNNCell, "GRU": nn.GRUCell, "LSTM": nn.LSTMCell}


class Read(nn.Module):
    """A layer whose output is changed by ``change`` before it is read."""

    def __init__(self, kind: str, change: Callable[[Tensor], Tensor], **settings: bool) -> None:
        super().__init__()
        self.layer, self.change = LAYERS[kind](I, H, **settings), change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.layer(x)[0])


def in_place(out: Tensor) -> Tensor:
    out.mul_(3).add_(1)
    return nn.functional.dropout(out.relu_(), 0.0, inplace=True)


def scaled_by_a_hook(out: Tensor) -> Tensor:
    out.register_hook(lambda gradient: gradient * 0.1)
    return out


@pytest.mark.parametrize("settings", [{}, {"bidirectional": True}, {"batch_first": True}], ids=str)
@pytest.mark.parametrize("change", [in_place, scaled_by_a_hook])
@pytest.mark.parametrize("kind", LAYERS)
def test_what_is_done_to_an_output_is_no_part_of_the_record(
    kind: str, change: Callable[[Tensor], Tensor], settings: dict[str, bool]
) -> None:
    def make() -> nn.Module:
        return fill(Read(kind, change, **settings).double(), scale=1.5)

    model, (loops, walks) = make(), unrolled(make())
    with tt.capture(model) as run:
        weighed(model(normal(T, B, I)), 3).backward()
    weighed(loops(normal(T, B, I)), 3).backward()
    assert_same(run.trace, walks, EXACT)
    assert not any(layer.spoilt for layer in run.trace)


class Loop(nn.Module):
    """A cell in a loop; ``hand_on`` makes the next state from the new and the old one."""

    def __init__(self, kind: str, hand_on: Callable[[int, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.cell, self.hand_on, self.kind = CELLS[kind](I, H), hand_on, kind

    def forward(self, x: Tensor) -> Tensor:
        zero = x.new_zeros(B, H)
        state = (zero, zero) if self.kind == "LSTM" else (zero,)
        for t, step in enumerate(x):
            new = self.cell(step, state if self.kind == "LSTM" else state[0])
            new = new if self.kind == "LSTM" else (new,)
            pairs = zip(new, state, strict=True)
            state = tuple(self.hand_on(t, after, before) for after, before in pairs)
        return state[0].square().sum()


def hooked(_: int, after: Tensor, __: Tensor) -> Tensor:
    after.register_hook(lambda gradient: gradient * 0.5)
    return after


def watched(_: int, after: Tensor, __: Tensor) -> Tensor:
    after.register_hook(lambda _: None)
    return after


def leaky(_: int, after: Tensor, before: Tensor) -> Tensor:
    return 0.3 * after + 0.7 * before


def skipping(t: int, after: Tensor, before: Tensor) -> Tensor:
    return torch.where(torch.tensor([[True], [t % 3 != 1], [True]]), after, before)


def ending(t: int, after: Tensor, before: Tensor) -> Tensor:
    return torch.where(torch.tensor([[True], [t < 2], [t < 4]]), after, before)


# Where the graph is gone when it is read, as after ``optimizer.step()``, a state that is mixed or
# held between the steps is measured as the loop that hands it on.
WAYS = {hooked: "", leaky: "", skipping: "", watched: "", ending: ""}


@pytest.mark.parametrize("hand_on", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", CELLS)
def test_a_state_that_the_record_does_not_follow(
    kind: str, hand_on: Callable[[int, Tensor, Tensor], Tensor]
) -> None:
    model = fill(Loop(kind, hand_on).double())
    with tt.capture(model) as run:
        model(normal(T, B, I)).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.5)
    trace = run.trace
    assert trace["cell"].spoilt == WAYS[hand_on]
    assert (trace["cell"].kind == "loop") is (hand_on in (leaky, skipping))
    assert trace["cell"].steps == T
    told = [one for one in tt.diagnose(trace, 2).findings if one.disease == "spoilt record"]
    assert [one.evidence["reason"] for one in told] == [WAYS[hand_on]] * bool(WAYS[hand_on])


def test_an_input_changed_in_place_spoils_the_record() -> None:
    model, x = nn.GRU(I, H), normal(T, B, I).float()

    def closure() -> Tensor:
        model(x)[0].sum().backward()
        return x.zero_()

    trace = tt.observe(model, closure)
    assert trace["gru"].spoilt == IN_PLACE


@pytest.mark.parametrize("reason", [HOOKED, MIXED, SKIPPED, IN_PLACE])
def test_every_reason_is_told_in_korean(reason: str) -> None:
    assert reason in KOREAN


def test_another_threads_calls_are_not_mixed_in() -> None:
    model = fill(nn.GRU(I, H).double())
    x = normal(T, B, I)

    def alone() -> tt.Trace:
        return tt.observe(model, lambda: model(x)[0].square().sum())

    stop = threading.Event()

    def other() -> None:
        while not stop.is_set():
            model(x[:3] * 2)

    wanted = alone()
    thread = threading.Thread(target=other)
    thread.start()
    try:
        seen = [alone() for _ in range(20)]
    finally:
        stop.set()
        thread.join()
    assert all(trace.names == ("gru",) for trace in seen)
    assert all(torch.equal(trace[0].gradients, wanted[0].gradients) for trace in seen)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_closure_that_trains(kind: str) -> None:
    """Three updates within the block: each pass with the weights that it had."""

    def train(model: nn.Module) -> None:
        optimizer = torch.optim.SGD(model.parameters(), 0.5)
        for n in range(3):
            optimizer.zero_grad()
            weighed(model(normal(T, B, I, seed=n)), 3).backward()
            optimizer.step()

    def make() -> nn.Module:
        return fill(Read(kind, lambda out: out).double(), scale=1.5)

    model, (loops, walks) = make(), unrolled(make())
    with tt.capture(model) as run:
        train(model)
    train(loops)
    assert_same(run.trace, walks, EXACT, {"layer": [[0], [1], [2]]})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", CELLS)
def test_half_precision_is_swept_in_float32(kind: str, dtype: torch.dtype) -> None:
    def rate(model: Loop, x: Tensor) -> float:
        return tt.diagnose(tt.observe(model, lambda: model(x).float()), 40).layers[0].rate or 0.0

    model = fill(Loop(kind, lambda _, after, __: after), scale=0.6).to(dtype)
    x = normal(48, B, I).to(dtype)
    seen = rate(model, x)
    np.testing.assert_allclose(seen, rate(model.float(), x.float()), rtol=0.02)
