"""Traces of recurrences whose gradients are known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime.recurrences import Custom, Elman, Recurrence
from throughtime.sweeps import adjoint
from throughtime.trace import LayerTrace


def world(recurrence: Recurrence, inputs: Tensor, initial: Tensor, direct: Tensor) -> LayerTrace:
    """The trace of any recurrence, from its inputs (T B I) and the direct gradients (T B S)."""
    states = recurrence.unroll(inputs, initial)
    before = torch.cat([initial.unsqueeze(0), states[:-1]])
    linear = recurrence.linearise(before, inputs)
    gradients = adjoint(linear, direct)
    return LayerTrace("world", recurrence.kind, recurrence.parts, states, direct, gradients, linear)


def linear_world(matrix: Tensor, steps: int, source: Tensor) -> LayerTrace:
    """``s_t = W s_{t−1}``, one sequence, a loss on the last step whose gradient is ``source``."""
    size = len(matrix)
    cell = Custom(lambda state, x: state @ matrix.T + 0 * x, size)
    direct = torch.zeros(steps, 1, size, dtype=matrix.dtype)
    direct[-1, 0] = source
    zeros = torch.zeros(steps, 1, size, dtype=matrix.dtype)
    return world(cell, zeros, torch.zeros(1, size, dtype=matrix.dtype), direct)


def fixed_point_world(steps: int) -> LayerTrace:
    """THEORY of the nilpotent matrix: spectral radius 0, and the product doubles each step."""
    matrix = torch.tensor([[8.0, 8.0], [-8.0, -8.0]], dtype=torch.float64)
    point = torch.tensor([0.0, 0.5], dtype=torch.float64).atanh()
    bias = point - matrix @ point.tanh()
    cell = Custom(lambda state, x: torch.tanh(state) @ matrix.T + bias + 0 * x, 2)
    direct = torch.zeros(steps, 1, 2, dtype=torch.float64)
    direct[-1, 0, 0] = 1
    zeros = torch.zeros(steps, 1, 2, dtype=torch.float64)
    return world(cell, zeros, point.unsqueeze(0), direct)


def relu_world(gain: float, steps: int, dtype: torch.dtype = torch.float32) -> LayerTrace:
    """``W = gain · I`` under ReLU on positive states: the gain over k steps is exactly gain^k."""
    size = 4
    cell = Elman(
        torch.zeros(size, 1, dtype=dtype),
        gain * torch.eye(size, dtype=dtype),
        torch.ones(size, dtype=dtype),
        "relu",
    )
    before = torch.ones(steps, 2, size, dtype=dtype)
    linear = cell.linearise(before, torch.zeros(steps, 2, 1, dtype=dtype))
    direct = torch.zeros(steps, 2, size, dtype=dtype)
    direct[-1] = 1
    gradients = adjoint(linear, direct)
    proof = linear.recurrent_weight_gradient(gradients)
    return LayerTrace(
        "relu", "RNN", cell.parts, before, direct, gradients, linear, parameter_gradient=proof
    )


def captured(model: nn.Module, x: Tensor, weight: Tensor | None = None) -> tt.Trace:
    """The trace of one run with the loss Σ weight · output (default: the last step alone)."""
    with tt.capture(model) as run:
        output = model(x)[0]
        loss = output[-1].sum() if weight is None else (output * weight).sum()
        loss.backward()
    return run.trace
