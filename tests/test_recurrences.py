"""Every recurrence: its step against torch's own, and its derivative against the harness."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import reference
import torch
from cases import B, H, I, P, T, generator, normal
from harness import CHECKS, EXACT, Subject
from torch import Tensor, nn

import throughtime as tt
from throughtime.recurrences import (
    GRU,
    LSTM,
    Custom,
    Elman,
    Recurrence,
    Segment,
    Segments,
    Stacked,
)

Weights = dict[str, Tensor]
GATES = {"tanh": 1, "relu": 1, "LSTM": 4, "LSTM-proj": 4, "GRU": 3}


@dataclass
class Cell:
    """Weights drawn for one kind of recurrence, and what torch computes with them."""

    kind: str
    weights: Weights

    @property
    def ours(self) -> Recurrence:
        w = self.weights
        if self.kind == "GRU":
            return GRU(w["ih"], w["hh"], w.get("b_ih"), w.get("b_hh"))
        bias = w["b_ih"] + w["b_hh"] if "b_ih" in w else None
        if self.kind.startswith("LSTM"):
            return LSTM(w["ih"], w["hh"], bias, w.get("hr"))
        return Elman(w["ih"], w["hh"], bias, self.kind)

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        """The step as ``reference`` writes it out, on the joint state."""
        if self.kind.startswith("LSTM"):
            width = self.weights["hh"].shape[1]
            parts = reference.lstm(self.weights, x, state[..., :width], state[..., width:])
            return torch.cat(parts, -1)
        if self.kind == "GRU":
            return reference.gru(self.weights, x, state)[0]
        return reference.rnn(self.weights, x, state, self.kind)[0]


def cell(kind: str, inputs: int = I, bias: bool = True, seed: int = 0) -> Cell:
    rows, read = GATES[kind] * H, P if kind == "LSTM-proj" else H
    shapes = {"ih": (rows, inputs), "hh": (rows, read)}
    shapes |= {"b_ih": (rows,), "b_hh": (rows,)} if bias else {}
    shapes |= {"hr": (P, H)} if kind == "LSTM-proj" else {}
    draw = generator(seed)
    weights = {
        name: torch.randn(shape, generator=draw, dtype=torch.float64) * 0.7
        for name, shape in shapes.items()
    }
    return Cell(kind, weights)


def single(kind: str, bias: bool) -> Subject:
    made = cell(kind, bias=bias)
    weight = made.weights["hh"].requires_grad_()
    before, inputs = normal(T, B, made.ours.state_size, seed=2), normal(T, B, I, seed=3)
    linear = made.ours.linearise(before, inputs)
    return Subject(linear, before, inputs, lambda _, s, x: made.step(s, x), (weight,))


def custom(kind: str) -> Subject:
    made = cell(kind)
    size = made.ours.state_size
    before, inputs = normal(T, B, size, seed=2), normal(T, B, I, seed=3)
    linear = Custom(made.step, size).linearise(before, inputs)
    return Subject(linear, before, inputs, lambda _, s, x: made.step(s, x))


def segments(kind: str, kept: bool) -> Subject:
    """Three stretches of time, each with other weights; sequence 1 starts anew in the second."""
    starts = [0, 2, 3, T]
    cells = [cell(kind, seed=seed) for seed in range(3)]
    inputs = normal(T, B, I, seed=3)
    going_on = torch.tensor([True, False, True])
    ends, made = [normal(B, cells[0].ours.state_size, seed=2)], []
    before = []
    for n, one in enumerate(cells):
        here = inputs[starts[n] : starts[n + 1]]
        first = ends[-1] * going_on.unsqueeze(-1) if n == 1 else ends[-1]
        after = one.ours.unroll(here, first)
        before += [ends[-1], *after[:-1]]
        linear = None
        if kept:
            linear = one.ours.linearise(torch.cat([first.unsqueeze(0), after[:-1]]), here)
        made.append(Segment(one.ours, first, after, here, linear, going_on if n == 1 else None))
        ends.append(after[-1])

    def step(t: int, state: Tensor, x: Tensor) -> Tensor:
        state = state * going_on.unsqueeze(-1) if t == starts[1] else state
        return cells[sum(t >= start for start in starts[1:])].step(state, x)

    weights = tuple(one.weights["hh"].requires_grad_() for one in cells)
    return Subject(Segments(made), torch.stack(before), inputs, step, weights)


def stacked(kind: str, dropout: bool) -> Subject:
    """Three layers, of which the upper ones read the output of the one below."""
    read = P if kind == "LSTM-proj" else H
    cells = [cell(kind, I, seed=0), cell(kind, read, seed=1), cell(kind, read, seed=2)]
    size, outputs = cells[0].ours.state_size, [read] * 3
    masks = [None, None, None]
    if dropout:
        masks[1:] = [(normal(T, B, read, seed=8 + n) > 0) * 2.0 for n in range(2)]
    inputs, before = normal(T, B, I, seed=3), normal(T, B, 3 * size, seed=2)

    def step(t: int, state: Tensor, x: Tensor) -> Tensor:
        after = []
        for n, (one, part) in enumerate(zip(cells, state.split(size, -1), strict=True)):
            given = x if n == 0 else after[-1][..., :read]
            scale = masks[n]
            after.append(one.step(part, given if scale is None else given * scale[t]))
        return torch.cat(after, -1)

    layers, below = [], inputs
    for n, (one, part) in enumerate(zip(cells, before.split(size, -1), strict=True)):
        scale = masks[n]
        given = below if scale is None else below * scale
        layers.append(one.ours.linearise(part, given))
        below = one.step(part, given)[..., :read]
    return Subject(Stacked(layers, [size] * 3, outputs, masks), before, inputs, step)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    **{
        f"{kind}, bias {bias}": lambda kind=kind, bias=bias: single(kind, bias)
        for kind in GATES
        for bias in (True, False)
    },
    **{f"custom {kind}": lambda kind=kind: custom(kind) for kind in ("tanh", "LSTM", "GRU")},
    **{
        f"segments of {kind}, kept {kept}": lambda kind=kind, kept=kept: segments(kind, kept)
        for kind in GATES
        for kept in (True, False)
    },
    **{
        f"stack of {kind}, dropout {dropout}": lambda k=kind, d=dropout: stacked(k, d)
        for kind in GATES
        for dropout in (True, False)
    },
}


@cache
def subject(name: str) -> Subject:
    return SUBJECTS[name]()


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", SUBJECTS)
def test_the_derivative_is_exact(name: str, check: Callable[[Subject], None]) -> None:
    check(subject(name))


def torch_cell(made: Cell) -> nn.Module:
    """torch's own module with these weights: a cell, or a layer where a cell has no projection."""
    w, bias = made.weights, "b_ih" in made.weights
    module = {
        "tanh": lambda: nn.RNNCell(I, H, bias),
        "relu": lambda: nn.RNNCell(I, H, bias, nonlinearity="relu"),
        "LSTM": lambda: nn.LSTMCell(I, H, bias),
        "LSTM-proj": lambda: nn.LSTM(I, H, bias=bias, proj_size=P),
        "GRU": lambda: nn.GRUCell(I, H, bias),
    }[made.kind]().double()
    suffix = "_l0" if isinstance(module, nn.RNNBase) else ""
    names = {"ih": "weight_ih", "hh": "weight_hh", "hr": "weight_hr"}
    names |= {"b_ih": "bias_ih", "b_hh": "bias_hh"}
    module.load_state_dict({names[key] + suffix: weight for key, weight in w.items()})
    return module


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", GATES)
def test_the_step_is_that_of_torchs_own_module(kind: str, bias: bool) -> None:
    made = cell(kind, bias=bias)
    module, ours = torch_cell(made), made.ours
    state, x = normal(B, ours.state_size), normal(B, I, seed=2)
    parts = [state[:, where] for where in ours.parts.values()]
    if isinstance(module, nn.RNNBase):
        _, after = module(x[None], [part[None].contiguous() for part in parts])
        wanted = torch.cat([part[0] for part in after], -1)
    else:
        after = module(x, parts if len(parts) > 1 else parts[0])
        wanted = torch.cat(after, -1) if isinstance(after, tuple) else after
    torch.testing.assert_close(ours.step(state, x), wanted.detach(), **EXACT)


