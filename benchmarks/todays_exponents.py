"""Lyapunov exponents by the ways that torch itself offers: Jacobians by autograd, QR at every step.

Every way is given the states of a run, and returns mean log |R_ii| after the burn-in, (A). The cell
is torch's own; an LSTM's state is (h, c) side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from benchmarks.todays_ways import cell_with_weights_of

Step = Callable[[Tensor, Tensor], Tensor]
Exponents = Callable[[nn.RNNBase, Tensor, Tensor, Tensor, int], Tensor]
"""From the layer, the states before each step (T S), its inputs (T I), a frame (S A), a burn-in."""


def by_functional(
    layer: nn.RNNBase, before: Tensor, inputs: Tensor, frame: Tensor, burn_in: int
) -> Tensor:
    """One ``torch.autograd.functional.jacobian`` at each step: a backward pass for every row."""
    step = _step(layer)

    def jacobian(state: Tensor, x: Tensor) -> Tensor:
        return torch.autograd.functional.jacobian(lambda s: step(s, x), state)

    each = (jacobian(state, x) for state, x in zip(before, inputs, strict=True))
    return _by_qr(each, frame, burn_in)


def by_jacrev(
    layer: nn.RNNBase, before: Tensor, inputs: Tensor, frame: Tensor, burn_in: int
) -> Tensor:
    """One ``torch.func.jacrev`` at each step: all rows in one batched backward pass."""
    jacobian = torch.func.jacrev(_step(layer))
    each = (jacobian(state, x).detach() for state, x in zip(before, inputs, strict=True))
    return _by_qr(each, frame, burn_in)


def all_at_once(
    layer: nn.RNNBase, before: Tensor, inputs: Tensor, frame: Tensor, burn_in: int
) -> Tensor:
    """``vmap`` of ``jacrev`` over time: the Jacobians of all steps at once, T S² numbers."""
    jacobians = torch.func.vmap(torch.func.jacrev(_step(layer)))(before, inputs)
    return _by_qr(jacobians.detach(), frame, burn_in)


def _step(layer: nn.RNNBase) -> Step:
    cell = cell_with_weights_of(layer)
    if not isinstance(layer, nn.LSTM):
        return lambda state, x: cell(x[None], state[None])[0]

    def joint(state: Tensor, x: Tensor) -> Tensor:
        return torch.cat(cell(x[None], tuple(state[None].chunk(2, -1))), -1)[0]

    return joint


@torch.no_grad()
def _by_qr(jacobians: Iterable[Tensor], frame: Tensor, burn_in: int) -> Tensor:
    logs = []
    for jacobian in jacobians:
        frame, r = torch.linalg.qr(jacobian @ frame)
        logs.append(r.diagonal().abs().log())
    return torch.stack(logs[burn_in:]).mean(0)
