"""Capture of states that are carried by Python: cells in loops, steps, windows, several modules."""

from collections.abc import Callable

import pytest
import torch
from cases import B, H, I, T, fill, normal, weighed
from reference import Chains, assert_captured
from torch import Tensor, nn

from throughtime.recording import capture
from throughtime.trace import Trace

CELLS = {
    "tanh": nn.RNNCell,
    "relu": lambda inputs, hidden: nn.RNNCell(inputs, hidden, nonlinearity="relu"),
    "LSTM": nn.LSTMCell,
    "GRU": nn.GRUCell,
}
LAYERS = {"tanh": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}

Build = Callable[[], nn.Module]
State = Tensor | tuple[Tensor, ...] | None


def check(build: Build, loss: Callable[[nn.Module], None], chains: Chains | None = None) -> Trace:
    return assert_captured(lambda: prepared(build), loss, chains)


def prepared(build: Build) -> nn.Module:
    return fill(build().double(), scale=1.5)


def apply(state: State, change: Callable[[Tensor], Tensor]) -> State:
    if state is None:
        return None
    return change(state) if isinstance(state, Tensor) else tuple(change(part) for part in state)


def first(state: State) -> Tensor:
    assert state is not None
    return state if isinstance(state, Tensor) else state[0]


class Loop(nn.Module):
    """A cell in a Python loop; what is done to the state between two steps is given."""

    def __init__(self, kind: str, between: Callable[[int, State], State] = lambda _, s: s) -> None:
        super().__init__()
        self.cell, self.between = CELLS[kind](I, H), between

    def forward(self, x: Tensor, state: State = None) -> Tensor:
        out = []
        for t, step in enumerate(x):
            state = self.cell(step, self.between(t, state))
            out.append(first(state))
        return torch.stack(out)


def all_steps(model: nn.Module) -> None:
    weighed(model(normal(T, B, I)), 3).backward()


def last_step(model: nn.Module) -> None:
    weighed(model(normal(T, B, I))[-1], 3).backward()


@pytest.mark.parametrize("loss", [all_steps, last_step])
@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_in_a_loop(kind: str, loss: Callable[[nn.Module], None]) -> None:
    trace = check(lambda: Loop(kind), loss)
    assert trace[0].steps == T


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_without_a_batch(kind: str) -> None:
    check(lambda: Loop(kind), lambda model: weighed(model(normal(T, I)), 3).backward())


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_that_starts_from_a_learned_state(kind: str) -> None:
    class Learned(Loop):
        def __init__(self) -> None:
            super().__init__(kind)
            self.start = nn.Parameter(torch.empty(H))

        def forward(self, x: Tensor) -> Tensor:
            start = self.start.expand(B, H)
            return super().forward(x, (start, start.tanh()) if kind == "LSTM" else start)

    check(Learned, all_steps)


@pytest.mark.parametrize("kind", CELLS)
def test_two_cells_on_top_of_each_other(kind: str) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.ModuleList([CELLS[kind](I, H), CELLS[kind](H, H)])

        def forward(self, x: Tensor) -> Tensor:
            states: list[State] = [None, None]
            for value in x:
                states[0] = self.cells[0](value, states[0])
                states[1] = self.cells[1](first(states[0]), states[1])
            return first(states[1])

    trace = check(Two, last_step)
    assert [(link.below, link.above) for link in trace.links] == [(("cells.0",), "cells.1")]


class Stepped(nn.Module):
    """A fused layer over windows of its input, its state handed on through ``between``."""

    def __init__(
        self, kind: str, window: int, between: Callable[[Tensor], Tensor] = lambda s: s
    ) -> None:
        super().__init__()
        self.layer, self.window, self.between = LAYERS[kind](I, H), window, between

    def forward(self, x: Tensor) -> Tensor:
        out, state = [], None
        for part in x.split(self.window):
            output, state = self.layer(part, apply(state, self.between))
            out.append(output)
        return torch.cat(out)


