"""What people do today to see ∂L/∂h_t: one training step each, that also returns what it saw.

Each function sets its way up once and returns the step. The weights are the task's own, so that
every way trains the same network.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.networks import Task

Seen = dict[str, Tensor]
"""Total gradients (T B H) by the part of the state."""
Step = Callable[[], Seen]

CELLS = {"RNN": nn.RNNCell, "GRU": nn.GRUCell, "LSTM": nn.LSTMCell}


def cell_with_weights_of(rnn: nn.RNNBase) -> nn.RNNCellBase:
    """A cell that shares the parameters of a one-layer ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU``."""
    kind = type(rnn).__name__
    cell = CELLS[kind](rnn.input_size, rnn.hidden_size, dtype=rnn.weight_hh_l0.dtype)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(cell, name, getattr(rnn, f"{name}_l0"))
    return cell


def cell_loop(task: Task) -> Step:
    """The cell in a Python loop, ``retain_grad()`` on every state.

    The cell computes h from c, so that what autograd leaves at c holds h's share as well: it is
    retained, as people do, but it is not ∂L/∂c_t of the joint state (h, c), and not compared.
    """
    cell, model = cell_with_weights_of(task.model.rnn), task.model

    def step() -> Seen:
        states: list[tuple[Tensor, ...]] = []

        def forward() -> Tensor:
            state = None
            for x in task.inputs:
                after = cell(x, state)
                states.append(after if isinstance(after, tuple) else (after,))
                for part in states[-1]:
                    part.retain_grad()
                state = after
            return model.head(torch.stack([h for h, *_ in states]))

        task.step(forward)
        return {"h": torch.stack([h.grad for h, *_ in states])}

    return step


def stepped(task: Task) -> Step:
    """The fused module called for one step at a time, ``retain_grad()`` on every state."""
    model = task.model

    def step() -> Seen:
        states: list[tuple[Tensor, ...]] = []

        def forward() -> Tensor:
            state = None
            for x in task.inputs.unsqueeze(1):
                _, state = model.rnn(x, state)
                states.append(state if isinstance(state, tuple) else (state,))
                for part in states[-1]:
                    part.retain_grad()
            return model.head(torch.cat([h for h, *_ in states]))

        task.step(forward)
        if len(states[-1]) > 1:  # nothing follows the last c, and autograd leaves nothing there
            states[-1][1].grad = torch.zeros_like(states[-1][1])
        parts = zip(*states, strict=True)
        return {
            name: torch.cat([part.grad for part in steps])
            for name, steps in zip(("h", "c"), parts, strict=False)
        }

    return step


def identity_block(task: Task) -> Step:
    """LSTM only: the fused kernel fed with its pre-activations, through W_ih = I.

    The gradient of that input is the adjoint of every pre-activation, from which ∂L/∂h_t follows by
    one product with W_hh. Exact; it says nothing of c.
    """
    model, fused = task.model, lstm_on_preactivations(task)
    rnn = model.rnn

    def step() -> Seen:
        seen: list[Tensor] = []

        def forward() -> Tensor:
            preactivations = nn.functional.linear(
                task.inputs, rnn.weight_ih_l0, rnn.bias_ih_l0 + rnn.bias_hh_l0
            )
            outputs, _ = fused(preactivations)
            seen.extend((preactivations, outputs))
            for tensor in seen:
                tensor.retain_grad()
            return model.head(outputs)

        task.step(forward)
        preactivations, outputs = seen
        total = outputs.grad.clone()
        total[:-1] += preactivations.grad[1:] @ rnn.weight_hh_l0.detach()
        return {"h": total}

    return step


def lstm_on_preactivations(task: Task) -> nn.LSTM:
    """An LSTM whose input is the pre-activation of its gates; it shares the task's W_hh."""
    rnn, hidden = task.model.rnn, task.size.hidden
    dtype = rnn.weight_hh_l0.dtype
    fused = nn.LSTM(4 * hidden, hidden, bias=False, dtype=dtype)
    fused.weight_ih_l0 = nn.Parameter(torch.eye(4 * hidden, dtype=dtype), requires_grad=False)
    fused.weight_hh_l0 = rnn.weight_hh_l0
    return fused
