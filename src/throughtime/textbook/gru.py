"""The GRU layer of torch (`nn.GRU`), forward and backward by hand.

    r = σ(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)           gate blocks in the order r z n
    z = σ(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)
    q = W_hn h_{t-1} + b_hn
    n = tanh(W_in x_t + b_in + r ⊙ q)
    h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}

    J_t = diag(z) + diag((h_{t-1} - n) z(1-z)) W_hz
          + diag((1-z)(1-n²)) [diag(r) W_hn + diag(q r(1-r)) W_hr]

torch resets after the product, r ⊙ (W_hn h + b_hn), as version 1 of the paper does; its later
versions reset before it, W_hn (r ⊙ h). Chung et al. 2014 write z for what is 1 - z here. Source:
Cho et al. 2014 (arXiv 1406.1078), in the layout of torch's `nn.GRU`.
"""

from typing import NamedTuple

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
from .notation import Array, float64, sigmoid, sigmoid_slope, tanh_slope


class Gates(NamedTuple):
    """The gates of one step and q, what the past offers to n before it is reset; each (…, H)."""

    r: Array
    z: Array
    n: Array
    q: Array


class Run(NamedTuple):
    """One forward pass. `gates[t-1]` are those of step t; `states` are h_0..h_T (T+1, …, H)."""

    x: Array
    weights: Weights
    states: Array
    gates: list[Gates]


def forward(x: Array, weights: Weights, h0: Array | None = None) -> Run:
    """Run the layer over x (T, I) or (T, B, I) from h0 (…, H), zero by default."""
    H = check(x, weights, gates=3)
    h = [initial(h0, x, H)]
    gates = []
    for x_t in x:
        in_r, in_z, in_n = np.split(x_t @ weights.weight_ih.T + weights.bias_ih, 3, axis=-1)
        past_r, past_z, q = np.split(h[-1] @ weights.weight_hh.T + weights.bias_hh, 3, axis=-1)
        r, z = sigmoid(in_r + past_r), sigmoid(in_z + past_z)
        n = np.tanh(in_n + r * q)
        h.append((1.0 - z) * n + z * h[-1])
        gates.append(Gates(r, z, n, q))
    return Run(x, weights, float64(h), gates)


def backward(run: Run, direct: Array) -> Gradients:
    """Total, input and weight gradients from e_1..e_T (T, …, H)."""
    delta = with_time_zero(direct, run.states)
    dx = np.zeros_like(run.x)
    dw = zeros_like(run.weights)
    for t in range(len(run.x), 0, -1):
        r, z, n, q = run.gates[t - 1]
        h_prev = run.states[t - 1]
        da_n = delta[t] * (1.0 - z) * tanh_slope(n)
        da_z = delta[t] * (h_prev - n) * sigmoid_slope(z)
        da_r = da_n * q * sigmoid_slope(r)
        d_in = np.concatenate([da_r, da_z, da_n], axis=-1)
        d_past = np.concatenate([da_r, da_z, da_n * r], axis=-1)  # the past reaches n through r
        delta[t - 1] += z * delta[t] + d_past @ run.weights.weight_hh
        dx[t - 1] = d_in @ run.weights.weight_ih
        add_outer(dw.weight_ih, d_in, run.x[t - 1])
        add_outer(dw.weight_hh, d_past, h_prev)
        add_rows(dw.bias_ih, d_in)
        add_rows(dw.bias_hh, d_past)
    return Gradients(delta, dx, dw)


def jacobian(run: Run, t: int) -> Array:
    """J_t = ∂h_t/∂h_{t-1} (…, H, H), t = 1..T."""
    r, z, n, q = run.gates[t - 1]
    W_r, W_z, W_n = np.split(run.weights.weight_hh, 3)
    kept = rows_times(z, np.eye(z.shape[-1]))
    through_z = rows_times((run.states[t - 1] - n) * sigmoid_slope(z), W_z)
    dn_before_tanh = rows_times(r, W_n) + rows_times(q * sigmoid_slope(r), W_r)
    return kept + through_z + rows_times((1.0 - z) * tanh_slope(n), dn_before_tanh)
