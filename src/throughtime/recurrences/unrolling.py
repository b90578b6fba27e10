"""``unroll``: a recurrence over a whole sequence, differentiable, at the cost of one loop each way.

Autograd through a Python loop keeps a dozen small tensors a step and walks back through them one
by one. Here the forward pass keeps the states alone, and the backward pass is the adjoint sweep of
the recurrence linearised along them, ``δ_{t−1} = e_{t−1} + J_tᵀ δ_t``: only that is sequential. The
gradients of inputs and weights then follow from one step of all T at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from throughtime.errors import UnsupportedError
from throughtime.recurrences.driven import Driven


class Place(NamedTuple):
    """Where in its layer a run stands: nothing that the arithmetic reads but ``lengths``.

    Attributes:
        name: of the run within its layer: ``""``, ``.l1``, ``.l1.reverse``.
        reverse: its inputs are in the order of computation, last first.
        lengths: of every sequence of the batch, None where all are T. States past an end are zero.
        order: the indices that bring the batch into the user's order, None where it is in it.
        scale: the dropout mask through which its inputs came from the run below (T B I), or None.
    """

    name: str = ""
    reverse: bool = False
    lengths: tuple[int, ...] | None = None
    order: Tensor | None = None
    scale: Tensor | None = None


ALONE = Place()

# The C library gives memory back to the system when much of it is freed, and the next step has it
# again page by page, which takes longer than to compute on it. Having seen one large block come and
# go, though nothing was written there, glibc keeps twice as much (mallopt(3), M_MMAP_THRESHOLD).
torch.empty(2**22, dtype=torch.float32)

# So many numbers of state make a block of the backward pass.
_BLOCK = 2**17


def unroll(
    kind: type[Driven],
    settings: Mapping[str, float],
    inputs: Float[Tensor, "T B I"],
    initial: Float[Tensor, "B S"],
    weights: Sequence[Tensor | None],
    place: Place = ALONE,
) -> Float[Tensor, "T B S"]:
    """The states s_1 … s_T of ``kind(*weights, **settings)``, differentiable once.

    ``tt.capture`` sees it as it sees torch's fused kernels.

    Args:
        kind: the recurrence.
        settings: its settings, by name.
        inputs: x_1 … x_T.
        initial: s_0.
        weights: its weights in the order of ``kind.names``; None for one that it does without.
        place: where in its layer the run stands.

    Raises:
        UnsupportedError: by a second derivative.
    """
    tensors = (inputs, initial, *(weight for weight in weights if weight is not None))
    if has_torch_function(tensors):
        seen: Tensor = handle_torch_function(
            unroll, tensors, kind, settings, inputs, initial, weights, place
        )
        return seen
    dtype = next(one.dtype for one in weights if one is not None)
    given = (inputs.to(dtype), initial.to(dtype), *weights)  # autocast may have made them half
    with torch.autocast(inputs.device.type, enabled=False):
        return _Unroll.apply(kind, settings, place.lengths, *given)  # type: ignore[no-untyped-call, no-any-return]  # torch's apply has no types


class _Unroll(torch.autograd.Function):
    """``run`` forwards, ``adjoint`` backwards."""

    @staticmethod
    def forward(
        ctx: Any,
        kind: type[Driven],
        settings: Mapping[str, float],
        lengths: tuple[int, ...] | None,
        inputs: Tensor,
        initial: Tensor,
        *weights: Tensor | None,
    ) -> Tensor:
        cell = kind(*weights, **settings)
        remembered: tuple[Tensor, ...] = ()
        if any(ctx.needs_input_grad):
            states, remembered = cell.remember(inputs, initial)
        else:
            states = cell.run(cell.drive(inputs), initial)
        alive = None
        if lengths is not None:
            steps = torch.arange(len(inputs), device=inputs.device).unsqueeze(1)
            alive = (steps < torch.tensor(lengths, device=inputs.device)).unsqueeze(-1)
            states.masked_fill_(~alive, 0.0)
        ctx.kind, ctx.settings, ctx.count = kind, settings, len(weights)
        ctx.save_for_backward(alive, inputs, initial, states, *weights, *remembered)
        return states

    @staticmethod
    def backward(ctx: Any, direct: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        with torch.no_grad(), torch.autocast(direct.device.type, enabled=False):
            cell = ctx.kind(*(_detached(one) for one in saved[4 : 4 + ctx.count]), **ctx.settings)
            gradients = _gradients(cell, direct, saved[:4], saved[4 + ctx.count :], wanted)
        if torch.is_grad_enabled():
            differentiable = [one for one in saved if one is not None and one.requires_grad]
            gradients = _Once.apply(len(gradients), *gradients, *differentiable)  # type: ignore[no-untyped-call]  # torch's apply has no types
        return (None, None, None, *gradients)


def _gradients(
    cell: Driven,
    direct: Tensor,
    saved: Sequence[Any],
    remembered: Sequence[Tensor],
    wanted: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Those of inputs, initial state and weights, each where it is wanted.

    One block of time after another, the last first: what a block needs stays in the processor's
    cache, and what it needs beside the result does not grow with T.
    """
    alive, inputs, initial, states = map(_detached, saved)
    direct = direct if alive is None else direct * alive
    among = zip(("inputs", *cell.names), (wanted[0], *wanted[2:]), strict=True)
    names = [name for name, want in among if want]
    sums: dict[str, Tensor] = {}
    of_inputs: list[Tensor] = []
    back: Tensor | None = None
    block = max(1, _BLOCK // states[0].numel())
    for start in range((len(states) - 1) // block * block, -1, -block):
        part = slice(start, start + block)
        first = states[start - 1] if start else initial
        linear = cell.recall(inputs[part], states[part], first, *(one[part] for one in remembered))
        rows = direct[part]
        if back is not None:
            rows = rows.clone()
            rows[-1] += back
        total = linear.adjoint(rows)
        found = linear.gradients(total, inputs[part], names) if names else {}
        back = linear.vjp(0, total[0]) if start or wanted[1] else None
        if not found.keys() >= set(names):
            before = torch.cat([first.unsqueeze(0), states[part][:-1]])
            found = cell.pull_back(total, before, inputs[part], names)
        if wanted[0]:
            of_inputs.append(found["inputs"])
        for name in found.keys() & set(cell.names):
            sums[name] = sums[name].add_(found[name]) if name in sums else found[name]
    given = torch.cat(of_inputs[::-1]) if wanted[0] else None
    of_weights = (sums.get(name) if name in names else None for name in cell.names)
    return given, back, *of_weights


def _detached(tensor: Any) -> Any:
    return tensor if tensor is None else tensor.detach()


class _Once(torch.autograd.Function):
    """The gradients as they are; their own derivative is refused in one sentence."""

    @staticmethod
    def forward(_: Any, count: int, *values: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(None if one is None else one.view_as(one) for one in values[:count])

    @staticmethod
    def backward(*_: Any) -> tuple[None, ...]:
        raise UnsupportedError(
            "a layer of throughtime.cells has no second derivative: take the gradient without "
            "create_graph=True, or write the cell as a loop of its step"
        )