def driven(kind: str) -> tuple[Recurrence, Tensor, Tensor]:
    """A recurrence, inputs (T B I) and an initial state (B S)."""
    ours = cell(kind).ours
    return ours, normal(T, B, I, seed=3), normal(B, ours.state_size, seed=2)


@pytest.mark.parametrize("kind", GATES)
def test_unrolling_takes_one_step_after_another(kind: str) -> None:
    ours, inputs, state = driven(kind)
    states = ours.unroll(inputs, state)
    for t in range(T):
        state = ours.step(state, inputs[t])
        assert torch.equal(states[t], state)
    assert ours.unroll(inputs[:0], state).shape == (0, *state.shape)


@pytest.mark.parametrize("kind", GATES)
def test_a_replay_from_the_outputs_finds_all_states(kind: str) -> None:
    ours, inputs, initial = driven(kind)
    states = ours.unroll(inputs, initial)
    outputs = states[..., ours.parts["h"]]
    replayed, linear = ours.replay(inputs, outputs, initial)
    torch.testing.assert_close(replayed, states, **EXACT)
    before = torch.cat([initial[None], states[:-1]])
    direct = normal(*states.shape, seed=6)
    wanted = ours.linearise(before, inputs)
    torch.testing.assert_close(linear.adjoint(direct), wanted.adjoint(direct), **EXACT)
    torch.testing.assert_close(
        linear.recurrent_weight_gradient(direct), wanted.recurrent_weight_gradient(direct), **EXACT
    )


