"""Which calls and marks are one sequence: episodes, fragments, passes, layers in turn."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from cases import B, H, I, fill, normal
from torch import Tensor, nn

import throughtime as tt
from throughtime.measures.lags import LagSweep

T = 12


class Policy(nn.Module):
    """A cell, one step a call: the loop is the caller's, as in reinforcement learning."""

    def __init__(self, kind: type[nn.Module] = nn.GRUCell) -> None:
        super().__init__()
        self.cell, self.read = kind(I, H), nn.Linear(H, 1)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.cell(x, state)
        return self.read(state), state


def rollout(policy: Policy, ends: tuple[int, ...], keep: bool = True) -> Tensor:
    state, values = torch.zeros(1, H), []
    for t, x in enumerate(normal(T, 1, I).float()):
        if t in ends:
            state = torch.zeros(1, H)
        value, new = policy(x, state)
        state = new if keep else state
        values.append(value)
    return torch.stack(values).square().mean()


@pytest.mark.parametrize("ends", [(4,), (4, 5), (3, 7, 8, 11)], ids=str)
def test_resets_in_a_loop_outside_of_the_model_are_one_row(ends: tuple[int, ...]) -> None:
    policy = fill(Policy())
    trace = tt.observe(policy, lambda: rollout(policy, ends))
    (layer,) = trace
    assert layer.steps == T
    assert layer.starts is not None
    assert layer.starts.flatten().nonzero().flatten().tolist() == list(ends)
    bounds = [0, *ends, T]
    longest = max(b - a for a, b in pairwise(bounds)) - 1
    assert LagSweep.run(layer).longest == longest


def test_the_episodes_are_told_with_the_horizon_within_one() -> None:
    policy = fill(Policy())
    with torch.no_grad():
        policy.cell.bias_hh[H : 2 * H] = 8.0  # an update gate at 1: nothing is forgotten
    diagnosis = tt.diagnose(tt.observe(policy, lambda: rollout(policy, (4, 8))), 2)
    (finding,) = [one for one in diagnosis.findings if one.disease == "episodes"]
    assert finding.evidence["resets"] == 2
    assert finding.evidence["median_length_steps"] == 4
    assert finding.evidence["cut_share"] == pytest.approx(4 / 10)
    assert "Within an episode the horizon is at least 3 steps" in finding.sentence
    assert diagnosis.verdict == "healthy"


def test_a_new_state_that_is_thrown_away_is_one_row_and_one_finding() -> None:
    policy = fill(Policy())
    trace = tt.observe(policy, lambda: rollout(policy, (), keep=False))
    (layer,) = trace
    assert (layer.steps, layer.fragments, layer.thrown_away) == (1, T, True)
    found = [one.disease for one in tt.diagnose(trace, 3).findings]
    assert found.count("state not handed on") == 1


@pytest.mark.parametrize("kind", [nn.GRUCell, nn.RNNCell])
def test_fragments_are_one_row_and_one_note(kind: type[nn.Module]) -> None:
    cell = kind(I, H)
    model = nn.ModuleList([cell])

    def closure() -> Tensor:
        state = torch.zeros(B, H)
        for x in normal(T, B, I).float():
            state = cell(x, state)
            state.register_hook(lambda gradient: gradient.clamp(-1e-3, 1e-3))  # no linear map
        return state[..., 0].sum()

    trace = tt.observe(model, closure)
    assert [(layer.name, layer.steps, layer.fragments) for layer in trace] == [("0", 1, T)]
    assert not trace[0].thrown_away
    assert sum(f"{T} fragments of one step" in note for note in trace.notes) == 1


def test_a_loop_over_two_inputs_is_two_sequences() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(I, H)

        def forward(self, x: Tensor) -> Tensor:
            state = x.new_zeros(B, H)
            for step in x:
                state = self.cell(step, state)
            return state

    reader = fill(Reader())
    x = normal(T, B, I).float()
    trace = tt.observe(reader, lambda: (reader(x) - reader(-x)).square().sum())
    assert [(layer.name, layer.steps) for layer in trace] == [("cell", T), ("cell (2)", T)]


