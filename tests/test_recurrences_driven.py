"""``unroll`` against a loop that autograd follows, for every cell; JANET and IndRNN in the harness.

The loop is ``Recurrence.unroll``: one step after another, with a graph.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from cases import B, H, I, T, normal
from harness import CHECKS, EXACT, Subject
from test_recurrences_cells import CASES as OTHERS
from test_recurrences_cells import Case, Weights, entering
from torch import Tensor

from throughtime.errors import InputError, UnsupportedError
from throughtime.recurrences import Linearised, Place, unroll, unrolling
from throughtime.recurrences.custom import LinearisedByAutograd
from throughtime.recurrences.indrnn import IndRNN
from throughtime.recurrences.janet import JANET

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def janet(w: Weights, h: Tensor, x: Tensor) -> Tensor:
    s, a = entering(w, h, x).chunk(2, -1)
    return torch.sigmoid(s) * h + (1 - torch.sigmoid(s - 0.7)) * torch.tanh(a)


def indrnn(w: Weights, h: Tensor, x: Tensor) -> Tensor:
    return torch.relu(x @ w["weight_ih"].T + w["weight_hh"] * h + w.get("bias", torch.zeros(())))


OURS: dict[str, Case] = {
    "JANET": Case(
        JANET, janet, {"weight_ih": (2 * H, I), "weight_hh": (2 * H, H), "bias": (2 * H,)},
        {"beta": 0.7},
    ),
    "IndRNN": Case(IndRNN, indrnn, {"weight_ih": (H, I), "weight_hh": (H,), "bias": (H,)}),
}  # fmt: skip  # rows of a table


class ByAutograd(JANET):
    """A recurrence whose author wrote no derivative."""

    def linearise(self, before: Tensor, inputs: Tensor) -> Linearised:
        return LinearisedByAutograd(self.step, before, inputs)


ALL = OURS | OTHERS | {"JANET by autograd": Case(ByAutograd, janet, OURS["JANET"].shapes)}


@cache
def subject(name: str, bias: bool) -> Subject:
    case = OURS[name]
    weights = case.weights(bias)
    ours = case.ours(weights)
    read = (weights["weight_hh"].requires_grad_(),)
    before, inputs = normal(T, B, ours.state_size, seed=2), normal(T, B, I, seed=3)
    linear = ours.linearise(before, inputs)
    return Subject(linear, before, inputs, lambda _, s, x: case.formula(weights, s, x), read)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", OURS)
def test_the_derivative_is_exact(name: str, bias: bool, check: Callable[[Subject], None]) -> None:
    check(subject(name, bias))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", OURS)
def test_the_step_is_the_papers_formula(name: str, bias: bool) -> None:
    case = OURS[name]
    weights = case.weights(bias)
    state, x = normal(T, B, H, seed=2), normal(T, B, I, seed=3)
    found, wanted = case.ours(weights).step(state, x), case.formula(weights, state, x)
    torch.testing.assert_close(found, wanted, **EXACT)


@pytest.mark.parametrize("name", OURS)
def test_the_last_stage_and_the_sum_of_the_paths_are_the_adjoint(name: str) -> None:
    linear = subject(name, True).linear
    for t in range(T):
        rows = normal(2, B, H, seed=t)
        whole = linear.vjp(t, rows)
        paths = linear.paths(t, rows, whole)
        ways = [*list(linear.stages(t, rows).values())[-1:], *([sum(paths.values())] * bool(paths))]
        for way in ways:
            torch.testing.assert_close(way, whole, **EXACT)


@pytest.mark.parametrize("name", OURS)
def test_what_is_squashed_is_an_activation_and_has_an_entry(name: str) -> None:
    ours = OURS[name].ours(OURS[name].weights(True))
    state, x = normal(B, H), normal(B, I, seed=2)
    made, enters = ours.activations(state, x), ours.preactivations(state, x)
    assert set(made) == set(ours.squashing)
    for letter in set(made) & set(enters):
        wanted = getattr(torch, ours.squashing[letter])(enters[letter])
        torch.testing.assert_close(made[letter], wanted, **EXACT)


def test_the_blocks_of_an_indrnn_are_diagonal() -> None:
    ours = OURS["IndRNN"].ours(OURS["IndRNN"].weights(True))
    one = ours.preactivations(normal(B, H), torch.zeros(B, I, dtype=torch.float64))["a"]
    by_matrix = normal(B, H) @ ours.recurrent_blocks()["a"].T + ours.weights()["bias"]
    torch.testing.assert_close(one, by_matrix, **EXACT)


def test_without_its_gate_path_a_janet_is_its_carousel() -> None:
    one = subject("JANET", True)
    ours = OURS["JANET"].ours(OURS["JANET"].weights(True))
    found = ours.variant("no way through the gates", one.before, one.inputs)
    rows = normal(T, B, H, seed=8)
    forget = ours.activations(one.before, one.inputs)["f"]
    torch.testing.assert_close(found.vjp_every(rows), forget * rows, **EXACT)


def test_with_its_forget_gate_at_1_a_janet_keeps_all_that_it_kept_a_part_of() -> None:
    one = subject("JANET", True)
    ours = OURS["JANET"].ours(OURS["JANET"].weights(True))
    found = ours.variant("forget gate at 1", one.before, one.inputs)
    rows = normal(T, B, H, seed=8)
    forget = ours.activations(one.before, one.inputs)["f"]
    wanted = one.linear.vjp_every(rows) + (1 - forget) * rows
    torch.testing.assert_close(found.vjp_every(rows), wanted, **EXACT)


@pytest.mark.parametrize("name", OURS)
def test_an_unknown_variant_is_refused(name: str) -> None:
    ours = OURS[name].ours(OURS[name].weights(True))
    with pytest.raises(InputError, match="no variant 'another'"):
        ours.variant("another", normal(T, B, H), normal(T, B, I))


def leaves(case: Case, bias: bool = True) -> tuple[list[Tensor | None], Tensor, Tensor]:
    """The weights, the inputs (T B I) and an initial state, all of which require a gradient."""
    held = case.weights(bias)
    size = case.ours(held).state_size
    weights = [held[n].requires_grad_() if n in held else None for n in case.kind.names]
    inputs, initial = normal(T, B, I, seed=3), normal(B, size, seed=2)
    return weights, inputs.requires_grad_(), initial.requires_grad_()


@pytest.fixture(params=[1, 2, T], ids=lambda steps: f"blocks of {steps}")
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unrolling, "_BLOCK", request.param * B * H)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_states_and_all_gradients_are_those_of_the_loop(name: str, bias: bool) -> None:
    case = ALL[name]
    weights, inputs, initial = leaves(case, bias)
    asked = [inputs, initial, *(weight for weight in weights if weight is not None)]
    ours = unroll(case.kind, case.settings, inputs, initial, weights)
    loop = case.kind(*weights, **case.settings).unroll(inputs, initial)
    torch.testing.assert_close(ours, loop, **EXACT)
    direct = normal(*ours.shape, seed=5)
    found, wanted = (torch.autograd.grad(one, asked, direct) for one in (ours, loop))
    torch.testing.assert_close(found, wanted, **CLOSE)


@pytest.mark.parametrize("name", ALL)
def test_past_the_end_of_a_sequence_there_is_nothing(name: str) -> None:
    case, lengths = ALL[name], (T, 2, 1)
    weights, inputs, initial = leaves(case)
    asked = [inputs, initial, *(weight for weight in weights if weight is not None)]
    ours = unroll(case.kind, case.settings, inputs, initial, weights, Place(lengths=lengths))
    loop = case.kind(*weights, **case.settings).unroll(inputs, initial)
    alive = (torch.arange(T).unsqueeze(1) < torch.tensor(lengths)).unsqueeze(-1)
    torch.testing.assert_close(ours, loop * alive, **EXACT)
    direct = normal(*ours.shape, seed=5)
    found = torch.autograd.grad(ours, asked, direct)
    wanted = torch.autograd.grad(loop, asked, direct * alive)
    torch.testing.assert_close(found, wanted, **CLOSE)


@pytest.mark.parametrize("name", ALL)
def test_gradcheck(name: str) -> None:
    case = ALL[name]
    weights, inputs, initial = leaves(case)

    def run(*tensors: Tensor) -> Tensor:
        return unroll(case.kind, case.settings, *tensors[:2], tensors[2:])

    assert torch.autograd.gradcheck(run, (inputs, initial, *weights), fast_mode=True)


@pytest.mark.parametrize("asked", ["inputs", "initial", "weight_ih"])
def test_one_gradient_is_found_without_the_others(asked: str) -> None:
    case = ALL["JANET"]
    weights, inputs, initial = leaves(case)
    tensors = {"inputs": inputs, "initial": initial}
    tensors |= dict(zip(case.kind.names, weights, strict=True))
    held = {name: one.detach().requires_grad_(name == asked) for name, one in tensors.items()}
    x, state, *given = held.values()
    states = unroll(case.kind, case.settings, x, state, given)
    loop = case.kind(*given, **case.settings).unroll(x, state)
    found, wanted = (torch.autograd.grad(one.sum(), held[asked]) for one in (states, loop))
    torch.testing.assert_close(found, wanted, **CLOSE)


def test_nothing_to_differentiate_leaves_no_graph() -> None:
    case = ALL["IndRNN"]
    weights, inputs, initial = leaves(case)
    with torch.no_grad():
        states = unroll(case.kind, case.settings, inputs, initial, weights)
    assert not states.requires_grad


@pytest.mark.parametrize("square", [True, False])
def test_a_second_derivative_is_refused_in_one_sentence(square: bool) -> None:
    case = ALL["JANET"]
    weights, inputs, initial = leaves(case)
    states = unroll(case.kind, case.settings, inputs, initial, weights)
    loss = states.square().sum() if square else states.sum()
    (first,) = torch.autograd.grad(loss, inputs, create_graph=True)
    with pytest.raises(UnsupportedError, match="no second derivative"):
        first.sum().backward()


def test_under_autocast_it_keeps_the_precision_of_its_weights() -> None:
    case = ALL["JANET"]
    weights, inputs, initial = leaves(case)
    half = inputs.detach().to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = unroll(case.kind, case.settings, half, initial, weights)
        found.sum().backward()
    wanted = unroll(case.kind, case.settings, half.double(), initial, weights)
    assert torch.equal(found, wanted)