@pytest.mark.parametrize("kind", GATES)
def test_all_steps_at_once_are_linearised_as_one_by_one(kind: str) -> None:
    ours, inputs, _ = driven(kind)
    before = normal(T, B, ours.state_size, seed=2)
    at_once, v = ours.linearise(before, inputs), normal(B, ours.state_size, seed=4)
    for t in range(T):
        vjp, jvp = ours.vjp(before[t], inputs[t], v), ours.jvp(before[t], inputs[t], v)
        torch.testing.assert_close(at_once.vjp(t, v), vjp, **EXACT)
        torch.testing.assert_close(at_once.jvp(t, v), jvp, **EXACT)


@pytest.mark.parametrize("kind", GATES)
def test_the_jacobian_is_autograds(kind: str) -> None:
    ours, inputs, state = driven(kind)
    found = ours.jacobian(state, inputs[0])
    for b in range(B):
        wanted = torch.autograd.functional.jacobian(
            lambda s, x=inputs[0, b]: ours.step(s[None], x[None])[0], state[b]
        )
        torch.testing.assert_close(found[b], wanted, **EXACT)


@pytest.mark.parametrize("kind", GATES)
def test_weights_that_require_a_gradient_do_not_stand_in_the_way(kind: str) -> None:
    made = cell(kind)
    for weight in made.weights.values():
        weight.requires_grad_()
    linear = made.ours.linearise(normal(T, B, made.ours.state_size), normal(T, B, I))
    assert not linear.vjp(0, normal(B, made.ours.state_size)).requires_grad


PREACTIVATIONS: dict[str, Callable[[dict[str, Tensor]], Tensor]] = {
    "tanh": lambda a: a["a"].tanh(),
    "relu": lambda a: a["a"].relu(),
    "LSTM": lambda a: a["o"].sigmoid() * (a["i"].sigmoid() * a["g"].tanh()).tanh(),
    "GRU": lambda a: (1 - a["z"].sigmoid()) * a["n"].tanh(),
}


@pytest.mark.parametrize("kind", PREACTIVATIONS)
def test_the_preactivations_make_the_step(kind: str) -> None:
    made, x = cell(kind), normal(B, I)
    at_rest = torch.zeros(B, made.ours.state_size, dtype=torch.float64)
    gates = made.ours.preactivations(at_rest, x)
    assert all(gate.shape == (B, H) for gate in gates.values())
    h = made.ours.step(at_rest, x)[:, made.ours.parts["h"]]
    torch.testing.assert_close(PREACTIVATIONS[kind](gates), h, **EXACT)


def test_the_preactivations_of_a_gru_see_the_reset_of_the_past() -> None:
    made, state, x = cell("GRU"), normal(B, H), normal(B, I, seed=2)
    gates = made.ours.preactivations(state, x)
    z = gates["z"].sigmoid()
    wanted = (1 - z) * gates["n"].tanh() + z * state
    torch.testing.assert_close(made.ours.step(state, x), wanted, **EXACT)


@pytest.mark.parametrize("kind", GATES)
def test_the_weights_are_named_as_torch_names_them(kind: str) -> None:
    made = cell(kind)
    named = made.ours.weights()
    assert torch.equal(named["weight_hh"], made.weights["hh"])
    assert torch.equal(named["weight_ih"], made.weights["ih"])


@pytest.mark.parametrize("kept", [True, False])
def test_segments_know_what_each_step_read(kept: bool) -> None:
    one = segments("LSTM", kept)
    linear = one.linear
    ours = [cell("LSTM", seed=seed).ours for seed in (0, 0, 1, 2, 2)]
    for t in range(T):
        read = linear.read(t)
        assert torch.equal(read["input"], one.inputs[t])
        state = one.before[t] * torch.tensor([[1.0], [0.0], [1.0]]) if t == 2 else one.before[t]
        assert torch.equal(read["state"], state)
        assert torch.equal(linear.weights(t)["weight_hh"], ours[t].weight_hh)
        assert torch.equal(
            linear.preactivations(t)["f"], ours[t].preactivations(state, one.inputs[t])["f"]
        )


def test_a_nonlinearity_that_is_none() -> None:
    with pytest.raises(ValueError, match="'tanh' or 'relu', not 'sine'"):
        Elman(torch.ones(H, I), torch.ones(H, H), nonlinearity="sine")


def test_a_step_that_returns_another_shape() -> None:
    wrong = Custom(lambda state, _: state[:, :1], H)
    with pytest.raises(tt.InputError, match=r"of the shape it was given, \(3, 4\), not \(3, 1\)"):
        wrong.step(normal(B, H), normal(B, I))


def test_parts_of_ones_own() -> None:
    parts = {"fast": slice(0, 1), "slow": slice(1, H)}
    assert Custom(lambda state, _: state, H, parts).parts == parts
    assert Custom(lambda state, _: state, H).parts == {"h": slice(0, H)}
