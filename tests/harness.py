"""One harness for all recurrences: ``check_linearised`` asserts that a derivative is the exact one.

The truth is a plain step function, ``step(t, state (B S), x (B I)) -> state (B S)``, that autograd
can differentiate; everything is float64. Each check is an assertion of its own, so that a wrong
derivative is told from a wrong argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from cases import normal
from torch import Tensor

from throughtime.recurrences import Linearised

EXACT = {"rtol": 1e-11, "atol": 1e-12}
LEADING = [(), (3,), (2, 3)]
TrueStep = Callable[[int, Tensor, Tensor], Tensor]


@dataclass
class Subject:
    """What is checked, and the truth about it, which reads ``recurrent_weights``."""

    linear: Linearised
    before: Tensor
    inputs: Tensor
    step: TrueStep
    recurrent_weights: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        self.T, self.B, self.S = self.before.shape
        self.I = self.inputs.shape[-1]

    def pull_back(self, t: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """``J_tᵀ rows`` and ``(∂s_t/∂x_t)ᵀ rows`` by autograd, for any leading axes."""
        state = self.before[t].clone().requires_grad_()
        x = self.inputs[t].clone().requires_grad_()
        after = self.step(t, state, x)
        pairs = [
            torch.autograd.grad(after, (state, x), row, retain_graph=True, materialize_grads=True)
            for row in rows.reshape(-1, self.B, self.S)
        ]
        leading = rows.shape[:-2]
        states, xs = (torch.stack(found) for found in zip(*pairs, strict=True))
        return states.view(*leading, self.B, self.S), xs.view(*leading, self.B, self.I)

    def push(self, t: int, columns: Tensor, x: Tensor) -> Tensor:
        """``J_t columns + ∂s_t/∂x_t x`` by autograd, for any leading axes."""
        at = self.before[t], self.inputs[t]
        pairs = zip(columns.reshape(-1, self.B, self.S), x.reshape(-1, self.B, self.I), strict=True)
        pushed = [
            torch.autograd.functional.jvp(lambda s, u: self.step(t, s, u), at, pair)[1]
            for pair in pairs
        ]
        return torch.stack(pushed).view(columns.shape).detach()


def rows_of(subject: Subject, leading: tuple[int, ...], seed: int, last: str = "S") -> Tensor:
    return normal(*leading, subject.B, getattr(subject, last), seed=seed)


def the_length_is_told(subject: Subject) -> None:
    assert subject.linear.steps == subject.T


def vjp_is_autograds(subject: Subject) -> None:
    for t in range(subject.T):
        for leading in LEADING:
            rows = rows_of(subject, leading, 20 + t)
            kept = rows.clone()
            torch.testing.assert_close(
                subject.linear.vjp(t, rows), subject.pull_back(t, rows)[0], **EXACT
            )
            assert torch.equal(rows, kept), "vjp changed what it was given"


def vjp_takes_rows_in_any_layout(subject: Subject) -> None:
    rows = normal(subject.B, subject.S, 3, seed=4).permute(2, 0, 1)
    wanted = subject.pull_back(0, rows)[0]
    torch.testing.assert_close(subject.linear.vjp(0, rows), wanted, **EXACT)


def vjp_adds_plus(subject: Subject) -> None:
    for leading in LEADING:
        rows, plus = rows_of(subject, leading, 1), rows_of(subject, leading, 2)
        kept = plus.clone()
        for t in range(subject.T):
            wanted = plus + subject.pull_back(t, rows)[0]
            torch.testing.assert_close(subject.linear.vjp(t, rows, plus), wanted, **EXACT)
            torch.testing.assert_close(subject.linear.vjp(t, rows, plus=plus), wanted, **EXACT)
        assert torch.equal(plus, kept), "vjp changed plus"


def vjp_writes_out(subject: Subject) -> None:
    for leading in LEADING:
        rows, plus = rows_of(subject, leading, 1), rows_of(subject, leading, 2)
        for t in range(subject.T):
            for added in (None, plus):
                out = torch.full_like(rows, torch.nan)
                found = subject.linear.vjp(t, rows, plus=added, out=out)
                wanted = subject.pull_back(t, rows)[0] + (0 if added is None else added)
                assert found is out, "vjp did not return out"
                torch.testing.assert_close(out, wanted, **EXACT)


def adjoint_is_the_recursion(subject: Subject) -> None:
    direct = normal(subject.T, subject.B, subject.S, seed=3)
    for blocked in (frozenset[int](), frozenset({1, subject.T - 1})):
        wanted = [direct[-1]]
        for t in range(subject.T - 1, 0, -1):
            back = direct[t - 1] + (t not in blocked) * subject.pull_back(t, wanted[0])[0]
            wanted.insert(0, back)
        kept = direct.clone()
        found = subject.linear.adjoint(direct, blocked)
        torch.testing.assert_close(found, torch.stack(wanted), **EXACT)
        assert torch.equal(direct, kept), "adjoint changed what it was given"


def jvp_is_autograds(subject: Subject) -> None:
    for t in range(subject.T):
        for leading in LEADING:
            columns, x = rows_of(subject, leading, 30 + t), rows_of(subject, leading, 40, "I")
            alone, both = subject.linear.jvp(t, columns), subject.linear.jvp(t, columns, x)
            wanted = subject.push(t, columns, torch.zeros_like(x))
            torch.testing.assert_close(alone, wanted, **EXACT)
            torch.testing.assert_close(both, subject.push(t, columns, x), **EXACT)


def input_vjp_is_autograds(subject: Subject) -> None:
    for t in range(subject.T):
        for leading in LEADING:
            rows = rows_of(subject, leading, 50 + t)
            wanted = subject.pull_back(t, rows)[1]
            torch.testing.assert_close(subject.linear.input_vjp(t, rows), wanted, **EXACT)


def inner_products_agree(subject: Subject) -> None:
    """⟨J v + K u, w⟩ = ⟨v, Jᵀ w⟩ + ⟨u, Kᵀ w⟩: the two directions know one derivative."""
    v, w, u = (rows_of(subject, (), seed, last) for seed, last in ((6, "S"), (7, "S"), (8, "I")))
    for t in range(subject.T):
        left = (subject.linear.jvp(t, v, u) * w).sum()
        right = (v * subject.linear.vjp(t, w)).sum() + (u * subject.linear.input_vjp(t, w)).sum()
        torch.testing.assert_close(left, right, **EXACT)


def differences_agree(subject: Subject, width: float = 1e-6) -> None:
    """Central differences: no autograd at all. Second order, so about half of the digits."""
    v = rows_of(subject, (), 9)
    for t in range(subject.T):
        ahead, behind = (
            subject.step(t, subject.before[t] + sign * width * v, subject.inputs[t])
            for sign in (1, -1)
        )
        wanted = ((ahead - behind) / (2 * width)).detach()
        torch.testing.assert_close(subject.linear.jvp(t, v), wanted, rtol=1e-6, atol=1e-8)


def weight_gradient_is_autograds(subject: Subject) -> None:
    rows = normal(subject.T, subject.B, subject.S, seed=5)
    found = subject.linear.recurrent_weight_gradient(rows)
    if not subject.recurrent_weights:
        assert found is None
        return
    pairs = zip(subject.before, subject.inputs, rows, strict=True)
    total = sum((subject.step(t, s, x) * row).sum() for t, (s, x, row) in enumerate(pairs))
    wanted = sum(torch.autograd.grad(total, subject.recurrent_weights))
    torch.testing.assert_close(found, wanted, **EXACT)


CHECKS = [
    the_length_is_told,
    vjp_is_autograds,
    vjp_takes_rows_in_any_layout,
    vjp_adds_plus,
    vjp_writes_out,
    adjoint_is_the_recursion,
    jvp_is_autograds,
    input_vjp_is_autograds,
    inner_products_agree,
    differences_agree,
    weight_gradient_is_autograds,
]
