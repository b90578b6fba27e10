"""Effective state size: how much of its state a recurrence uses to hand the past on to the future.

Parnichkun et al. 2025 take the rank of the operator that maps all inputs before a step to all
outputs from it on. A recurrence makes it from two factors that meet in the state, so that its
singular values are the roots of the eigenvalues of ``W_o W_c``, of size K: what the future reads,
and what the past wrote. Their effective number is the exponential of the entropy of their shares.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

import throughtime as tt
from throughtime.recording.scans.linear import LinearisedScan
from throughtime.recurrences import Linearised


class Factors(NamedTuple):
    """J (T … K K), B (T … K I) and C (T … O K) of a run, step by step, in float64."""

    jacobians: Tensor
    inputs: Tensor
    outputs: Tensor


@torch.no_grad()
def factors(layer: tt.LayerTrace) -> Factors:
    """Of a scan for each head, and one value channel: they are all alike; else of the whole state.

    The input of a scan is the value that it writes, its output what it reads. Those of an LSTM or a
    GRU are the layer's input and its h, linearised along the run.
    """
    linear = layer.linear.to(torch.float64)
    return _of_scan(linear) if isinstance(linear, LinearisedScan) else _of_run(layer, linear)


def largest_factor(of: Factors) -> float:
    """By how much one step can stretch a difference: the largest singular value of any J."""
    return float(torch.linalg.matrix_norm(of.jacobians, 2).max())


def diagonal_exponents(of: Factors, burn_in: int) -> list[float] | None:
    """Of a diagonal recurrence the exact exponents: the largest one of each sequence (B).

    None where J is not diagonal. Nats per step, over the steps behind the burn-in.
    """
    diagonal = of.jacobians.diagonal(dim1=-2, dim2=-1)
    if not torch.equal(torch.diag_embed(diagonal), of.jacobians):
        return None
    largest: list[float] = diagonal[burn_in:].log().mean(0).amax((-2, -1)).tolist()
    return largest


def effective_state_size(of: Factors) -> tuple[float, int]:
    """The effective size, the median over heads and sequences, and the size K of the state."""
    written, read = _gramians(of)
    values = torch.linalg.eigvals(read @ written).real.clamp_min(0).sqrt()
    shares = values / values.sum(-1, keepdim=True)
    entropy = -torch.special.xlogy(shares, shares).sum(-1)
    return float(entropy.exp().median()), written.shape[-1]


def _of_scan(linear: LinearisedScan) -> Factors:
    steps = linear.during(slice(0, linear.steps))
    keys = steps.key.expand(len(steps.value), *steps.value.shape[1:3], -1)
    decay = steps.every_decay()[..., 0].expand_as(keys)
    queries = torch.ones_like(keys) if steps.query is None else steps.query.expand_as(keys)
    jacobians = torch.diag_embed(decay)
    if steps.left is not None and steps.right is not None:
        jacobians = jacobians + steps.left.unsqueeze(-1) * steps.right.unsqueeze(-2)
    return Factors(jacobians, keys.unsqueeze(-1), queries.unsqueeze(-2))


def _of_run(layer: tt.LayerTrace, linear: Linearised) -> Factors:
    size, batch = layer.states.shape[-1], layer.batch
    rows = torch.eye(size, dtype=torch.float64)[:, None].expand(-1, batch, -1).contiguous()
    jacobians = torch.stack([linear.vjp(t, rows.clone()) for t in range(linear.steps)])
    inputs = torch.stack([linear.input_vjp(t, rows.clone()) for t in range(linear.steps)])
    read = rows[layer.part("h")] if "h" in layer.parts else rows
    outputs = read.transpose(0, 1).expand(linear.steps, -1, -1, -1)
    return Factors(jacobians.transpose(1, 2), inputs.transpose(1, 2), outputs)


def _gramians(of: Factors) -> tuple[Tensor, Tensor]:
    """``W_c`` and ``W_o`` (… K K) at the middle of the run."""
    jacobians, inputs, outputs = of
    middle = len(jacobians) // 2
    written = torch.zeros_like(jacobians[0])
    for jacobian, enters in zip(jacobians[:middle], inputs[:middle], strict=True):
        written = jacobian @ written @ jacobian.mT + enters @ enters.mT
    read = torch.zeros_like(jacobians[0])
    for t in reversed(range(middle, len(jacobians))):
        read = jacobians[t].mT @ (read + outputs[t].mT @ outputs[t]) @ jacobians[t]
    return written, read
