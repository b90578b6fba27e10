"""Anybody's own recurrence, given only its ``step``; the derivatives come from ``torch.func``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from throughtime.errors import InputError
from throughtime.recurrences.base import Linearised, Recurrence

Step = Callable[[Tensor, Tensor], Tensor]


class Custom(Recurrence):
    """A hand-written recurrence ``step(state (B S), x (B I)) -> state (B S)``.

    ``step`` must be a pure function of its two arguments (its weights held fixed) made of
    operations that ``torch.func`` can differentiate. ``parts`` names slices of the state.
    """

    kind: ClassVar[str] = "custom"

    def __init__(self, step: Step, state_size: int, parts: dict[str, slice] | None = None) -> None:
        self._step = step
        self.state_size = state_size
        self.parts = parts or {"h": slice(0, state_size)}
        self.squashing = {}

    def to(self, dtype: torch.dtype) -> Custom:
        return self

    def step(
        self, state: Float[Tensor, "... B S"], x: Float[Tensor, "... B I"]
    ) -> Float[Tensor, "... B S"]:
        after = self._step(state, x)
        if after.shape != state.shape:
            raise InputError(
                f"step must return a state of the shape it was given, {tuple(state.shape)}, "
                f"not {tuple(after.shape)}"
            )
        return after

    def linearise(
        self, before: Float[Tensor, "T B S"], inputs: Float[Tensor, "T B I"]
    ) -> Linearised:
        return LinearisedByAutograd(self.step, before, inputs)


class LinearisedByAutograd(Linearised):
    """Any step, linearised by ``torch.func`` at one state after another: right, and slower."""

    def __init__(self, step: Step, before: Tensor, inputs: Tensor) -> None:
        self.steps, self.dtype = len(before), before.dtype
        self._step, self._before, self._inputs = step, before, inputs

    def _pull_back(self, t: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        pull_back: Any = torch.func.vjp(self._step, self._before[t], self._inputs[t])[1]
        stacked = rows.reshape(-1, *rows.shape[-2:])
        state, x = torch.func.vmap(pull_back)(stacked)
        return state.view(*rows.shape[:-1], -1), x.view(*rows.shape[:-1], x.shape[-1])

    def vjp(
        self,
        t: int,
        rows: Float[Tensor, "... B S"],
        plus: Float[Tensor, "... B S"] | None = None,
        out: Float[Tensor, "... B S"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        back, _ = self._pull_back(t, rows)
        back = back if plus is None else back + plus
        return back if out is None else out.copy_(back)

    def jvp(
        self,
        t: int,
        columns: Float[Tensor, "... B S"],
        x: Float[Tensor, "... B I"] | None = None,
    ) -> Float[Tensor, "... B S"]:
        before, inputs = self._before[t], self._inputs[t]
        x = columns.new_zeros(*columns.shape[:-1], inputs.shape[-1]) if x is None else x
        # J is the transpose of Jᵀ: the pull-back is linear, and pulled back itself. Forward mode
        # would do it in one go, for the operations that know it.
        pull_back = torch.func.vjp(self._step, before, inputs)[1]
        push = torch.func.vjp(pull_back, torch.zeros_like(before))[1]
        stacked = (tangent.reshape(-1, *tangent.shape[-2:]) for tangent in (columns, x))
        pushed: Any = torch.func.vmap(lambda *tangents: push(tangents)[0])(*stacked)
        return torch.as_tensor(pushed).view(columns.shape)

    def input_vjp(self, t: int, rows: Float[Tensor, "... B S"]) -> Float[Tensor, "... B I"]:
        return self._pull_back(t, rows)[1]
