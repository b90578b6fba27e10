"""Which call goes on from which, and what lies between, whatever values coincide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from cases import B, H, I, fill, normal
from torch import Tensor, nn

import throughtime as tt
from throughtime.measures.lags import LagSweep
from throughtime.sweeps import lag_norms
from throughtime.trace import LayerTrace

T, EXACT = 8, 1e-9
CELLS = {"RNN": nn.RNNCell, "GRU": nn.GRUCell, "LSTM": nn.LSTMCell}
State = tuple[Tensor, ...]


class Loop(nn.Module):
    """A cell in a loop, with ``between`` on its state before every step but the first."""

    def __init__(self, kind: str, between: Callable[[Loop, int, State], State]) -> None:
        super().__init__()
        self.kind, self.between = kind, between
        self.cell, self.other = CELLS[kind](I, H), nn.GRUCell(I, H)
        self.norm, self.bridge, self.batch_norm = (
            nn.LayerNorm(H),
            nn.Linear(H, H),
            nn.BatchNorm1d(H),
        )
        self.states: list[State] = []
        fill(self.double(), scale=1.5)

    def forward(self, x: Tensor) -> Tensor:
        state = (x.new_zeros(B, H),) * (2 if self.kind == "LSTM" else 1)
        self.states = []
        for t, step in enumerate(x):
            state = self.between(self, t, state) if t else state
            after = self.cell(step, state if self.kind == "LSTM" else state[0])
            state = after if self.kind == "LSTM" else (after,)
            # As coordinates: h is not made from the very c that goes on.
            state = tuple(part.clone() for part in state)
            self.states.append(state)
        return state[0].square().sum()


def every(change: Callable[[Loop, int, Tensor], Tensor]) -> Callable[[Loop, int, State], State]:
    return lambda loop, t, state: tuple(change(loop, t, part) for part in state)


def only_h(change: Callable[[Loop, int, Tensor], Tensor]) -> Callable[[Loop, int, State], State]:
    return lambda loop, t, state: (change(loop, t, state[0]), *state[1:])


def hooked(_: Loop, __: int, part: Tensor) -> Tensor:
    part.register_hook(lambda gradient: 0.3 * gradient)
    return part


CROSSED = torch.tensor([[1.0, 0, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 1], [0, 2, 0, 0]]).double()
OWN = {
    "norm": every(lambda loop, _, part: loop.norm(part)),
    "norm of h": only_h(lambda loop, _, part: loop.norm(part)),
    "linear": only_h(lambda loop, _, part: loop.bridge(part)),
    "another cell": only_h(lambda loop, t, part: loop.other(normal(B, I, seed=t), part)),
    "units moved": every(lambda _, t, part: part[:, torch.arange(H).roll(t)]),
    "units crossed": every(lambda _, __, part: part @ CROSSED),
    "softmax": every(lambda _, __, part: torch.softmax(part, -1)),
    "half detached": every(lambda _, __, part: 0.5 * part + 0.5 * part.detach()),
    "hook": every(hooked),
}
MIXED = {
    "rows swapped": every(lambda _, __, part: part[[1, 0, 2]]),
    "rows swapped by slices": every(lambda _, __, part: torch.cat([part[1:], part[:1]])),
    "rows gathered": every(lambda _, t, part: part[[t % 2, 0, 0]]),
    "swapped and normalised": every(lambda loop, _, part: loop.norm(part[[2, 1, 0]])),
    "mean of the batch": every(lambda _, __, part: 0.7 * part + 0.3 * part.mean(0)),
    "norm over the batch": only_h(lambda loop, _, part: loop.batch_norm(part)),
}


def captured(model: nn.Module, closure: Callable[[], Tensor]) -> tt.Trace:
    with tt.capture(model) as run:
        closure().backward()
    return run.trace


def autograds(model: Loop) -> np.ndarray:
    """log10 norms of what the last step's loss sends to every state (T B)."""
    loss = model(normal(T, B, I))
    ends = [part for part in model.states[-1] if part.requires_grad]
    sent = torch.autograd.grad(
        loss, ends, retain_graph=True, materialize_grads=True, allow_unused=True
    )
    rows = []
    for state in model.states:
        found = torch.autograd.grad(
            ends, state, sent, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        rows.append(torch.cat(found, -1).norm(dim=-1))
    with np.errstate(divide="ignore"):
        return torch.stack(rows).log10().numpy()


def swept(layer: LayerTrace) -> np.ndarray:
    """The same from the trace, by sequence also where the sequences are mixed."""
    return lag_norms(layer.linear, layer.direct[-1:], [layer.steps - 1])[0, 0].numpy()


@pytest.mark.parametrize("name", {**OWN, **MIXED})
@pytest.mark.parametrize("kind", CELLS)
def test_any_linear_map_between_the_steps_is_followed(kind: str, name: str) -> None:
    between = {**OWN, **MIXED}[name]
    model, twin = Loop(kind, between), Loop(kind, between)
    layer = captured(model, lambda: model(normal(T, B, I)))["cell"]
    assert (layer.steps, layer.fragments, layer.spoilt) == (T, 1, "")
    assert layer.verified is not None
    assert layer.verified < EXACT
    np.testing.assert_allclose(swept(layer), autograds(twin), rtol=0, atol=EXACT)
    mixed = name in MIXED
    assert LagSweep.run(layer).norms.shape[-1] == (1 if mixed else B)


def agents(detached: bool, count: int, same: bool) -> tt.Trace:
    cell = fill(nn.GRUCell(I, H).double())
    start = nn.Parameter(normal(H))
    model = nn.ModuleDict({"cell": cell, "p": nn.ParameterList([start])})

    def closure() -> Tensor:
        states = [start.expand(B, H)] * count
        total = torch.zeros((), dtype=torch.float64)
        for t in range(T):
            for n in range(count):
                x = normal(B, I, seed=t if same or not t else t + 100 * n)
                states[n] = cell(x, states[n].detach() if detached and t else states[n])
                total = total + states[n].square().sum()
        return total

    return captured(model, closure)


@pytest.mark.parametrize("same", [True, False], ids=["equal values", "equal first values"])
@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("count", [2, 9, 40])
def test_sequences_in_lock_step_are_as_many(count: int, detached: bool, same: bool) -> None:
    trace = agents(detached, count, same)
    assert [layer.steps for layer in trace] == [T] * count
    assert {layer.walls for layer in trace} == {tuple(range(1, T)) if detached else ()}
    for layer in trace:
        assert layer.verified is not None
        assert layer.verified < EXACT


def test_marks_in_lock_step_are_as_many() -> None:
    weight = nn.Parameter(normal(H, H))

    def closure() -> Tensor:
        states = [torch.zeros(B, H, dtype=torch.float64)] * 9
        for t in range(T):
            for n in range(9):
                states[n] = torch.tanh(states[n] @ weight + normal(B, H, seed=t))
                tt.mark(states[n], "agent")
        return torch.stack(states).square().sum()

    trace = tt.observe(nn.ParameterList([weight]), closure)
    assert [layer.steps for layer in trace] == [T] * 9


def test_a_cell_called_with_zeros_twice_begins_anew() -> None:
    cell = fill(nn.RNNCell(I, H, bias=False).double())

    def closure() -> Tensor:
        ends = []
        for _ in range(2):
            state = cell(torch.zeros(B, I, dtype=torch.float64), torch.zeros(B, H).double())
            for t in range(3):
                state = cell(normal(B, I, seed=t), state)
            ends.append(state)
        return torch.stack(ends).square().sum()

    (layer,) = captured(nn.ModuleList([cell]), closure)
    assert layer.starts is not None
    assert layer.starts.all(1).nonzero().flatten().tolist() == [4]


def test_a_fork_is_a_sequence_of_its_own() -> None:
    cell = fill(nn.GRUCell(I, H).double())

    def closure() -> Tensor:
        trunk = cell(normal(B, I), torch.zeros(B, H).double())
        left = cell(normal(B, I, seed=2), trunk)
        right = cell(normal(B, I, seed=2), trunk)
        for t in range(3):
            left, right = cell(normal(B, I, seed=t), left), cell(normal(B, I, seed=t), right)
        return (left * right).sum()

    assert [layer.steps for layer in captured(nn.ModuleList([cell]), closure)] == [5, 4]


def zoneout(t: int, after: Tensor, before: Tensor) -> Tensor:
    keep = (normal(B, H, seed=200 + t) > 0).double()
    return keep * before + (1 - keep) * after


def leaky(_: int, after: Tensor, before: Tensor) -> Tensor:
    return 0.3 * after + 0.7 * before


def skipping(t: int, after: Tensor, before: Tensor) -> Tensor:
    return torch.where(torch.tensor([[True], [t % 3 != 1], [True]]), after, before)


class Kept(nn.Module):
    """A cell whose new state is mixed with the old one between the steps."""

    def __init__(self, kind: str, mix: Callable[[int, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.kind, self.mix, self.cell = kind, mix, CELLS[kind](I, H)
        self.states: list[State] = []
        fill(self.double(), scale=1.5)

    def forward(self, x: Tensor) -> Tensor:
        state = (x.new_zeros(B, H),) * (2 if self.kind == "LSTM" else 1)
        self.states = []
        for t, step in enumerate(x):
            after = self.cell(step, state if self.kind == "LSTM" else state[0])
            after = after if self.kind == "LSTM" else (after,)
            last = t == len(x) - 1
            pairs = zip(after, state, strict=True)
            state = after if last else tuple(self.mix(t, new, old) for new, old in pairs)
            self.states.append(state)
        return state[0].square().sum()


@pytest.mark.parametrize("mix", [zoneout, leaky, skipping])
@pytest.mark.parametrize("kind", CELLS)
def test_an_older_state_mixed_in_is_followed(
    kind: str, mix: Callable[[int, Tensor, Tensor], Tensor]
) -> None:
    model, twin = Kept(kind, mix), Kept(kind, mix)
    layer = captured(model, lambda: model(normal(T, B, I)))["cell"]
    assert (layer.steps, layer.spoilt) == (T, "")
    assert layer.verified is not None
    assert layer.verified < EXACT
    loss = twin(normal(T, B, I))
    wanted = [
        torch.cat(
            torch.autograd.grad(
                loss, state, retain_graph=True, allow_unused=True, materialize_grads=True
            ),
            -1,
        )
        for state in twin.states
    ]
    if kind != "LSTM":  # autograd counts c's share of h in c as well
        torch.testing.assert_close(layer.gradients, torch.stack(wanted), rtol=EXACT, atol=0)
    assert tt.diagnose(captured(model, lambda: model(normal(T, B, I))), 4).verdict != "unknown"
