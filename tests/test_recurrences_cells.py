"""The recurrences that ``unroll`` trains: step against the paper's formula, derivative against it.

Each formula is written out here a second time, in plain torch, with the weights taken apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import pytest
import torch
from cases import B, H, I, T, generator, normal
from harness import CHECKS, EXACT, Subject
from test_recurrences_wrong import Bad, failures
from torch import Tensor

from throughtime.errors import InputError
from throughtime.recurrences import Linearised
from throughtime.recurrences.antisymmetric import Antisymmetric
from throughtime.recurrences.cornn import CoRNN
from throughtime.recurrences.driven import Driven
from throughtime.recurrences.lem import LEM
from throughtime.recurrences.lru import LRU
from throughtime.recurrences.mingru import MinGRU, PositiveMinGRU
from throughtime.recurrences.modrelu import ModReLU, ReLU, Tanh

Weights = Mapping[str, Tensor]
Formula = Callable[[Weights, Tensor, Tensor], Tensor]


def entering(w: Weights, state: Tensor, x: Tensor) -> Tensor:
    """``W_hh s + W_ih x + b``."""
    return x @ w["weight_ih"].T + state @ w["weight_hh"].T + w.get("bias", torch.zeros(()))


def modrelu(w: Weights, h: Tensor, x: Tensor) -> Tensor:
    a = h @ w["weight_hh"].T + x @ w["weight_ih"].T
    return a if "bias" not in w else a.sign() * (a.abs() + w["bias"]).clamp(min=0)


def antisymmetric(w: Weights, h: Tensor, x: Tensor) -> Tensor:
    M = w["weight_hh"] - w["weight_hh"].T - 0.3 * torch.eye(H, dtype=h.dtype)
    a = h @ M.T + x @ w["weight_ih"].T + w.get("bias", torch.zeros(()))
    return h + 0.4 * torch.tanh(a)


def gated(w: Weights, h: Tensor, x: Tensor) -> Tensor:
    M = w["weight_hh"] - w["weight_hh"].T - 0.3 * torch.eye(H, dtype=h.dtype)
    driven = x @ w["weight_ih"].T + w.get("bias", torch.zeros(()))
    n, z = torch.tanh(h @ M.T + driven[..., :H]), torch.sigmoid(h @ M.T + driven[..., H:])
    return h + 0.4 * z * n


def cornn(w: Weights, state: Tensor, x: Tensor) -> Tensor:
    y, z = state[..., :H], state[..., H:]
    new_z = z + 0.2 * (torch.tanh(entering(w, state, x)) - 2.5 * y - 1.5 * z)
    return torch.cat([y + 0.2 * new_z, new_z], -1)


def lem(w: Weights, state: Tensor, x: Tensor) -> Tensor:
    y, z = state[..., :H], state[..., H:]
    bias = w.get("bias", torch.zeros(4 * H, dtype=y.dtype)).chunk(4)
    rows = zip(w["weight_ih"].chunk(4), w["weight_hh"].chunk(4), bias, strict=True)
    (u_g, w_g, b_g), (u_s, w_s, b_s), (u_r, w_r, b_r), (u_q, w_q, b_q) = rows
    s = 0.6 * torch.sigmoid(y @ w_s.T + x @ u_s.T + b_s)
    r = 0.6 * torch.sigmoid(y @ w_r.T + x @ u_r.T + b_r)
    new_z = (1 - s) * z + s * torch.tanh(y @ w_g.T + x @ u_g.T + b_g)
    new_y = (1 - r) * y + r * torch.tanh(new_z @ w_q.T + x @ u_q.T + b_q)
    return torch.cat([new_y, new_z], -1)


def mingru(w: Weights, h: Tensor, x: Tensor, positive: bool = False) -> Tensor:
    a = x @ w["weight_ih"].T + w.get("bias", torch.zeros(()))
    z, n = torch.sigmoid(a[..., :H]), a[..., H:]
    n = torch.where(n >= 0, n + 0.5, torch.sigmoid(n)) if positive else n
    return (1 - z) * h + z * n


def lru(w: Weights, state: Tensor, x: Tensor) -> Tensor:
    eigenvalues = torch.exp(torch.complex(-w["nu_log"].exp(), w["theta_log"].exp()))
    B_, s = torch.complex(*w["weight_ih"].chunk(2)), torch.complex(*state.chunk(2, -1))
    s = eigenvalues * s + w["gamma_log"].exp() * (x.to(B_.dtype) @ B_.T)
    return torch.cat([s.real, s.imag], -1)


@dataclass(frozen=True)
class Case:
    """A recurrence, its formula, the shapes of its weights and its settings."""

    kind: type[Driven]
    formula: Formula
    shapes: Mapping[str, tuple[int, ...]]
    settings: Mapping[str, float] = field(default_factory=dict)

    def weights(self, bias: bool) -> dict[str, Tensor]:
        draw = generator(3)
        return {
            name: torch.randn(shape, generator=draw, dtype=torch.float64) * 0.7
            for name, shape in self.shapes.items()
            if bias or name != "bias"
        }

    def ours(self, weights: Weights) -> Driven:
        return self.kind(*(weights.get(name) for name in self.kind.names), **self.settings)


ELMAN = {"weight_ih": (H, I), "weight_hh": (H, H), "bias": (H,)}
EULER = {"epsilon": 0.4, "gamma": 0.3}
CASES: dict[str, Case] = {
    "modReLU": Case(ModReLU, modrelu, ELMAN),
    "tanh": Case(Tanh, lambda w, h, x: torch.tanh(entering(w, h, x)), ELMAN),
    "ReLU": Case(ReLU, lambda w, h, x: torch.relu(entering(w, h, x)), ELMAN),
    "antisymmetric": Case(Antisymmetric, antisymmetric, ELMAN, EULER),
    "antisymmetric, gated": Case(
        Antisymmetric, gated, {**ELMAN, "weight_ih": (2 * H, I), "bias": (2 * H,)}, EULER
    ),
    "coRNN": Case(
        CoRNN, cornn, {**ELMAN, "weight_hh": (H, 2 * H)}, {"dt": 0.2, "gamma": 2.5, "epsilon": 1.5}
    ),
    "LEM": Case(
        LEM, lem,
        {"weight_ih": (4 * H, I), "weight_hh": (4 * H, H), "bias": (4 * H,)}, {"dt": 0.6},
    ),
    "minGRU": Case(MinGRU, mingru, {"weight_ih": (2 * H, I), "bias": (2 * H,)}),
    "minGRU, positive": Case(
        PositiveMinGRU, lambda w, h, x: mingru(w, h, x, positive=True),
        {"weight_ih": (2 * H, I), "bias": (2 * H,)},
    ),
    "LRU": Case(
        LRU, lru,
        {"weight_ih": (2 * H, I), "nu_log": (H,), "theta_log": (H,), "gamma_log": (H,)},
    ),
}  # fmt: skip  # rows of a table


@cache
def subject(name: str, bias: bool) -> Subject:
    case = CASES[name]
    weights = case.weights(bias)
    ours = case.ours(weights)
    read = (weights["weight_hh"].requires_grad_(),) if "weight_hh" in weights else ()
    before, inputs = normal(T, B, ours.state_size, seed=2), normal(T, B, I, seed=3)
    linear = ours.linearise(before, inputs)
    return Subject(linear, before, inputs, lambda _, s, x: case.formula(weights, s, x), read)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_derivative_is_exact(name: str, bias: bool, check: Callable[[Subject], None]) -> None:
    check(subject(name, bias))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_step_is_the_papers_formula(name: str, bias: bool) -> None:
    case = CASES[name]
    weights = case.weights(bias)
    ours = case.ours(weights)
    state, x = normal(T, B, ours.state_size, seed=2), normal(T, B, I, seed=3)
    torch.testing.assert_close(ours.step(state, x), case.formula(weights, state, x), **EXACT)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_run_is_one_step_after_another(name: str, bias: bool) -> None:
    case = CASES[name]
    weights = case.weights(bias)
    ours, inputs = case.ours(weights), normal(T, B, I, seed=3)
    initial = normal(B, ours.state_size, seed=2)
    found = ours.run(ours.drive(inputs), initial)
    torch.testing.assert_close(found, ours.unroll(inputs, initial), **EXACT)


@pytest.mark.parametrize("name", CASES)
def test_a_run_changes_nothing_that_it_was_given(name: str) -> None:
    ours = CASES[name].ours(CASES[name].weights(True))
    initial, driven = normal(B, ours.state_size, seed=2), ours.drive(normal(T, B, I, seed=3))
    kept = initial.clone(), driven.clone()
    ours.run(driven, initial)
    assert torch.equal(initial, kept[0])
    assert torch.equal(driven, kept[1])


@pytest.mark.parametrize("leading", [(), (2,)])
@pytest.mark.parametrize("name", CASES)
def test_the_last_stage_and_the_sum_of_the_paths_are_the_adjoint(
    name: str, leading: tuple[int, ...]
) -> None:
    one = subject(name, True)
    for t in range(T):
        rows = normal(*leading, B, one.S, seed=t)
        whole = one.linear.vjp(t, rows)
        ways = [list(one.linear.stages(t, rows).values())[-1]]
        if paths := one.linear.paths(t, rows, whole):
            ways.append(sum(paths.values(), torch.zeros_like(whole)))
        for way in ways:
            torch.testing.assert_close(way, whole, **EXACT)


@pytest.mark.parametrize("name", CASES)
def test_every_step_at_once_is_each_step_by_itself(name: str) -> None:
    linear, rows = subject(name, True).linear, normal(T, B, subject(name, True).S)
    each = torch.stack([linear.vjp(t, rows[t]) for t in range(T)])
    torch.testing.assert_close(linear.vjp_every(rows), each, **EXACT)
    torch.testing.assert_close(Linearised.vjp_every(linear, rows), each, **EXACT)


@pytest.mark.parametrize("name", CASES)
def test_what_is_squashed_is_an_activation_and_has_an_entry(name: str) -> None:
    ours = CASES[name].ours(CASES[name].weights(True))
    state, x = normal(T, B, ours.state_size), normal(T, B, I, seed=2)
    made, entering = ours.activations(state, x), ours.preactivations(state, x)
    assert set(made) == set(ours.squashing)
    for letter, function in ours.squashing.items():
        if letter in entering:
            wanted = getattr(torch, function)(entering[letter])
            torch.testing.assert_close(made[letter], wanted, **EXACT)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind.variants])
def test_an_unknown_variant_is_refused(name: str) -> None:
    ours = CASES[name].ours(CASES[name].weights(True))
    with pytest.raises(InputError, match="no variant 'another'"):
        ours.variant("another", normal(T, B, ours.state_size), normal(T, B, I))


def transposed(name: str) -> Subject:
    """The derivative of the same cell with W_hhᵀ in place of W_hh."""
    right, case = subject(name, True), CASES[name]
    weights = case.weights(True)
    weights["weight_hh"] = weights["weight_hh"].T.contiguous()
    wrong = case.ours(weights).linearise(right.before, right.inputs)
    return Subject(wrong, right.before, right.inputs, right.step, right.recurrent_weights)


class Spoilt(Bad):
    """The habits of ``Bad``, and one of cells with two parts: a part of the adjoint is lost."""

    def vjp(
        self, t: int, rows: Tensor, plus: Tensor | None = None, out: Tensor | None = None
    ) -> Tensor:
        if self.habit != "the second part lost":
            return super().vjp(t, rows, plus, out)
        half = rows.shape[-1] // 2
        kept = torch.cat([rows[..., :half], torch.zeros_like(rows[..., half:])], -1)
        return self.right.vjp(t, kept, plus, out)


@pytest.mark.parametrize("name", ["modReLU", "tanh", "antisymmetric", "antisymmetric, gated"])
def test_a_transposed_recurrent_matrix_is_rejected(name: str) -> None:
    assert "vjp_is_autograds" in failures(transposed(name))


@pytest.mark.parametrize("habit", ["the second part lost", "the batch mixed", "walls forgotten"])
@pytest.mark.parametrize("name", ["coRNN", "LEM", "LRU"])
def test_a_bad_habit_is_rejected(name: str, habit: str) -> None:
    right = subject(name, True)
    bad = Spoilt(right.linear, habit)
    assert failures(Subject(bad, right.before, right.inputs, right.step, right.recurrent_weights))


def derived(value: Tensor, derivative: Tensor) -> Tensor:
    """``value`` itself, whose derivative is that of another expression."""
    return value.detach() + derivative - derivative.detach()


class AsIf(torch.overrides.TorchFunctionMode):
    """Within it tanh, sign and ReLU keep their values and have the slope 1 of the identity."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if func in (torch.tanh, torch.relu):
            return derived(found, args[0])
        return found