class Leaky(nn.Module):
    """``h' = h − h/4 + tanh(W h + U x)/4``, marked; ``between`` is what is done to it first."""

    def __init__(self, between: Callable[[int, Tensor], Tensor] = lambda _, h: h) -> None:
        super().__init__()
        self.W, self.U = nn.Linear(H, H), nn.Linear(H, H)
        self.between = between

    def step(self, t: int, x: Tensor, h: Tensor) -> Tensor:
        h = self.between(t, h)
        h = 0.75 * h + torch.tanh(self.W(h) + self.U(x)) / 4
        tt.mark(h, "leaky")
        return h

    def forward(self, x: Tensor) -> Tensor:
        h, out = x.new_zeros(x.shape[1], H), []
        for t, step in enumerate(x):
            h = self.step(t, step, h)
            out.append(h)
        return torch.stack(out)


def seen(model: nn.Module, closure: Callable[[Tensor], Tensor]) -> tt.Trace:
    fill(model.double())
    return tt.observe(model, lambda: closure(normal(T, B, H)))


def test_two_passes_under_one_name_are_two_rows() -> None:
    model = Leaky()
    trace = seen(model, lambda x: (model(x)[-1] - model(-x)[-1]).square().sum())
    assert [(layer.name, layer.steps) for layer in trace] == [("leaky", T), ("leaky (2)", T)]
    assert all(layer.verified is not None and layer.verified < 1e-10 for layer in trace)


@pytest.mark.parametrize("joined", [torch.stack, torch.Tensor.clone], ids=["stack", "turns"])
def test_two_layers_under_one_name_are_two_rows(joined: Any) -> None:
    below, above = Leaky(), Leaky()

    def stacked(x: Tensor) -> Tensor:
        return above(below(x))[-1].square().sum()

    def in_turns(x: Tensor) -> Tensor:
        first = second = x.new_zeros(B, H)
        for t, step in enumerate(x):
            first = below.step(t, step, first)
            second = above.step(t, first, second)
        return second.square().sum()

    trace = seen(nn.ModuleList([below, above]), stacked if joined is torch.stack else in_turns)
    assert [(layer.name, layer.steps) for layer in trace] == [("leaky", T), ("leaky (2)", T)]


def test_sequences_in_lock_step_are_rows_of_their_own() -> None:
    model = Leaky()

    def closure(x: Tensor) -> Tensor:
        states = [x.new_zeros(B, H)] * 3
        for t, step in enumerate(x):
            states = [model.step(t, step * n, state) for n, state in enumerate(states, 1)]
        return torch.stack(states).square().sum()

    trace = seen(model, closure)
    assert [layer.steps for layer in trace] == [T] * 3
    assert all(layer.verified is not None and layer.verified < 1e-10 for layer in trace)


def test_a_mark_that_is_detached_is_a_wall() -> None:
    model = Leaky(lambda t, h: h.detach() if t in (5, 9) else h)
    trace = seen(model, lambda x: model(x).square().sum())
    assert [(layer.steps, layer.walls, layer.starts) for layer in trace] == [(T, (5, 9), None)]
    assert "truncated" in {one.disease for one in tt.diagnose(trace, 8).findings}


def test_a_mark_that_is_reset_is_a_start() -> None:
    model = Leaky(lambda t, h: torch.zeros_like(h) if t in (5, 9) else h)
    (layer,) = seen(model, lambda x: model(x).square().sum())
    assert (layer.steps, layer.walls) == (T, ())
    assert layer.starts is not None
    assert layer.starts.any(1).nonzero().flatten().tolist() == [5, 9]


