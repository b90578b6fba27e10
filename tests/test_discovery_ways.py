"""Every way to write a loop: how the state is kept, how the loop runs, what is no recurrence."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from test_discovery import EXACT, B, H, I, T, draw
from torch import Tensor, nn

import throughtime as tt
from throughtime.trace import LayerTrace, Trace, relative_difference

Pair = namedtuple("Pair", "h c")


@dataclass
class Box:
    h: Tensor
    c: Tensor


class Net(nn.Module):
    """``run`` makes the loss of an input; ``mark`` is there when the loop is marked."""

    def __init__(self, run: Callable[[Net, Tensor], Tensor], marked: bool = False) -> None:
        super().__init__()
        self.run, self.marked, self.kept = run, marked, None
        self.w, self.u = nn.Parameter(draw(I, H, seed=1)), nn.Parameter(draw(H, H, seed=2) / 2)
        self.v = nn.Parameter(draw(H, H, seed=3) / 2)
        self.cell, self.norm = nn.GRUCell(I, H).double(), nn.LayerNorm(H).double()
        with torch.no_grad():
            for n, weight in enumerate(self.cell.parameters()):
                weight.copy_(draw(*weight.shape, seed=20 + n) / 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)

    def mark(self, *parts: Tensor) -> None:
        if self.marked:
            tt.mark(parts, "marked")

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(x @ self.w + h @ self.u)

    def lstm(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        c = torch.sigmoid(x @ self.w + h @ self.u) * c + torch.tanh(h @ self.v)
        return torch.tanh(c) * torch.sigmoid(x @ self.w + h @ self.v), c


def start(seed: int = 12) -> Tensor:
    return draw(B, H, seed=seed)


def total(states: list[Tensor]) -> Tensor:
    return sum((h.square().mean() * (n + 1) for n, h in enumerate(states)), torch.zeros(()))


def listed(net: Net, x: Tensor) -> Tensor:
    states, out = [start(), start(13)], []
    for step in x:
        states[:] = net.lstm(step, *states)
        net.mark(*states)
        out.append(states[0])
    return total(out)


def keyed(net: Net, x: Tensor) -> Tensor:
    state, out = {"h": start(), "c": start(13)}, []
    for step in x:
        state["h"], state["c"] = net.lstm(step, state["h"], state["c"])
        net.mark(state["h"], state["c"])
        out.append(state["h"])
    return total(out)


def boxed(net: Net, x: Tensor) -> Tensor:
    box, out = Box(start(), start(13)), []
    for step in x:
        box.h, box.c = net.lstm(step, box.h, box.c)
        net.mark(box.h, box.c)
        out.append(box.h)
    return total(out)


def named(net: Net, x: Tensor) -> Tensor:
    pair, out = Pair(start(), start(13)), []
    for step in x:
        pair = Pair(*net.lstm(step, *pair))
        net.mark(*pair)
        out.append(pair.h)
    return total(out)


def closed(net: Net, x: Tensor) -> Tensor:
    h, out = start(), []

    def advance(step: Tensor) -> None:
        nonlocal h
        h = net.step(step, h)
        net.mark(h)
        out.append(h)

    for step in x:
        advance(step)
    return total(out)


def attribute(net: Net, x: Tensor) -> Tensor:
    net.kept, out = start(), []
    for step in x:
        net.kept = net.step(step, net.kept)
        net.mark(net.kept)
        out.append(net.kept)
    net.kept = None
    return total(out)


def whiled(net: Net, x: Tensor) -> Tensor:
    h, out, t = start(), [], 0
    while t < len(x):
        h = net.step(x[t], h)
        net.mark(h)
        out.append(h)
        t += 1
    return total(out)


def broken(net: Net, x: Tensor) -> Tensor:
    h, out = start(), []
    for t, step in enumerate(x):
        h = net.step(step, h)
        net.mark(h)
        out.append(h)
        if t == 6:
            break
    return total(out)


def reduced(net: Net, x: Tensor) -> Tensor:
    out: list[Tensor] = []

    def advance(h: Tensor, step: Tensor) -> Tensor:
        h = net.step(step, h)
        net.mark(h)
        out.append(h)
        return h

    functools.reduce(advance, x.unbind(0), start())
    return total(out)


def generated(net: Net, x: Tensor) -> Tensor:
    def states() -> Iterator[Tensor]:
        h = start()
        for step in x:
            h = net.step(step, h)
            net.mark(h)
            yield h

    return total(list(states()))


def detached(net: Net, x: Tensor) -> Tensor:
    h, out = start(), []
    for t, step in enumerate(x):
        h = net.step(step, h.detach() if t == 4 else h)
        net.mark(h)
        out.append(h)
    return total(out)


def equal(net: Net, x: Tensor) -> Tensor:
    h, out = torch.ones(B, H, dtype=torch.float64), []
    for _ in x:
        h = net.step(torch.ones(B, I, dtype=torch.float64), h) * 0 + 1
        net.mark(h)
        out.append(h * net.w[0])
    return total(out)


def embraced(net: Net, x: Tensor) -> Tensor:
    h, out = start(), []
    for step in x:
        with torch.enable_grad():
            try:
                h = net.step(step, h)
                raise ValueError
            except ValueError:
                net.mark(h)
        out.append(h)
    return total(out)


WAYS = [
    listed, keyed, boxed, named, closed, attribute, whiled, broken, reduced, generated, detached,
    equal, embraced,
]  # fmt: skip  # a list, not a column


def seen(run: Callable[[Net, Tensor], Tensor], marked: bool = False, steps: int = T) -> Trace:
    net = Net(run, marked)
    return tt.observe(net, lambda: net(draw(steps, B, I)))


def loops(trace: Trace) -> list[LayerTrace]:
    return [layer for layer in trace if layer.kind == "loop"]


@pytest.mark.parametrize("run", WAYS, ids=lambda run: run.__name__)
def test_a_loop_is_what_its_mark_would_be(run: Callable[[Net, Tensor], Tensor]) -> None:
    (found,), marked = loops(seen(run)), seen(run, marked=True)["marked"]
    for name in ("states", "gradients", "direct"):
        assert relative_difference(getattr(found, name), getattr(marked, name)) < EXACT
    assert found.walls == marked.walls


def scaled(h: Tensor) -> Tensor:
    return h.mul_(0.9)


def written(h: Tensor) -> Tensor:
    h[:, 0] = h[:, 1] * 0.5
    return h


@pytest.mark.parametrize("change", [scaled, written])
def test_a_state_that_is_changed_in_place(change: Callable[[Tensor], Tensor]) -> None:
    def in_place(net: Net, x: Tensor) -> Tensor:
        h, out = start(), []
        for step in x:
            h = (step @ net.w + h @ net.u) * 0.7
            change(h)
            out.append(h.square().mean())
        return torch.stack(out).sum()

    def apart(net: Net, x: Tensor) -> Tensor:
        h, out = start(), []
        for step in x:
            h = change((step @ net.w + h @ net.u) * 0.7 * 1).clone()
            net.mark(h)
            out.append(h.square().mean())
        return torch.stack(out).sum()

    (found,), marked = loops(seen(in_place)), seen(apart, marked=True)["marked"]
    for name in ("states", "gradients", "direct"):
        assert relative_difference(getattr(found, name), getattr(marked, name)) < EXACT
    assert found.verified is not None


def test_a_state_that_is_one_tensor_written_into_again_and_again() -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        h, out = start().clone(), []
        h = h + 0 * net.w.sum()
        for step in x:
            new = net.step(step, h.clone())
            h[:] = new
            out.append(new)
        return total(out)

    def plain(net: Net, x: Tensor) -> Tensor:
        h, out = start(), []
        for step in x:
            h = net.step(step, h)
            net.mark(h)
            out.append(h)
        return total(out)

    (found,), marked = loops(seen(run)), seen(plain, marked=True)["marked"]
    assert relative_difference(found.gradients, marked.gradients) < EXACT


def test_two_loops_in_lock_step_are_two_rows() -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        a, b, out = start(), start(13), []
        for step in x:
            a = torch.tanh(step @ net.w + a @ net.u)
            b = torch.sigmoid(step @ net.w + b @ net.v)
            out += [a, b]
        return total(out)

    assert [layer.states.shape for layer in loops(seen(run))] == [(T, B, H), (T, B, H)]


def test_layers_within_a_step_are_rows_of_their_own() -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell_list = nn.ModuleList(nn.Linear(2 * H, H).double() for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            state, out = [start(), start(13)], []
            for step in x:
                below = step
                for n, cell in enumerate(self.cell_list):
                    below = state[n] = torch.tanh(cell(torch.cat([below, state[n]], -1)))
                out.append(below)
            return total(out)

    net = Stack()
    trace = tt.observe(net, lambda: net(draw(T, B, H)))
    assert [(layer.kind, layer.steps) for layer in trace] == [("loop", T)] * 2
    assert all(layer.verified is not None for layer in trace)


def test_resets_of_single_sequences_are_starts() -> None:
    done = torch.zeros(T, B, 1, dtype=torch.float64)
    done[3, 1] = done[6, 0] = 1

    def run(net: Net, x: Tensor) -> Tensor:
        h, out = start(), []
        for t, step in enumerate(x):
            h = net.step(step, (1 - done[t]) * h)
            out.append(h)
        return total(out)

    (found,) = loops(seen(run))
    assert found.starts is not None
    assert found.starts.nonzero().tolist() == [[3, 1], [6, 0]]


def test_a_reset_of_the_whole_state_is_a_start() -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        h, out = start(), []
        for t, step in enumerate(x):
            if t == 5:
                h = start(14)
            h = net.step(step, h)
            out.append(h)
        return total(out)

    (found,) = loops(seen(run))
    assert found.walls == ()
    assert found.starts is not None
    assert found.starts.all(1).nonzero().flatten().tolist() == [5]


def test_a_branch_that_is_taken_sometimes() -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        h, out = start(), []
        for t, step in enumerate(x):
            h = net.step(step, h)
            if t % 4 == 2:
                h = h @ net.v
            net.mark(h)
            out.append(h)
        return total(out)

    trace = seen(run)
    (found,) = loops(trace)
    assert found.steps == T
    assert tt.diagnose(trace, 3).layers[0].checked_by


def test_the_same_encoder_twice_is_two_sequences() -> None:
    def run(net: Net, x: Tensor) -> Tensor:
        out = []
        for half in x.split(T):
            h = start()
            for step in half:
                h = net.step(step, h)
                net.mark(h)
                out.append(h)
        return total(out)

    found, marked = loops(seen(run, steps=2 * T)), list(seen(run, True, 2 * T))
    assert len(found) == len(marked)
    for one, other in zip(found, marked, strict=True):
        assert relative_difference(one.gradients, other.gradients) < EXACT
        assert (one.starts is None) == (other.starts is None)