UNSQUASHED = [name for name, case in CASES.items() if "no squashing" in case.kind.variants]


@pytest.mark.parametrize("name", [name for name in UNSQUASHED if name != "modReLU"])
def test_without_squashing_the_slopes_of_tanh_and_relu_are_one(name: str) -> None:
    right, case = subject(name, True), CASES[name]
    weights, rows = case.weights(True), normal(T, B, right.S, seed=8)
    found = case.ours(weights).variant("no squashing", right.before, right.inputs)
    state = right.before.clone().requires_grad_()
    with AsIf():
        after = case.formula(weights, state, right.inputs)
    (wanted,) = torch.autograd.grad(after, state, rows)
    torch.testing.assert_close(found.vjp_every(rows), wanted, **EXACT)


@pytest.mark.parametrize("name", ["coRNN", "LEM"])
def test_no_way_through_the_gates_is_no_recurrent_matrix_in_the_derivative(name: str) -> None:
    right, case = subject(name, True), CASES[name]
    weights, rows = case.weights(True), normal(T, B, right.S, seed=8)
    ours = case.ours(weights)
    found = ours.variant("no way through the gates", right.before, right.inputs)
    made = ours.linearise(right.before, right.inputs)
    for t in range(T):
        carousel = made.paths(t, rows[t], made.vjp(t, rows[t]))["carousel"]
        torch.testing.assert_close(found.vjp(t, rows[t]), carousel, **EXACT)


