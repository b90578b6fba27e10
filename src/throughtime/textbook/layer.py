"""One recurrent layer as torch lays it out, and what a forward and a backward pass over it return.

G gate blocks of H rows each are stacked in every parameter: G = 1 for Elman, 4 for LSTM (order i
f g o), 3 for GRU (order r z n). There are two biases, one beside each product:

    weight_ih (G·H, I)    weight_hh (G·H, H)    bias_ih (G·H,)    bias_hh (G·H,)

Time comes first: x is (T, I) or (T, B, I). States and total gradients are (T+1, …, S), and index
t is time t, so that index 0 is the initial state. S = H, or 2H for LSTM, whose state is (h, c)
side by side.

Every layer computes the same recursion, with its own J_t = ∂s_t/∂s_{t-1}, from the direct
gradients e_t:

    δ_T = e_T,   δ_{t-1} = e_{t-1} + J_tᵀ δ_t          δ_t = ∂L/∂s_t, the total gradient
"""

from typing import NamedTuple

import numpy as np

from .notation import Array, float64


class Weights(NamedTuple):
    """The parameters of one layer in torch's layout, or the gradients of the loss by them."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array


class Gradients(NamedTuple):
    """What one backward pass returns."""

    total: Array  #: δ_0..δ_T (T+1, …, S); total[0] belongs to the initial state
    x: Array  #: ∂L/∂x_1..x_T (T, …, I)
    weights: Weights  #: summed over time and batch


def check(x: Array, weights: Weights, gates: int) -> int:
    """The hidden size H. Raises ValueError naming the first array whose shape does not fit."""
    if weights.weight_hh.ndim != 2:
        raise ValueError(
            f"weight_hh must have 2 axes (G·H, H), got shape {weights.weight_hh.shape}"
        )
    if x.ndim not in (2, 3) or len(x) == 0:
        raise ValueError(f"x must be (T, I) or (T, B, I) with T ≥ 1, got shape {x.shape}")
    H = int(weights.weight_hh.shape[1])
    rows = gates * H
    expected = [(rows, x.shape[-1]), (rows, H), (rows,), (rows,)]
    for name, array, shape in zip(Weights._fields, weights, expected, strict=True):
        if array.shape != shape:
            raise ValueError(
                f"{name} must be {shape} for {gates} gates, H = {H} and I = {x.shape[-1]}, "
                f"got {array.shape}"
            )
    return H


def initial(state0: Array | None, x: Array, size: int) -> Array:
    """The initial state (…, S), zero by default; ValueError when a given one does not fit."""
    shape = (*x.shape[1:-1], size)
    state0 = np.zeros(shape) if state0 is None else float64(state0)
    if state0.shape != shape:
        raise ValueError(f"the initial state must be {shape}, got {state0.shape}")
    return state0


def with_time_zero(direct: Array, states: Array) -> Array:
    """e_0..e_T (T+1, …, S) from e_1..e_T (T, …, S): no loss reads the initial state, so e_0 = 0."""
    direct = float64(direct)
    if direct.shape != states[1:].shape:
        raise ValueError(
            f"the direct gradients must be one per state, {states[1:].shape}, got {direct.shape}"
        )
    return np.concatenate([np.zeros_like(states[:1]), direct])


def zeros_like(weights: Weights) -> Weights:
    """Zeros of the same shapes, to add the steps' parts to."""
    return Weights(*(np.zeros_like(w) for w in weights))


def add_outer(total: Array, left: Array, right: Array) -> None:
    """total (G, I) += Σ_batch left (…, G) rightᵀ (…, I)."""
    total += left.reshape(-1, left.shape[-1]).T @ right.reshape(-1, right.shape[-1])


def add_rows(total: Array, rows: Array) -> None:
    """total (G,) += Σ_batch rows (…, G)."""
    total += rows.reshape(-1, rows.shape[-1]).sum(axis=0)


def rows_times(scale: Array, matrix: Array) -> Array:
    """diag(scale) matrix, for every sample: (…, H), (H, K) or (…, H, K) -> (…, H, K)."""
    return scale[..., :, None] * matrix
