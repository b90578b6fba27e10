"""The Elman layer of torch (`nn.RNN`), forward and backward by hand.

    a_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh          h_t = φ(a_t),   φ = tanh or relu

    J_t = ∂h_t/∂h_{t-1} = diag(φ'(a_t)) W_hh
    δ_{t-1} = e_{t-1} + W_hhᵀ (φ'(a_t) ⊙ δ_t)

Pascanu, Mikolov and Bengio 2013 print the factor transposed, W_hhᵀ diag(φ'). Source: Elman 1990.
"""

from typing import Literal, NamedTuple

import numpy as np

from .layer import (
    Gradients,
    Weights,
    add_outer,
    add_rows,
    check,
    initial,
    rows_times,
    with_time_zero,
    zeros_like,
)
from .notation import Array, float64, tanh_slope

Nonlinearity = Literal["tanh", "relu"]


class Run(NamedTuple):
    """One forward pass: the inputs (T, …, I), the weights, and the states h_0..h_T (T+1, …, H)."""

    x: Array
    weights: Weights
    states: Array
    nonlinearity: Nonlinearity


def forward(
    x: Array, weights: Weights, h0: Array | None = None, nonlinearity: Nonlinearity = "tanh"
) -> Run:
    """Run the layer over x (T, I) or (T, B, I) from h0 (…, H), zero by default."""
    H = check(x, weights, gates=1)
    h = [initial(h0, x, H)]
    for x_t in x:
        a = (
            x_t @ weights.weight_ih.T
            + weights.bias_ih
            + h[-1] @ weights.weight_hh.T
            + weights.bias_hh
        )
        h.append(np.tanh(a) if nonlinearity == "tanh" else np.maximum(a, 0.0))
    return Run(x, weights, float64(h), nonlinearity)


def slope(run: Run, t: int) -> Array:
    """φ'(a_t) (…, H) from the value h_t. At its kink relu has slope 0, as in torch."""
    h_t = run.states[t]
    return float64(tanh_slope(h_t) if run.nonlinearity == "tanh" else h_t > 0.0)


def jacobian(run: Run, t: int) -> Array:
    """J_t = ∂h_t/∂h_{t-1} = diag(φ'(a_t)) W_hh (…, H, H), t = 1..T."""
    return rows_times(slope(run, t), run.weights.weight_hh)


def backward(run: Run, direct: Array) -> Gradients:
    """Total, input and weight gradients from e_1..e_T (T, …, H)."""
    delta = with_time_zero(direct, run.states)
    dx = np.zeros_like(run.x)
    dw = zeros_like(run.weights)
    for t in range(len(run.x), 0, -1):
        da = slope(run, t) * delta[t]
        delta[t - 1] += da @ run.weights.weight_hh
        dx[t - 1] = da @ run.weights.weight_ih
        add_outer(dw.weight_ih, da, run.x[t - 1])
        add_outer(dw.weight_hh, da, run.states[t - 1])
        add_rows(dw.bias_ih, da)
        add_rows(dw.bias_hh, da)
    return Gradients(delta, dx, dw)
