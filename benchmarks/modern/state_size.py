"""Effective state size: how much of its state a recurrence uses to hand the past on to the future.

Parnichkun et al. 2025 take the rank of the operator that maps all inputs before a step to all
outputs from it on. A recurrence makes it from two factors that meet in the state, so that its
singular values are the roots of the eigenvalues of ``W_o W_c``, of size K: what the future reads,
and what the past wrote. Their effective number is the exponential of the entropy of their shares.
"""

from __future__ import annotations

import torch
from torch import Tensor

import throughtime as tt
from throughtime.recording.scans.linear import LinearisedScan
from throughtime.recurrences import Linearised


@torch.no_grad()
def effective_state_size(layer: tt.LayerTrace) -> tuple[float, int]:
    """The effective size, the median over heads and sequences, and the size K of one head's state.

    Of a scan the operator is that of one value channel, whose K numbers it keeps; of an LSTM or a
    GRU that of the run linearised, on the whole state, from the layer's input to its h.
    """
    linear = layer.linear.to(torch.float64)
    if isinstance(linear, LinearisedScan):
        written, read = _of_scan(linear)
    else:
        written, read = _of_run(layer, linear)
    values = torch.linalg.eigvals(read @ written).real.clamp_min(0).sqrt()
    shares = values / values.sum(-1, keepdim=True)
    entropy = -torch.special.xlogy(shares, shares).sum(-1)
    return float(entropy.exp().median()), written.shape[-1]


def _of_scan(linear: LinearisedScan) -> tuple[Tensor, Tensor]:
    """``W_c`` and ``W_o`` (B H K K) at the middle of the run."""
    steps = linear.during(slice(0, linear.steps))
    keys = steps.key.expand(len(steps.value), *steps.value.shape[1:3], -1)
    decay = steps.every_decay()[..., 0].expand_as(keys)
    queries = torch.ones_like(keys) if steps.query is None else steps.query.expand_as(keys)
    jacobians = torch.diag_embed(decay)
    if steps.left is not None and steps.right is not None:
        jacobians = jacobians + steps.left.unsqueeze(-1) * steps.right.unsqueeze(-2)
    return _gramians(jacobians, keys.unsqueeze(-1), queries.unsqueeze(-2))


def _of_run(layer: tt.LayerTrace, linear: Linearised) -> tuple[Tensor, Tensor]:
    """The same (B S S) of torch's own layers, whose h is what is read."""
    size, batch = layer.states.shape[-1], layer.batch
    rows = torch.eye(size, dtype=torch.float64)[:, None].expand(-1, batch, -1).contiguous()
    jacobians = torch.stack([linear.vjp(t, rows.clone()) for t in range(linear.steps)])
    inputs = torch.stack([linear.input_vjp(t, rows.clone()) for t in range(linear.steps)])
    read = rows[layer.part("h")] if "h" in layer.parts else rows
    outputs = read.transpose(0, 1).expand(linear.steps, -1, -1, -1)
    return _gramians(jacobians.transpose(1, 2), inputs.transpose(1, 2), outputs)


def _gramians(jacobians: Tensor, inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """From J (T … K K), B (T … K I) and C (T … O K), at the middle step."""
    middle = len(jacobians) // 2
    written = torch.zeros_like(jacobians[0])
    for jacobian, enters in zip(jacobians[:middle], inputs[:middle], strict=True):
        written = jacobian @ written @ jacobian.mT + enters @ enters.mT
    read = torch.zeros_like(jacobians[0])
    for t in reversed(range(middle, len(jacobians))):
        read = jacobians[t].mT @ (read + outputs[t].mT @ outputs[t]) @ jacobians[t]
    return written, read
