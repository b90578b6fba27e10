"""Models of several recurrent layers, each run two ways: by torch's layers, and by brute force.

The brute force unrolls every layer cell by cell in float64. At one time it puts leaves of the graph
in the place of all states, so that those of one time are coordinates of one joint state.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from cases import fill, normal
from torch import Tensor, nn
from torch.nn import functional

T, B, I, H = 9, 3, 3, 4
State = tuple[Tensor, ...]
Wire = Callable[["Net"], list[Tensor]]
"""Runs a model; returns its loss in parts, each at a time of its own."""


class Net(nn.Module):
    """Recurrent layers and other parts, wired together; ``at``: the time of the brute force."""

    def __init__(self, wire: Wire, **parts: nn.Module) -> None:
        super().__init__()
        self.wire = wire
        self.parts = nn.ModuleDict(parts)
        self.brutal, self.at = False, -1
        self.only: tuple[str, bool] | None = None
        self.leaves: list[Tensor] = []
        fill(self.double(), scale=1.6)

    def forward(self) -> Tensor:
        return torch.stack(self.wire(self)).sum()

    def run(
        self, name: str, x: Tensor, initial: State | None = None, start: int = 0
    ) -> tuple[Tensor, State]:
        """Outputs (T B ·) and the final state of a layer whose first step is at time ``start``."""
        layer = self.parts[name]
        directions = 2 if layer.bidirectional else 1
        if not self.brutal:
            given = None if initial is None else tuple(part.unsqueeze(0) for part in initial)
            given = given[0] if given is not None and len(given) == 1 else given
            outputs, final = layer(x, given)
            parts = final if isinstance(final, tuple) else (final,)
            return outputs, tuple(part[-1] for part in parts)
        ways = [self._unrolled(name, x, initial, start, bool(n)) for n in range(directions)]
        return torch.cat([outputs for outputs, _ in ways], -1), ways[-1][1]

    def cell(self, name: str, x: Tensor, state: State, time: int) -> State:
        """One step of a cell."""
        cell = self.parts[name]
        after = cell(x, state if isinstance(cell, nn.LSTMCell) else state[0])
        after = after if isinstance(after, tuple) else (after,)
        return self._tapped(time, after) if self.brutal else after

    def _unrolled(
        self, name: str, x: Tensor, initial: State | None, start: int, reverse: bool
    ) -> tuple[Tensor, State]:
        layer = self.parts[name]
        weights = [getattr(layer, name) for name in layer._all_weights[int(reverse)]]
        state = initial or (x.new_zeros(x.shape[1], layer.hidden_size),) * (
            2 if isinstance(layer, nn.LSTM) else 1
        )
        steps = range(len(x) - 1, -1, -1) if reverse else range(len(x))
        return self.scan(weights, x, state, steps, start, (name, reverse))

    def scan(
        self, weights: list[Tensor], x: Tensor, state: State, steps: range,
        start: int = 0, way: tuple[str, bool] = ("", False),
    ) -> tuple[Tensor, State]:  # fmt: skip  # a list, not a column
        """A layer cell by cell, in the order of ``steps``."""
        outputs = {}
        for t in steps:
            if len(state) == 2:
                after = torch.lstm_cell(x[t], state, *weights)
            else:
                after = (torch.gru_cell(x[t], state[0], *weights),)
            state = self._tapped(start + t, after) if self.only in (None, way) else after
            outputs[t] = after[0] if self.only and way[0] == "a" else state[0]
        return torch.stack([outputs[t] for t in range(len(x))]), state

    def _tapped(self, time: int, state: State) -> State:
        if time != self.at:
            return state
        leaves = tuple(part.detach().requires_grad_() for part in state)
        self.leaves += leaves
        return leaves


def brute_force(net: Net, anchors: tuple[int, ...], steps: int) -> np.ndarray:
    """log10 ‖∂L_t/∂s_k‖ over the states of all layers (anchor, time, batch)."""
    net.brutal = True
    rows = []
    for k in range(steps):
        net.at, net.leaves = k, []
        parts = net.wire(net)
        rows.append([_norm(parts[t], net.leaves) for t in anchors])
    net.brutal, net.at = False, -1
    with np.errstate(divide="ignore"):
        return np.log10(np.array(rows)).transpose(1, 0, 2)


def both_ways(net: Net, anchors: tuple[int, ...], steps: int) -> np.ndarray:
    """The same where b reads a and both read both ways: of every route, however often it turns.

    One layer's state at one time is a leaf; what b reads of a at that very time is not.
    """
    squares = 0.0
    for net.only in [(name, way) for name in "ab" for way in (False, True)]:
        squares += 10 ** (2 * brute_force(net, anchors, steps))
    net.only = None
    return np.log10(squares) / 2


def _norm(part: Tensor, leaves: list[Tensor]) -> np.ndarray:
    if not part.requires_grad:
        return np.zeros(len(leaves[0]))
    found = torch.autograd.grad(
        part, leaves, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat(found, -1).norm(dim=-1).numpy()


def lstm(inputs: int = I, **more: object) -> nn.LSTM:
    return nn.LSTM(inputs, H, **more)


def each(outputs: Tensor) -> list[Tensor]:
    """A loss at every time."""
    return [step.square().sum() for step in outputs]


def last(*read: Tensor, steps: int = T) -> list[Tensor]:
    """A loss at the last time alone."""
    nothing = read[0].new_zeros(())
    return [nothing] * (steps - 1) + [torch.stack([one.square().sum() for one in read]).sum()]


MASK = (normal(T, B, H, seed=5) > -0.5).double() / 0.7
LOCKED = (normal(1, B, H, seed=6) > -0.5).double() / 0.7
X = normal(T, B, I, seed=2)


def between(change: Callable[[Net, Tensor], Tensor]) -> Wire:
    def wire(net: Net) -> list[Tensor]:
        return each(net.run("b", change(net, net.run("a", X)[0]))[0])

    return wire


def two(wire: Wire, **more: nn.Module) -> Callable[[], Net]:
    return lambda: Net(wire, a=lstm(), b=lstm(H), **more)


def dense(net: Net) -> list[Tensor]:
    a = net.run("a", X)[0]
    b = net.run("b", torch.cat([X, a], -1))[0]
    return each(torch.cat([a, b, net.run("c", torch.cat([X, a, b], -1))[0]], -1))


def elmo(net: Net) -> list[Tensor]:
    a = net.run("a", X)[0]
    b = net.run("b", functional.dropout(a, 0.0))[0]
    weights = torch.softmax(net.parts["mix"].weight[0, :2], 0)
    return each(weights[0] * a + weights[1] * b)


def finals(net: Net) -> list[Tensor]:
    a, end = net.run("a", X)
    return last(*end, *net.run("b", torch.relu(a))[1])


def finals_of_one_module(net: Net) -> list[Tensor]:
    """The loss reads the last states of both layers of one stack, as a classifier of h_n does."""
    if not net.brutal:
        _, (h, c) = net.parts["stack"](X)
        return last(*h, *c)
    stack = net.parts["stack"]
    x, ends = X, []
    for layer in range(2):
        weights = [getattr(stack, name) for name in stack._all_weights[layer]]
        x, end = net.scan(weights, x, (X.new_zeros(B, H),) * 2, range(T))
        ends += end
    return last(*ends)


def windows(net: Net) -> list[Tensor]:
    """Two layers over two windows, with the state cut between them."""
    parts, first, second = [], None, None
    for n, x in enumerate(X[: 2 * (T // 2)].split(T // 2)):
        a, first = net.run("a", x, first, n * (T // 2))
        b, second = net.run("b", torch.sin(a), second, n * (T // 2))
        first, second = ((*map(Tensor.detach, one),) for one in (first, second))
        parts += each(b)
    return parts


def reversed_between(net: Net) -> list[Tensor]:
    """The layer above reads the whole below: what it begins with is what the other ended with."""
    a = net.run("a", X)[0]
    y = net.run("b", a.flip(0), None, T)[0]
    return [y.new_zeros(())] * T + each(y)


def lower_detached(net: Net) -> list[Tensor]:
    a, end = net.run("a", X)
    return last(end[0], net.run("b", a.detach() + 0.5 * a)[0][-1])


def encoder_decoder(net: Net) -> list[Tensor]:
    _, state = net.run("a", X)
    y = net.run("b", normal(T - 2, B, H, seed=3), state, T)[0]
    return [y.new_zeros(())] * T + each(y)


def bridged(net: Net) -> list[Tensor]:
    (h,), bridge = net.run("a", X)[1], net.parts["bridge"]
    y = net.run("b", normal(T - 2, B, H, seed=3), (torch.tanh(bridge(h)),), T)[0]
    return [y.new_zeros(())] * T + each(y)


def attention(net: Net) -> list[Tensor]:
    memory, state = net.run("a", X)
    parts = [memory.new_zeros(())] * T
    for t, x in enumerate(normal(T - 3, B, H, seed=3)):
        weights = torch.softmax((memory * state[0]).sum(-1), 0)
        context = (weights.unsqueeze(-1) * memory).sum(0)
        state = net.cell("b", x + context, state, T + t)
        parts.append(state[0].square().sum())
    return parts


def bidirectional(net: Net) -> list[Tensor]:
    a = net.run("a", X)[0]
    return each(net.run("b", torch.tanh(net.parts["mix"](a)))[0])


def feedback(net: Net) -> list[Tensor]:
    h = g = X.new_zeros(B, H)
    parts = []
    for t, x in enumerate(X):
        (h,) = net.cell("a", torch.cat([x, g], -1), (h,), t)
        (g,) = net.cell("b", torch.tanh(h), (g,), t)
        parts.append(g.square().sum())
    return parts


def cells(net: Net) -> list[Tensor]:
    state, above, parts = (X.new_zeros(B, H),) * 2, (X.new_zeros(B, H),), []
    for t, x in enumerate(X):
        state = net.cell("a", x, state, t)
        above = net.cell("b", net.parts["norm"](state[0]) + state[1].detach(), above, t)
        parts.append((above[0] * state[0]).square().sum())
    return parts


def beam(net: Net) -> list[Tensor]:
    """The sequences of the lower layer change places after every step."""
    state, above, parts = (X.new_zeros(B, H),) * 2, (X.new_zeros(B, H),), []
    for t, x in enumerate(X):
        state = net.cell("a", x, tuple(part[[1, 2, 0]] for part in state), t)
        above = net.cell("b", torch.tanh(state[0]), above, t)
        parts.append(above[0].square().sum())
    return parts


def cell_over_layer(net: Net) -> list[Tensor]:
    a, parts, state = net.run("a", X)[0], [], (X.new_zeros(B, H),)
    for t, x in enumerate(a):
        state = net.cell("b", torch.relu(x), state, t)
        parts.append(state[0].square().sum())
    return parts


NETS: dict[str, Callable[[], Net]] = {
    "dropout": two(between(lambda _, a: a * MASK)),
    "locked dropout": two(between(lambda _, a: a * LOCKED)),
    "layer norm": two(between(lambda n, a: n.parts["norm"](a)), norm=nn.LayerNorm(H)),
    "linear": two(between(lambda n, a: n.parts["mix"](a)), mix=nn.Linear(H, H)),
    "residual": two(between(lambda _, a: a + torch.sin(a))),
    "relu": two(between(lambda _, a: torch.relu(a))),
    "half detached": two(between(lambda _, a: 0.5 * a + 0.5 * a.detach())),
    "dense": lambda: Net(dense, a=lstm(), b=lstm(I + H), c=nn.GRU(I + 2 * H, H)),
    "read-out of all": two(elmo, mix=nn.Linear(2, 1)),
    "final states of all": two(finals),
    "final states of one module": lambda: Net(finals_of_one_module, stack=nn.LSTM(I, H, 2)),
    "windows": two(windows),
    "read from the end": two(reversed_between),
    "lower detached in part": two(lower_detached),
    "GRU over LSTM": lambda: Net(between(lambda _, a: a * LOCKED), a=lstm(), b=nn.GRU(H, H)),
    "encoder and decoder": two(encoder_decoder),
    "bridge": lambda: Net(bridged, a=nn.GRU(I, H), b=nn.GRU(H, H), bridge=nn.Linear(H, H)),
    "attention": lambda: Net(attention, a=lstm(), b=nn.LSTMCell(H, H)),
    "bidirectional": lambda: Net(
        bidirectional,
        a=lstm(bidirectional=True),
        b=nn.GRU(H, H, bidirectional=True),
        mix=nn.Linear(2 * H, H),
    ),
    "feedback": lambda: Net(feedback, a=nn.GRUCell(I + H, H), b=nn.GRUCell(H, H)),
    "cells": lambda: Net(cells, a=nn.LSTMCell(I, H), b=nn.GRUCell(H, H), norm=nn.LayerNorm(H)),
    "beam": lambda: Net(beam, a=nn.LSTMCell(I, H), b=nn.GRUCell(H, H)),
    "cell over layer": lambda: Net(cell_over_layer, a=lstm(), b=nn.GRUCell(H, H)),
}
