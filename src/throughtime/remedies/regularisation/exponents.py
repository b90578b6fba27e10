"""The leading Lyapunov exponents of a run, differentiable by its states, inputs and weights.

The frame is swept there and back by ``FrameSweep``. What is left is ``Σ_t ⟨Z̄_t, J_t Q_{t−1}⟩`` as a
function of what J_t is made of, with Z̄ and Q as constants: one derivative of all steps at once.
Through the states the gradient then goes on by the recurrence's own adjoint sweep. No kernel needs
a second derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from throughtime.recording.unrolled import Unrolled
from throughtime.recurrences import Driven
from throughtime.remedies.regularisation.frame import FrameSweep, Plan, start_frame
from throughtime.trace import steps_alive

# So many numbers of a frame are differentiated at a time.
_BLOCK = 2**19
# So many of the tensors that a run is made of, the states before it and the inputs, are by step.
_BY_STEP = 2


def exponents(run: Unrolled, states: Float[Tensor, "T B S"], plan: Plan) -> Float[Tensor, "B K"]:
    """The leading exponents of each sequence of a run that made ``states``, nats per step."""
    before = torch.cat([run.initial.unsqueeze(0).to(states.dtype), states[:-1]])
    alive = steps_alive(len(states), states.shape[1], run.place.lengths, states.device)
    found: Tensor = _Exponents.apply(  # type: ignore[no-untyped-call]  # torch's apply has no types
        run.kind, run.settings, plan, alive, before, run.inputs, *run.weights
    )
    return found


class _Exponents(torch.autograd.Function):
    """In float64, whatever the precision of the run."""

    @staticmethod
    def forward(
        ctx: Any,
        kind: type[Driven],
        settings: Mapping[str, float],
        plan: Plan,
        alive: Bool[Tensor, "T B"],
        *tensors: Tensor | None,
    ) -> Tensor:
        before, inputs, *weights = map(_double, tensors)
        with torch.autocast(alive.device.type, enabled=False):
            linear = kind(*weights, **settings).linearise(before, inputs)
            ctx.sweep = FrameSweep(linear, plan, alive)
            found: Tensor = ctx.sweep.push(start_frame(plan.size, before))
        ctx.kind, ctx.settings = kind, settings
        ctx.by_states = _through_states(plan, found)
        ctx.save_for_backward(*tensors)
        return found

    @staticmethod
    def backward(ctx: Any, sent: Float[Tensor, "B K"]) -> tuple[Tensor | None, ...]:
        tensors, wanted = ctx.saved_tensors, ctx.needs_input_grad[4:]

        def step(before: Tensor, inputs: Tensor, *weights: Tensor | None) -> Tensor:
            after: Tensor = ctx.kind(*weights, **ctx.settings).step(before, inputs)
            return after

        with torch.autocast(sent.device.type, enabled=False):
            rows, columns = ctx.sweep.pull(sent), ctx.sweep.columns
            found = _derivatives(step, list(map(_double, tensors)), wanted, columns, rows)
        if found[0] is not None:
            found[0] = torch.where(ctx.by_states, found[0], torch.zeros_like(found[0]))
        pairs = zip(found, tensors, strict=True)
        return None, None, None, None, *(one if one is None else one.to(of) for one, of in pairs)


def _through_states(plan: Plan, found: Float[Tensor, "B K"]) -> Bool[Tensor, "B 1"]:
    """The sequences whose states count as functions of the weights.

    In chaos what they send back through time explodes, and the sum is noise.
    """
    if plan.through_states is None:
        return found[:, :1] <= 0
    return torch.full_like(found[:, :1], plan.through_states, dtype=torch.bool)


def _derivatives(
    step: Callable[..., Tensor],
    tensors: Sequence[Any],
    wanted: Sequence[bool],
    columns: Sequence[Float[Tensor, "K B S"]],
    rows: Sequence[Float[Tensor, "K B S"]],
) -> list[Tensor | None]:
    """Those of ``Σ_t ⟨rows_t, J_t columns_t⟩``: by states before, inputs (T B ·), and weights."""
    sums: list[Tensor | None] = [
        torch.zeros_like(tensor) if want else None
        for tensor, want in zip(tensors, wanted, strict=True)
    ]
    length = max(1, _BLOCK // columns[0].numel())
    for start in range(0, len(columns), length):
        part = slice(start, start + length)
        given = [one[part] if n < _BY_STEP else one for n, one in enumerate(tensors)]
        leaves = [
            one.detach().requires_grad_() if want else one
            for one, want in zip(given, wanted, strict=True)
        ]
        with torch.enable_grad():
            value = _product(step, leaves, rows[part], columns[part])
        asked = [one for one, want in zip(leaves, wanted, strict=True) if want]
        found = iter(torch.autograd.grad(value, asked, allow_unused=True, materialize_grads=True))
        for n, total in enumerate(sums):
            if total is not None:
                (total[part] if n < _BY_STEP else total).add_(next(found))
    return sums


def _product(
    step: Callable[..., Tensor],
    given: Sequence[Any],
    rows: Sequence[Float[Tensor, "K B S"]],
    columns: Sequence[Float[Tensor, "K B S"]],
) -> Float[Tensor, ""]:
    """``Σ_t ⟨J_tᵀ rows_t, columns_t⟩``, as a function of what is given: each row a sequence."""
    before, inputs, *weights = given
    times = len(rows[0])
    repeated = before.repeat(1, times, 1).requires_grad_()
    after = step(repeated, inputs.repeat(1, times, 1), *weights)
    sent = torch.stack(list(rows)).flatten(1, 2)
    (back,) = torch.autograd.grad(after, repeated, sent, create_graph=True)
    product: Tensor = (back * torch.stack(list(columns)).flatten(1, 2)).sum()
    return product


def _double(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().double()
