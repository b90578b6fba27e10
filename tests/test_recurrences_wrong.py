"""The harness rejects wrong derivatives: each is a right one with a single term or habit spoilt."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from cases import B, H, I, T, normal
from harness import CHECKS, Subject
from test_recurrences import Cell, cell, single
from torch import Tensor

from throughtime.recurrences import Linearised

Blocks = dict[str, Tensor]


def diag(values: Tensor, weight: Tensor) -> Tensor:
    """diag(values) weight, (T B H K)."""
    return values.unsqueeze(-1) * weight


class ByBlocks(Linearised):
    """J and K = ∂s/∂x as matrices (T B S ·), put together from named blocks: slow and plain."""

    def __init__(self, made: Cell, before: Tensor, inputs: Tensor, spoil: str = "") -> None:
        self.steps = len(before)
        self.made, self.before, self.spoil = made, before, spoil
        make = {"tanh": self.elman, "relu": self.elman, "LSTM": self.lstm, "GRU": self.gru}
        self.J, self.K, self.G = make[made.kind](before, inputs)

    def term(self, name: str, value: Tensor) -> Tensor:
        return torch.zeros_like(value) if self.spoil == f"no {name}" else value

    def weights(self, gates: int) -> tuple[list[Tensor], list[Tensor]]:
        """The blocks of W_hh and of W_ih, spoilt where that is asked for."""
        recurrent = list(self.made.weights["hh"].detach().chunk(gates))
        driven = list(self.made.weights["ih"].detach().chunk(gates))
        if self.spoil == "W transposed":
            recurrent = [w.T for w in recurrent]
        if self.spoil == "gate order":
            recurrent[0], recurrent[1] = recurrent[1], recurrent[0]
        return recurrent, driven

    def elman(self, before: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (w,), (u,) = self.weights(1)
        h = self.made.step(before, inputs).detach()
        slope = 1 - h**2 if self.made.kind == "tanh" else (h > 0).double()
        if self.spoil == "slope not squared":
            slope = 1 - h.abs()
        if self.spoil == "slope after W":  # as printed in Pascanu, Mikolov & Bengio 2013
            return w * slope.unsqueeze(-2), diag(slope, u), torch.diag_embed(slope)
        return diag(slope, w), diag(slope, u), torch.diag_embed(slope)

    def lstm(self, before: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (w_i, w_f, w_g, w_o), (u_i, u_f, u_g, u_o) = self.weights(4)
        h, c = before.chunk(2, -1)
        weights = {name: weight.detach() for name, weight in self.made.weights.items()}
        a = inputs @ weights["ih"].T + h @ weights["hh"].T
        a = a + weights["b_ih"] + weights["b_hh"]
        i, f, g, o = (s(part) for s, part in zip(SQUASH, a.chunk(4, -1), strict=True))
        new = torch.tanh(f * c + i * g)
        read_out = self.term("read-out", o * (1 - new**2))
        cell = c * f + i * g if self.spoil == "c of the wrong step" else c
        slopes = {
            "gate i": self.term("gate i", g * i * (1 - i)),
            "gate f": self.term("gate f", cell * f * (1 - f)),
            "gate g": self.term("gate g", i * (1 - g**2)),
            "gate o": self.term("gate o", new * o * (1 - o)),
        }
        slope_i, slope_f, slope_g, slope_o = slopes.values()
        c_h = diag(slope_i, w_i) + diag(slope_f, w_f) + diag(slope_g, w_g)
        c_x = diag(slope_i, u_i) + diag(slope_f, u_f) + diag(slope_g, u_g)
        c_c = torch.diag_embed(self.term("carousel", f))
        h_h, h_x = (
            diag(slope_o, w_o) + diag(read_out, c_h),
            diag(slope_o, u_o) + diag(read_out, c_x),
        )
        top, bottom = torch.cat([h_h, diag(read_out, c_c)], -1), torch.cat([c_h, c_c], -1)
        into_c = [torch.diag_embed(slope) for slope in (slope_i, slope_f, slope_g)]
        into_c.append(torch.zeros_like(into_c[0]))
        into_h = [diag(read_out, block) for block in into_c[:3]] + [torch.diag_embed(slope_o)]
        gates = torch.cat([torch.cat(into_h, -1), torch.cat(into_c, -1)], -2)
        return torch.cat([top, bottom], -2), torch.cat([h_x, c_x], -2), gates

    def gru(self, before: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (w_r, w_z, w_n), (u_r, u_z, u_n) = self.weights(3)
        weights = {name: weight.detach() for name, weight in self.made.weights.items()}
        driven = (inputs @ weights["ih"].T + weights["b_ih"]).chunk(3, -1)
        past = (before @ weights["hh"].T + weights["b_hh"]).chunk(3, -1)
        r, z = torch.sigmoid(driven[0] + past[0]), torch.sigmoid(driven[1] + past[1])
        q = past[2]
        n = torch.tanh(driven[2] + r * q)
        keep = 1 - z if self.spoil == "z turned round" else z
        into_n = (1 - z) * (1 - n**2)
        slope_r = self.term("gate r", into_n * q * r * (1 - r))
        slope_z = self.term("gate z", (before - n) * z * (1 - z))
        slope_n = self.term("gate n", into_n if self.spoil == "n not reset" else into_n * r)
        J = torch.diag_embed(self.term("keeping", keep))
        J = J + diag(slope_r, w_r) + diag(slope_z, w_z) + diag(slope_n, w_n)
        through = slope_n if self.spoil == "input reset" else into_n
        K = diag(slope_r, u_r) + diag(slope_z, u_z) + diag(through, u_n)
        return J, K, torch.cat([torch.diag_embed(s) for s in (slope_r, slope_z, slope_n)], -1)

    def vjp(
        self, t: int, rows: Tensor, plus: Tensor | None = None, out: Tensor | None = None
    ) -> Tensor:
        back = torch.einsum("bij,...bi->...bj", self.J[t], rows)
        back = back if plus is None else back + plus
        return back if out is None else out.copy_(back)

    def jvp(self, t: int, columns: Tensor, x: Tensor | None = None) -> Tensor:
        pushed = torch.einsum("bij,...bj->...bi", self.J[t], columns)
        return pushed if x is None else pushed + torch.einsum("bij,...bj->...bi", self.K[t], x)

    def input_vjp(self, t: int, rows: Tensor) -> Tensor:
        return torch.einsum("bij,...bi->...bj", self.K[t], rows)

    def recurrent_weight_gradient(self, rows: Tensor) -> Tensor:
        gates = torch.einsum("tbig,tbi->tbg", self.G, rows)
        return torch.einsum("tbg,tbh->gh", gates, self.before[..., :H])


SQUASH = (torch.sigmoid, torch.sigmoid, torch.tanh, torch.sigmoid)
EVERY_CELL = ["W transposed"]
SPOILT = {
    "tanh": [*EVERY_CELL, "slope not squared", "slope after W"],
    "relu": [*EVERY_CELL, "slope not squared", "slope after W"],
    "LSTM": [
        *EVERY_CELL,
        "gate order",
        "c of the wrong step",
        *(
            f"no {term}"
            for term in ("read-out", "carousel", "gate i", "gate f", "gate g", "gate o")
        ),
    ],
    "GRU": [
        *EVERY_CELL,
        "gate order",
        "z turned round",
        "n not reset",
        "input reset",
        *(f"no {term}" for term in ("keeping", "gate r", "gate z", "gate n")),
    ],
}


def failures(subject: Subject) -> list[str]:
    """The names of the checks that this subject fails."""
    failed = []
    for check in CHECKS:
        try:
            check(subject)
        except AssertionError:
            failed.append(check.__name__)
    return failed


def by_blocks(kind: str, spoil: str) -> Subject:
    made = cell(kind)
    weight = made.weights["hh"].requires_grad_()
    before = normal(T, B, made.ours.state_size, seed=2)
    inputs = normal(T, B, I, seed=3)
    linear = ByBlocks(made, before, inputs, spoil)
    return Subject(linear, before, inputs, lambda _, s, x: made.step(s, x), (weight,))


@pytest.mark.parametrize("kind", SPOILT)
def test_the_plain_derivative_passes(kind: str) -> None:
    assert failures(by_blocks(kind, "")) == []


@pytest.mark.parametrize(
    ("kind", "spoil"), [(k, s) for k, faults in SPOILT.items() for s in faults]
)
def test_a_wrong_derivative_is_rejected(kind: str, spoil: str) -> None:
    assert failures(by_blocks(kind, spoil))


class Bad(Linearised):
    """A right derivative with one bad habit, by name."""

    def __init__(self, right: Linearised, habit: str) -> None:
        self.right, self.habit = right, habit
        self.steps = right.steps + (habit == "one step too many")

    def vjp(
        self, t: int, rows: Tensor, plus: Tensor | None = None, out: Tensor | None = None
    ) -> Tensor:
        match self.habit:
            case "plus forgotten":
                return self.right.vjp(t, rows, None, out)
            case "plus changed" if plus is not None:
                return self.right.vjp(t, rows, plus.add_(1e-9), out)
            case "rows changed":
                return self.right.vjp(t, rows.mul_(1 + 1e-9), plus, out)
            case "out forgotten":
                return self.right.vjp(t, rows, plus)
            case "out added to" if out is not None:
                return out.add_(self.right.vjp(t, rows, plus))
            case "another tensor returned" if out is not None:
                return self.right.vjp(t, rows, plus, out).clone()
            case "the step before":
                return self.right.vjp(max(0, t - 1), rows, plus, out)
            case "the batch mixed":
                return self.right.vjp(t, rows.flip(-2), plus, out)
            case "one row for all":
                first = rows.reshape(-1, *rows.shape[-2:])[0].expand(rows.shape)
                return self.right.vjp(t, first, plus, out)
            case "the tangent in place of the adjoint":
                back = self.right.jvp(t, rows) + (0 if plus is None else plus)
                return back if out is None else out.copy_(back)
        return self.right.vjp(t, rows, plus, out)

    def adjoint(self, direct: Tensor, blocked: frozenset[int] = frozenset()) -> Tensor:
        if self.habit == "walls forgotten":
            return self.right.adjoint(direct)
        if self.habit == "the last step forgotten":
            return self.right.adjoint(torch.cat([direct[:-1], torch.zeros_like(direct[-1:])]))
        return self.right.adjoint(direct, blocked)

    def jvp(self, t: int, columns: Tensor, x: Tensor | None = None) -> Tensor:
        if self.habit == "the input's tangent forgotten":
            return self.right.jvp(t, columns)
        if self.habit == "the input's tangent alone" and x is not None:
            return self.right.jvp(t, torch.zeros_like(columns), x)
        if self.habit == "the adjoint in place of the tangent":
            return self.right.vjp(t, columns)
        return self.right.jvp(t, columns, x)

    def input_vjp(self, t: int, rows: Tensor) -> Tensor:
        sign = -1 if self.habit == "the input's sign" else 1
        return sign * self.right.input_vjp(t, rows)

    def recurrent_weight_gradient(self, rows: Tensor) -> Tensor | None:
        if self.habit == "no weight gradient":
            return None
        if self.habit == "a step of the weight gradient lost":
            rows = torch.cat([torch.zeros_like(rows[:1]), rows[1:]])
        return self.right.recurrent_weight_gradient(rows)


HABITS = [
    "plus forgotten",
    "plus changed",
    "rows changed",
    "out forgotten",
    "out added to",
    "another tensor returned",
    "the step before",
    "the batch mixed",
    "one row for all",
    "the tangent in place of the adjoint",
    "walls forgotten",
    "the last step forgotten",
    "the input's tangent forgotten",
    "the input's tangent alone",
    "the adjoint in place of the tangent",
    "the input's sign",
    "no weight gradient",
    "a step of the weight gradient lost",
    "one step too many",
]


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("kind", ["tanh", "LSTM", "GRU"])
def test_a_bad_habit_is_rejected(kind: str, habit: str) -> None:
    right = single(kind, bias=True)
    bad = Bad(right.linear, habit)
    spoilt = Subject(bad, right.before, right.inputs, right.step, right.recurrent_weights)
    assert failures(spoilt)


def test_every_check_of_the_harness_rejects_something() -> None:
    subjects: list[Callable[[], Subject]] = [
        lambda kind=kind, spoil=spoil: by_blocks(kind, spoil)
        for kind, faults in SPOILT.items()
        for spoil in faults[:1]
    ]
    right = single("tanh", bias=True)
    subjects += [
        lambda habit=habit: Subject(
            Bad(right.linear, habit),
            right.before,
            right.inputs,
            right.step,
            right.recurrent_weights,
        )
        for habit in HABITS
    ]
    rejected = {name for make in subjects for name in failures(make())}
    assert rejected == {check.__name__ for check in CHECKS}