def test_the_matrix_of_the_lru_has_its_eigenvalues() -> None:
    case = CASES["LRU"]
    weights = case.weights(True)
    found = torch.linalg.eigvals(case.ours(weights).matrix())
    one = torch.exp(torch.complex(-weights["nu_log"].exp(), weights["theta_log"].exp()))
    wanted = torch.cat([one, one.conj()])
    nearest = (found.unsqueeze(0) - wanted.unsqueeze(1)).abs().min(1).values
    torch.testing.assert_close(nearest, torch.zeros_like(nearest), rtol=0, atol=1e-12)


def test_the_matrix_of_an_antisymmetric_rnn_has_the_real_part_of_its_diffusion() -> None:
    case = CASES["antisymmetric"]
    real = torch.linalg.eigvals(case.ours(case.weights(True)).recurrent_blocks()["M"]).real
    torch.testing.assert_close(real, torch.full_like(real, -0.3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_gradients_of_inputs_and_of_all_weights_are_autograds(name: str, bias: bool) -> None:
    case = CASES[name]
    weights = {key: value.requires_grad_() for key, value in case.weights(bias).items()}
    ours, inputs = case.ours(weights), normal(T, B, I, seed=3).requires_grad_()
    before, rows = normal(T, B, ours.state_size, seed=2), normal(T, B, ours.state_size, seed=5)
    after = case.formula(weights, before, inputs)
    asked = {"inputs": inputs, **weights}
    wanted = torch.autograd.grad(after, list(asked.values()), rows)
    found = ours.linearise(before, inputs.detach()).gradients(rows, inputs.detach())
    for key, expected in zip(asked, wanted, strict=True):
        torch.testing.assert_close(found[key], expected, **EXACT)


@pytest.mark.parametrize("name", ["modReLU", "tanh", "ReLU"])
def test_a_replay_from_the_outputs_finds_the_same_derivative(name: str) -> None:
    ours, inputs = CASES[name].ours(CASES[name].weights(True)), normal(T, B, I, seed=3)
    initial = normal(B, H, seed=2)
    states = ours.unroll(inputs, initial)
    found = ours.replay(inputs, states, initial)[1]
    wanted = ours.linearise(torch.cat([initial[None], states[:-1]]), inputs)
    rows = normal(T, B, H, seed=5)
    torch.testing.assert_close(found.vjp_every(rows), wanted.vjp_every(rows), **EXACT)