def detach(state: Tensor) -> Tensor:
    return state.detach()


def detach_and_ask_again(state: Tensor) -> Tensor:
    return state.detach().requires_grad_()


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_one_step_at_a_time(kind: str) -> None:
    trace = check(lambda: Stepped(kind, 1), all_steps)
    assert trace[0].walls == ()
    assert not trace.findings


def detach_and_ask_through_a_view(state: Tensor) -> Tensor:
    return detach_and_ask_again(state).clone().view_as(state)


@pytest.mark.parametrize(
    "cut", [detach, detach_and_ask_again, detach_and_ask_through_a_view], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_detached_state_is_a_wall(kind: str, cut: Callable[[Tensor], Tensor]) -> None:
    trace = check(lambda: Stepped(kind, 2, cut), all_steps)
    assert trace[0].walls == (2, 4)
    assert not trace.findings


@pytest.mark.parametrize("kind", CELLS)
def test_a_wall_in_a_loop_of_cells(kind: str) -> None:
    trace = check(
        lambda: Loop(kind, lambda t, state: apply(state, detach) if t == 3 else state), all_steps
    )
    assert trace[0].walls == (3,)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_state_carried_over_windows_is_found_with_its_effective_window(kind: str) -> None:
    trace = check(lambda: Stepped(kind, 2), all_steps)
    assert trace[0].walls == ()
    (finding,) = trace.findings
    assert finding.evidence == {"calls": 3, "effective_window_steps": T}


@pytest.mark.parametrize("kind", LAYERS)
def test_windows_each_with_a_backward_pass_of_its_own(kind: str) -> None:
    def truncated(model: nn.Module) -> None:
        state: State = None
        for part in normal(T, B, I).split(2):
            output, state = model(part, apply(state, detach))
            weighed(output, 3).backward()

    trace = check(lambda: LAYERS[kind](I, H), truncated)
    assert trace[0].walls == (2, 4)


def alive(t: int) -> Tensor:
    """Which sequences of the batch go on at step t: one ends after 2 steps, one after 4."""
    return torch.tensor([[True], [t < 2], [t < 4]])


@pytest.mark.parametrize("kind", CELLS)
def test_a_loop_that_holds_the_state_of_a_sequence_that_has_ended(kind: str) -> None:
    class Masked(Loop):
        def forward(self, x: Tensor) -> Tensor:
            zero = x.new_zeros(B, H)
            state = (zero, zero) if kind == "LSTM" else (zero,)
            for t, step in enumerate(x):
                new = self.cell(step, state if kind == "LSTM" else state[0])
                new = (new,) if isinstance(new, Tensor) else new
                held = zip(new, state, strict=True)
                state = tuple(torch.where(alive(t), after, before) for after, before in held)
            return state[0]

    assert check(lambda: Masked(kind), lambda m: weighed(m(normal(T, B, I)), 3).backward())


@pytest.mark.parametrize("kind", CELLS)
def test_a_loop_that_begins_anew_where_an_episode_ends(kind: str) -> None:
    def begin_anew(t: int, state: State) -> State:
        return apply(state, lambda part: part * alive(t)) if t in (2, 4) else state

    check(lambda: Loop(kind, begin_anew), all_steps)


@pytest.mark.parametrize("kind", LAYERS)
def test_windows_that_begin_anew_where_an_episode_ends(kind: str) -> None:
    check(lambda: Stepped(kind, 2, lambda part: part * alive(3)), all_steps)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_state_changed_in_place_between_windows(kind: str) -> None:
    def begin_anew(part: Tensor) -> Tensor:
        part[:, 1] = 0
        return part

    check(lambda: Stepped(kind, 2, begin_anew), all_steps)


def test_a_state_changed_in_place_between_steps() -> None:
    def begin_anew(t: int, state: State) -> State:
        if t in (2, 4):
            for part in (state,) if isinstance(state, Tensor) else state:
                part[1] = 0
        return state

    class Ends(Loop):
        def forward(self, x: Tensor) -> Tensor:
            state: State = None
            for t, step in enumerate(x):
                state = self.cell(step, self.between(t, state))
            return first(state)

    check(
        lambda: Ends("GRU", begin_anew), lambda model: weighed(model(normal(T, B, I)), 3).backward()
    )


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_called_twice_is_two_sequences(kind: str) -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = LAYERS[kind](I, H)

        def forward(self, x: Tensor) -> Tensor:
            left, right = (first(self.layer(part)[1]) for part in (x, x.flip(0)))
            return left - right

    trace = check(Siamese, all_steps, chains={"layer": [[0], [1]]})
    assert trace.names == ("layer", "layer (2)")


@pytest.mark.parametrize("kind", LAYERS)
def test_an_encoder_and_a_decoder(kind: str) -> None:
    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = LAYERS[kind](I, H), LAYERS[kind](I, H)
            self.bridge = nn.Linear(H, H)

        def forward(self, x: Tensor) -> Tensor:
            _, state = self.encoder(x)
            return self.decoder(x[:3], apply(state, lambda part: self.bridge(part).tanh()))[0]

    trace = check(Translator, last_step)
    assert trace.names == ("encoder", "decoder")


@pytest.mark.parametrize("kind", LAYERS)
def test_two_layers_as_modules_of_their_own(kind: str) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lower, self.upper = LAYERS[kind](I, H), LAYERS[kind](H, H)

        def forward(self, x: Tensor) -> Tensor:
            return self.upper(self.lower(x)[0])[0]

    trace = check(Two, last_step)
    assert [(link.below, link.above) for link in trace.links] == [(("lower",), "upper")]


def test_a_fresh_start_at_zero_goes_on_from_nothing_even_where_the_other_ended_at_zero() -> None:
    class Silent(nn.Module):
        """Two sequences through a ReLU layer whose state dies, and is zero at the end of both."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.RNN(I, H, nonlinearity="relu")

        def forward(self, x: Tensor) -> Tensor:
            stop = -1e6 * torch.ones_like(x[:1])
            return self.layer(torch.cat([x, stop]))[0].sum() + self.layer(x)[0]

    def positive() -> nn.Module:
        model = Silent().double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(normal(*parameter.shape).abs())
        return model

    trace = assert_captured(positive, all_steps_of_abs, {"layer": [[0], [1]]})
    assert not trace[0].states[-1].any()


def all_steps_of_abs(model: nn.Module) -> None:
    weighed(model(normal(T, B, I).abs()), 3).backward()


def test_a_state_that_is_no_number_goes_on_as_one_sequence() -> None:
    cell = prepared(lambda: nn.GRUCell(I, H))
    x = normal(T, B, I)
    x[1, 0] = torch.nan
    with capture(cell) as run:
        state = None
        for step in x:
            state = cell(step, state)
        first(state).sum().backward()
    (layer,) = run.trace
    assert layer.steps == T
    assert layer.states[1:, 0].isnan().all()
    assert layer.states[:, 1:].isfinite().all()


@pytest.mark.parametrize("kind", CELLS)
def test_sequences_that_take_turns_at_one_cell(kind: str) -> None:
    class Turns(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = CELLS[kind](I, H)

        def forward(self, x: Tensor) -> Tensor:
            states: list[State] = [None, None, None]
            for step in x:
                states = [self.cell(step * n, state) for n, state in enumerate(states, 1)]
            return torch.cat([first(state) for state in states])

    calls = [[n, n + 3, n + 6, n + 9, n + 12] for n in range(3)]
    step = normal(3 * B, H)

    def loss(model: nn.Module) -> None:
        (model(normal(T, B, I)) * step).sum().backward()

    trace = assert_captured(lambda: prepared(Turns), loss, {"cell": calls})
    assert trace.names == ("cell", "cell (2)", "cell (3)")
