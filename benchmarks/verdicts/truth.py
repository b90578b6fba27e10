"""The truth: the operator norm of ∂s_T/∂s_{T−50}, by autograd, in float64, on an unrolled loop.

Nothing of throughtime is used here. The Jacobian of each step comes from ``torch.func`` through
torch's own cell, on the joint state (h, c) of an LSTM; their product is kept near 1 and its
logarithm carried, so that 1e-190 is a number like any other.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

LAG = 50
# Below a hundredth nothing that can be learned from comes back; above a hundred, too much.
VANISHED, EXPLODED = -2.0, 2.0
CELLS = {"RNN": nn.RNNCell, "GRU": nn.GRUCell, "LSTM": nn.LSTMCell}


def log10_gain(rnn: nn.RNNBase, inputs: Tensor, lag: int = LAG) -> float:
    """log10 ‖∂s_T/∂s_{T−lag}‖₂: the median over the batch."""
    cell = cell_in_float64(rnn)
    joint = isinstance(cell, nn.LSTMCell)

    def step(state: Tensor, x: Tensor) -> Tensor:
        return torch.cat(cell(x, state.chunk(2, -1)), -1) if joint else cell(x, state)

    xs = inputs.double()
    with torch.no_grad():
        states = [xs.new_zeros(xs.shape[1], cell.hidden_size * (2 if joint else 1))]
        for x in xs:
            states.append(step(states[-1], x))
        before = torch.stack(states[-lag - 1 : -1])
        # Every step at once; the product over the steps, kept near 1, follows.
        jacobians = vmap(vmap(jacrev(step)))(before, xs[-lag:])
        product, exponent = jacobians[0], xs.new_zeros(xs.shape[1])
        for jacobian in jacobians[1:]:
            scale = product.abs().amax((1, 2)).clamp_min(torch.finfo(torch.float64).tiny)
            product, exponent = (
                jacobian @ (product / scale[:, None, None]),
                exponent + scale.log10(),
            )
        norms = torch.linalg.matrix_norm(product, ord=2).log10() + exponent
    return float(norms.quantile(0.5))


def verdict(gain: float) -> str:
    """What a log10 gain over the span means."""
    if gain < VANISHED:
        return "vanishing"
    return "exploding" if gain > EXPLODED else "healthy"


def cell_in_float64(rnn: nn.RNNBase, layer: int = 0) -> nn.RNNCellBase:
    """torch's own cell, with the weights of one layer of ``nn.RNN``, ``nn.GRU`` or ``nn.LSTM``."""
    kind, end = type(rnn).__name__, f"_l{layer}"
    more = {"nonlinearity": rnn.nonlinearity} if kind == "RNN" else {}
    inputs = rnn.hidden_size if layer else rnn.input_size
    cell = CELLS[kind](inputs, rnn.hidden_size, rnn.bias, **more).double()
    own = {name: value for name, value in rnn.state_dict().items() if name.endswith(end)}
    weights = {name.removesuffix(end): value for name, value in own.items()}
    cell.load_state_dict(copy.deepcopy(weights))
    return cell
