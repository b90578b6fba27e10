"""Loops in Python that nobody marked, held to Jacobians by brute force and to ``tt.mark``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime.recording.marked import LinearisedGraph
from throughtime.trace import LayerTrace, Trace, relative_difference

T, B, I, H = 9, 3, 2, 4
EXACT = 1e-12
State = Any


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


class Loop(nn.Module):
    """``step`` in a loop over time; what ``show`` makes of the state can be marked."""

    def __init__(self, shape: tuple[int, ...] = (B, H), marked: bool = False) -> None:
        super().__init__()
        self.shape, self.marked = shape, marked
        self.w, self.u = nn.Parameter(draw(I, H, seed=1)), nn.Parameter(draw(H, H, seed=2) / 2)
        self.v, self.q = nn.Parameter(draw(H, H, seed=3) / 2), nn.Parameter(draw(H, H, seed=4) / 2)

    def first(self) -> State:
        return draw(*self.shape, seed=12)

    def step(self, t: int, x: Tensor, state: State) -> State:
        raise NotImplementedError

    def show(self, state: State) -> tuple[Tensor, ...]:
        return (state,) if isinstance(state, Tensor) else tuple(state)

    def forward(self, x: Tensor) -> Tensor:
        state, out = self.first(), []
        for t, step in enumerate(x):
            state = self.step(t, step, state)
            if self.marked:
                tt.mark(self.show(state), "marked")
            out.append(self.show(state)[0].sum() * (t + 1))
        return torch.stack(out).square().mean()


class Tanh(Loop):
    def step(self, t: int, x: Tensor, state: State) -> State:
        return torch.tanh(x @ self.w + state @ self.u)


class GRU(Loop):
    def step(self, t: int, x: Tensor, state: State) -> State:
        a = x @ self.w
        z, r = torch.sigmoid(a + state @ self.u), torch.sigmoid(a + state @ self.v)
        return (1 - z) * torch.tanh(a + (r * state) @ self.q) + z * state


class LSTM(Loop):
    def first(self) -> State:
        return super().first(), super().first()

    def step(self, t: int, x: Tensor, state: State) -> State:
        (h, c), a = state, x @ self.w
        c = torch.sigmoid(a + h @ self.u) * c + torch.sigmoid(a) * torch.tanh(h @ self.v)
        return torch.sigmoid(a + h @ self.q) * torch.tanh(c), c


class ConvLSTM(Loop):
    def __init__(self, marked: bool = False) -> None:
        super().__init__((B, 2, 3, 3), marked)
        self.conv = nn.Conv2d(3, 8, 3, padding=1).double()
        with torch.no_grad():
            self.conv.weight.copy_(draw(8, 3, 3, 3, seed=5) / 2)
            self.conv.bias.zero_()

    def first(self) -> State:
        return super().first(), super().first()

    def step(self, t: int, x: Tensor, state: State) -> State:
        h, c = state
        seen = x.sum(-1)[:, None, None, None].expand(B, 1, 3, 3)
        i, f, g, o = self.conv(torch.cat([seen, h], 1)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class Columns(Loop):
    """A state (H B): the batch axis is the last one."""

    def first(self) -> State:
        return torch.zeros(H, B, dtype=torch.float64)

    def step(self, t: int, x: Tensor, state: State) -> State:
        return torch.tanh((x @ self.w).T + self.u @ state)


class Alone(Loop):
    """A state without a batch."""

    def first(self) -> State:
        return torch.zeros(H, dtype=torch.float64)

    def step(self, t: int, x: Tensor, state: State) -> State:
        return torch.tanh(x[0] @ self.w + state @ self.u)


class Decay(Loop):
    """GRU-D: the state decays by the time between its observations."""

    def step(self, t: int, x: Tensor, state: State) -> State:
        gap = x.abs().sum(-1, keepdim=True)
        state = torch.exp(-gap * self.w[0].abs()) * state
        z = torch.sigmoid(x @ self.w + state @ self.u)
        return z * state + (1 - z) * torch.tanh(state @ self.v)


class Euler(Loop):
    """ODE-RNN: substeps of a flow, then a cell; one iteration is one observation."""

    def step(self, t: int, x: Tensor, state: State) -> State:
        for _ in range(6):
            state = state + 0.1 * torch.tanh(state @ self.v)
        return torch.tanh(x @ self.w + state @ self.u)


class LTC(Loop):
    """A liquid time constant, solved semi-implicitly."""

    def step(self, t: int, x: Tensor, state: State) -> State:
        gate = torch.sigmoid(x @ self.w + state @ self.u)
        return (state + 0.5 * gate * self.v[0]) / (1 + 0.5 * (1 + gate))


class LMU(Loop):
    """A linear memory and a nonlinear state that read each other."""

    def first(self) -> State:
        return super().first(), super().first()

    def step(self, t: int, x: Tensor, state: State) -> State:
        h, m = state
        u = x.sum(-1, keepdim=True) + h @ self.q[:, :1] + m @ self.q[:, 1:2]
        m = m @ self.u + u * self.w[0]
        return torch.tanh(h @ self.v + m @ self.q), m


class SRU(Loop):
    def step(self, t: int, x: Tensor, state: State) -> State:
        a = x @ self.w
        f = torch.sigmoid(a + self.v[0] * state)
        return f * state + (1 - f) * a


class Turing(Loop):
    """A controller that writes to a memory and reads it by content."""

    def first(self) -> State:
        return torch.zeros(B, H, dtype=torch.float64), draw(B, 3, H, seed=8)

    def step(self, t: int, x: Tensor, state: State) -> State:
        h, memory = state
        weights = (memory @ (h @ self.q).unsqueeze(-1)).softmax(1)
        read = (weights * memory).sum(1)
        h = torch.tanh(x @ self.w + h @ self.u + read @ self.v)
        return h, memory * (1 - 0.5 * weights) + weights * h.unsqueeze(1)


class Slots(Loop):
    """Slot attention over the same inputs: slots compete by a softmax."""

    def first(self) -> State:
        return draw(B, 3, H, seed=9)

    def step(self, t: int, x: Tensor, state: State) -> State:
        inputs = draw(B, 5, H, seed=10)
        attention = (inputs @ self.q @ state.transpose(1, 2)).softmax(-1)
        attention = attention / attention.sum(1, keepdim=True)
        return torch.tanh(attention.transpose(1, 2) @ inputs @ self.v + state @ self.u)


class Potentials(Loop):
    """The forward algorithm of a CRF."""

    def step(self, t: int, x: Tensor, state: State) -> State:
        return torch.logsumexp(state.unsqueeze(2) + self.u, 1) + x @ self.w


class Stabilised(Loop):
    """sLSTM: exponential gates, with a stabiliser."""

    def first(self) -> State:
        zero = super().first()
        return zero, zero, zero + 1, zero

    def step(self, t: int, x: Tensor, state: State) -> State:
        h, c, n, m = state
        i, f = x @ self.w + h @ self.u, x @ self.w + h @ self.v
        top = torch.maximum(f + m, i)
        c = torch.exp(f + m - top) * c + torch.exp(i - top) * torch.tanh(h @ self.q + x @ self.w)
        n = torch.exp(f + m - top) * n + torch.exp(i - top)
        return torch.sigmoid(i) * c / n, c, n, top


LOOPS: list[type[Loop]] = [
    Tanh, GRU, LSTM, ConvLSTM, Columns, Alone, Decay, Euler, LTC, LMU, SRU, Turing, Slots,
    Potentials, Stabilised,
]  # fmt: skip  # a list, not a column


def seen(model: nn.Module, x: Tensor | None = None) -> Trace:
    x = draw(T, B, I) if x is None else x
    return tt.observe(model, lambda: model(x))


def of(trace: Trace) -> LayerTrace:
    (layer,) = [one for one in trace if one.kind == "loop"]
    return layer


def products(model: Loop, x: Tensor) -> dict[int, Tensor]:
    """∂s_T/∂s_t by brute force, for every t: the loop is run on from each state."""
    states: list[tuple[Tensor, ...]] = []
    state = model.first()
    for t, step in enumerate(x):
        state = model.step(t, step, state)
        states.append(tuple(part.detach() for part in model.show(state)))
    found = {}
    for start in range(len(x) - 1):
        shapes = [part.shape for part in states[start]]

        def on(flat: Tensor, start: int = start, shapes: Any = shapes) -> Tensor:
            pieces = flat.split([shape.numel() for shape in shapes])
            parts = [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]
            state = tuple(parts) if len(parts) > 1 else parts[0]
            for t in range(start + 1, len(x)):
                state = model.step(t, x[t], state)
            return torch.cat([part.flatten() for part in model.show(state)])

        flat = torch.cat([part.flatten() for part in states[start]])
        found[start] = torch.autograd.functional.jacobian(on, flat)
    return found


@pytest.mark.parametrize("cls", LOOPS, ids=lambda cls: cls.__name__)
def test_the_gains_are_those_of_the_jacobian_by_brute_force(cls: type[Loop]) -> None:
    model, x = cls(), draw(T, B, I)
    layer = of(seen(model, x))
    assert layer.steps == T
    linear = layer.linear
    assert isinstance(linear, LinearisedGraph)
    sent = draw(*layer.states.shape[1:], seed=11)
    given = torch.cat([part.flatten() for part in ordered(linear, sent, model)])
    row = sent
    for start, jacobian in sorted(products(model, x).items(), reverse=True):
        row = linear.vjp(start + 1, row)
        expected = given @ jacobian
        arrived = torch.cat([part.flatten() for part in ordered(linear, row, model)])
        assert relative_difference(arrived, expected) < 1e-9
    assert tt.diagnose(seen(model, x), 3).verdict != "unknown"


def ordered(linear: LinearisedGraph, row: Tensor, model: Loop) -> list[Tensor]:
    """The parts of a row in the order in which ``model`` has them: where its values are."""
    parts = linear.split(row)
    state, last = model.first(), draw(T, B, I)
    for t, step in enumerate(last):
        state = model.step(t, step, state)
    own = [part.detach() for part in linear._states[-1]]
    return [
        next(parts[n] for n, one in enumerate(own) if torch.equal(one, part))
        for part in model.show(state)
    ]


@pytest.mark.parametrize("cls", LOOPS, ids=lambda cls: cls.__name__)
def test_a_loop_is_what_its_mark_would_be(cls: type[Loop]) -> None:
    found, marked = of(seen(cls())), seen(cls(marked=True))["marked"]
    if cls is Columns:  # a mark takes the first axis for the batch
        marked = replace(
            marked,
            **{name: getattr(marked, name).mT for name in ("states", "gradients", "direct")},
        )
    order = [
        (found.states == marked.states[..., n, None]).all((0, 1)).nonzero().flatten()[0].item()
        for n in range(marked.states.shape[-1])
    ]
    for name in ("states", "gradients", "direct"):
        assert relative_difference(getattr(found, name)[..., order], getattr(marked, name)) < EXACT
    assert found.walls == marked.walls
    assert found.verified is not None
    assert found.verified < EXACT
