"""What the textbook is tested with: one comparator, finite differences, torch's own layers."""

from collections.abc import Callable

import numpy as np
import torch

from throughtime.textbook.layer import Weights
from throughtime.textbook.notation import Array


def same(actual: object, expected: object, tolerance: float = 1e-12) -> None:
    """Assert equal shapes and a largest difference within ``tolerance`` of the largest entry."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    difference = np.max(np.abs(actual - expected), initial=0.0)
    assert difference <= tolerance * np.max(np.abs(expected), initial=1e-300), difference


def numeric_gradient(f: Callable[[Array], float], at: Array, step: float = 1e-6) -> Array:
    """Central differences of a scalar ``f`` by every entry of ``at``, error about 1e-9."""
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        change = np.zeros_like(at)
        change[index] = step
        gradient[index] = (f(at + change) - f(at - change)) / (2.0 * step)
    return gradient


def leaf(values: object) -> torch.Tensor:
    """A float64 tensor that asks for its gradient."""
    return torch.tensor(np.asarray(values), dtype=torch.float64, requires_grad=True)


CELLS = {
    "elman tanh": lambda I, H: torch.nn.RNNCell(I, H, dtype=torch.float64),
    "elman relu": lambda I, H: torch.nn.RNNCell(I, H, nonlinearity="relu", dtype=torch.float64),
    "lstm": lambda I, H: torch.nn.LSTMCell(I, H, dtype=torch.float64),
    "gru": lambda I, H: torch.nn.GRUCell(I, H, dtype=torch.float64),
}
LAYERS = {
    "elman tanh": lambda I, H: torch.nn.RNN(I, H, dtype=torch.float64),
    "elman relu": lambda I, H: torch.nn.RNN(I, H, nonlinearity="relu", dtype=torch.float64),
    "lstm": lambda I, H: torch.nn.LSTM(I, H, dtype=torch.float64),
    "gru": lambda I, H: torch.nn.GRU(I, H, dtype=torch.float64),
}


def load(module: torch.nn.Module, weights: Weights, suffix: str = "") -> torch.nn.Module:
    """The torch module with our weights in it, by torch's own names."""
    named = {f"{name}{suffix}": torch.tensor(w) for name, w in weights._asdict().items()}
    module.load_state_dict(named)
    return module


def layer_outputs(kind: str, x: Array, weights: Weights, state0: Array) -> tuple[Array, Array]:
    """h_1..h_T and the last state of torch's own fused layer; (h_T, c_T) side by side for LSTM."""
    H = weights.weight_hh.shape[1]
    layer = load(LAYERS[kind](x.shape[-1], H), weights, "_l0")
    first = torch.tensor(state0)[None]
    with torch.no_grad():
        if kind == "lstm":
            h, last = layer(torch.tensor(x), (first[..., :H].contiguous(), first[..., H:].clone()))
            return h.numpy(), torch.cat(last, dim=-1)[0].numpy()
        h, last = layer(torch.tensor(x), first)
    return h.numpy(), last[0].numpy()


def autograd(
    kind: str, x: Array, weights: Weights, state0: Array, direct: Array
) -> tuple[Array, Array, Weights]:
    """Total gradients of s_0..s_T, of x, and of the weights, from a loop over torch's cell."""
    H = weights.weight_hh.shape[1]
    cell = load(CELLS[kind](x.shape[-1], H), weights)
    inputs, states = leaf(x), [leaf(state0)]
    for x_t in inputs:
        if kind == "lstm":
            pair = cell(x_t, (states[-1][..., :H], states[-1][..., H:]))
            states.append(torch.cat(pair, dim=-1))
        else:
            states.append(cell(x_t, states[-1]))
        states[-1].retain_grad()
    loss = sum((s * e).sum() for s, e in zip(states[1:], torch.tensor(direct), strict=True))
    loss.backward()
    total = np.stack([s.grad.numpy() for s in states])
    by_name = {name: p.grad.numpy() for name, p in cell.named_parameters()}
    return total, inputs.grad.numpy(), Weights(**by_name)
