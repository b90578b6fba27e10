"""One run in float64, unrolled: the states, every Jacobian in full, and the loss's own gradients.

Nothing of throughtime is used here: torch's own cells, ``torch.func.jacrev`` and autograd.
Axes: T time, B batch, S joint state.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from benchmarks.diseases.cells import Stack
from benchmarks.diseases.networks import Reader
from benchmarks.diseases.tasks import Loss

_AT_ONCE = 8  # steps: bounds the memory of their Jacobians in the making


@dataclass(frozen=True)
class Run:
    """What the truth is worked out from.

    Attributes:
        stack: the cells.
        inputs: what they read (T B I).
        before: s_0 … s_{T−1} (T B S).
        states: s_1 … s_T (T B S).
        jacobians: J_t = ∂s_t/∂s_{t−1} (T B S S) of the forward pass: it knows no walls.
        sources: e_t (T B S), what the loss alone sends into s_t.
        walls: steps t across which autograd sends nothing from s_t to s_{t−1}: it was detached.
    """

    stack: Stack
    inputs: Tensor
    before: Tensor
    states: Tensor
    jacobians: Tensor
    sources: Tensor
    walls: tuple[int, ...]

    def slopes(self) -> Tensor:
        """tanh' or relu' of the candidate (T B H), of every layer side by side."""
        with torch.no_grad():
            return self.stack.slopes(self.before, self.states, self.inputs)

    def carousel(self) -> Tensor:
        """The Jacobians with the forget gate (GRU: the update gate) at 1, all else equal."""
        with torch.no_grad():
            return _jacobians(self.stack.carried_step, self.before, self.inputs, self.before)

    def cut(self, jacobians: Tensor) -> Tensor:
        """What the backward pass meets: 0 at every wall."""
        if not self.walls:
            return jacobians
        return jacobians.index_fill(0, torch.tensor(self.walls), 0.0)


def run(model: Reader, inputs: Tensor, targets: Tensor, loss: Loss) -> Run:
    """Follow the model's own run, in float64, step by step.

    A chaotic network leaves the trajectory of its float32 run within some tens of steps, so that
    every step starts from the h that the model itself put out (of a stack only the top is seen,
    which then runs freely).
    """
    with torch.no_grad():
        outputs = model.unroll(model.encode(inputs)).double()
    model = deepcopy(model).double()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    targets = targets.double() if targets.is_floating_point() else targets
    xs = model.encode(inputs)
    stack = Stack(model)
    with torch.no_grad():
        states = [xs.new_zeros(xs.shape[1], stack.size)]
        for x, output in zip(xs, outputs, strict=True):
            state = stack.step(states[-1], x)
            if len(stack.cells) == 1:
                state[..., : stack.cells[0].hidden] = output
            states.append(state)
        before, after = torch.stack(states[:-1]), torch.stack(states[1:])
        jacobians = _jacobians(stack.step, before, xs)
    at = after.clone().requires_grad_()
    (sources,) = torch.autograd.grad(loss(model.head(stack.output(at)), targets), at)
    return Run(stack, xs, before, after, jacobians, sources, _walls(model, xs))


def finite(model: Reader, inputs: Tensor, targets: Tensor, loss: Loss) -> bool:
    """Whether every state and gradient of the run in the model's own precision is a finite number.

    The same cells in an unrolled loop, so that autograd shows the gradient of every state.
    """
    model = deepcopy(model)
    stack = Stack(model, model.head.weight.dtype)
    xs = model.encode(inputs)
    state = xs.new_zeros(xs.shape[1], stack.size)
    states = []
    for t, x in enumerate(xs):
        if model.window and t % model.window == 0:
            state = state.detach()
        state = stack.step(state, x)
        state.retain_grad()
        states.append(state)
    loss(model.head(stack.output(torch.stack(states))), targets).backward()
    parts = (model.head, *(cell.cell for cell in stack.cells))
    weights = [weight for part in parts for weight in part.parameters()]
    gradients = [tensor.grad for tensor in (*states, *weights) if tensor.grad is not None]
    return all(bool(tensor.isfinite().all()) for tensor in (*states, *gradients))


def _jacobians(step: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Of a step in its first argument, at every step and sequence: (T B S S)."""
    return vmap(vmap(jacrev(step)), chunk_size=_AT_ONCE)(*arguments)


def _walls(model: Reader, xs: Tensor) -> tuple[int, ...]:
    """Where a window ends, and autograd indeed sends exactly nothing back across its end."""
    if model.window is None:
        return ()
    xs = xs.clone().requires_grad_()
    outputs = model.unroll(xs)
    walls = []
    for t in range(model.window, len(xs), model.window):
        (gradient,) = torch.autograd.grad(outputs[t:].sum(), xs, retain_graph=True)
        if not gradient[:t].any() and gradient[t:].any():
            walls.append(t)
    return tuple(walls)