def test_a_mark_that_a_mask_resets_is_a_start_of_its_sequence() -> None:
    ends = torch.zeros(T, B, 1)
    ends[4, 0] = ends[7, 2] = ends[7, 1] = 1
    model = Leaky(lambda t, h: h * (1 - ends[t]))
    (layer,) = seen(model, lambda x: model(x).square().sum())
    assert layer.starts is not None
    assert torch.equal(layer.starts, ends[..., 0].bool())


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 2)], ids=str)
def test_a_marked_state_may_have_any_number_of_axes(shape: tuple[int, ...]) -> None:
    weight = nn.Parameter(normal(shape[-1], shape[-1]))
    model = nn.ParameterList([weight])

    def run(mark: Callable[[Tensor], None]) -> Tensor:
        h = torch.zeros(B, *shape, dtype=torch.float64)
        for n in range(T):
            h = torch.tanh(h @ weight + normal(B, *shape, seed=n))
            mark(h)
        return h.square().sum()

    states: list[Tensor] = []
    loss = run(states.append)
    wanted = torch.stack([one.flatten(1) for one in torch.autograd.grad(loss, states)])
    for mark in (lambda h: tt.mark(h, "grid"), lambda h: tt.mark(h.flatten(1), "grid")):
        layer = tt.observe(model, lambda mark=mark: run(mark))["grid"]
        assert torch.allclose(layer.gradients, wanted, rtol=1e-12, atol=0)
        assert layer.verified is not None
        assert layer.verified < 1e-10


def test_a_marked_copy_is_refused_with_what_to_mark() -> None:
    cell = nn.LSTMCell(I, H)

    def closure() -> Tensor:
        h = c = torch.zeros(B, H)
        for x in normal(T, B, I).float():
            h, c = cell(x, (h, c))
            tt.mark(torch.cat([h, c], -1), "joint")
        return h.square().sum()

    with pytest.raises(tt.NoGradientError, match=r"copies.*\(h, c\)"):
        tt.observe(nn.Identity(), closure)


def test_the_other_half_of_a_recurrence_is_found() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.W, self.gru = nn.Linear(H, H), nn.GRU(H, H)

        def forward(self, x: Tensor) -> Tensor:
            h, out = x.new_zeros(B, H), []
            for step in x:
                h = torch.tanh(self.W(h) + step)
                out.append(h)
            return self.gru(torch.stack(out))[0].square().sum()

    net = Net()
    trace = seen(net, net)
    assert "part" not in trace.run
    assert [(layer.kind, layer.steps) for layer in trace] == [("GRU", T), ("loop", T)]


@pytest.mark.parametrize("feed", [False, True], ids=["shared head", "attention"])
def test_weights_in_a_recorded_loop_are_no_recurrence_of_their_own(feed: bool) -> None:
    policy = fill(Policy())
    score = nn.Linear(H, I)
    model = nn.ModuleList([policy, score])

    def closure() -> Tensor:
        state, values = torch.zeros(1, H), []
        for x in normal(T, 1, I).float():
            value, state = policy(x + score(state) * feed, state)
            values.append(value)
        return torch.stack(values).square().mean()

    assert "part" not in tt.observe(model, closure).run


def test_windows_that_begin_anew_are_one_row_with_walls_and_starts() -> None:
    lstm, x = fill(nn.LSTM(I, H)), normal(T, B, I).float()

    def closure() -> Tensor:
        state, total = None, torch.zeros(())
        for n, window in enumerate(x.split(2)):
            state = None if state is None or n == 3 else tuple(part.detach() for part in state)
            out, state = lstm(window, state)
            total = total + out.square().mean()
        return total

    (layer,) = tt.observe(lstm, closure)
    assert (layer.steps, layer.walls) == (T, (2, 4, 8, 10))
    assert layer.starts is not None
    assert layer.starts.all(1).nonzero().flatten().tolist() == [6]
    assert layer.verified is not None
    assert layer.verified < 1e-5
