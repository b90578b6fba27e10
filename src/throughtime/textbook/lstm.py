"""The LSTM layer of torch (`nn.LSTM`), forward and backward by hand, and its carousel.

    a_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh, in four blocks of H rows, in the order i f g o
    i = σ(a_i)   f = σ(a_f)   g = tanh(a_g)   o = σ(a_o)
    c_t = f ⊙ c_{t-1} + i ⊙ g
    h_t = o ⊙ tanh(c_t)

The state is (h, c). The cell keeps a straight way back, the constant error carousel, and the
gates open more:

    ∂c_t/∂c_{t-1} = diag(f_t)                                   the carousel
    ∂c_t/∂h_{t-1} = diag(g i(1-i)) W_i + diag(c_{t-1} f(1-f)) W_f + diag(i (1-g²)) W_g

"The gradient is the product of the forget gates" keeps the first line and forgets the second.
∂L/∂c_t holds h_t still, as part of one state: the way from c_t through h_t is counted in step t.

Sources: Hochreiter and Schmidhuber 1997; the forget gate is of Gers, Schmidhuber and Cummins 2000.
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
    """The four gates of one step, each (…, H)."""

    i: Array
    f: Array
    g: Array
    o: Array


class Run(NamedTuple):
    """One forward pass: `gates[t-1]` of step t, `states` (h_t, c_t) for t = 0..T (T+1, …, 2H)."""

    x: Array
    weights: Weights
    states: Array
    gates: list[Gates]

    @property
    def h(self) -> Array:
        """h_0..h_T (T+1, …, H)."""
        return self.states[..., : self.states.shape[-1] // 2]

    @property
    def c(self) -> Array:
        """c_0..c_T (T+1, …, H)."""
        return self.states[..., self.states.shape[-1] // 2 :]


def forward(x: Array, weights: Weights, state0: Array | None = None) -> Run:
    """Run the layer over x (T, I) or (T, B, I) from (h_0, c_0) (…, 2H), zero by default."""
    H = check(x, weights, gates=4)
    states = [initial(state0, x, 2 * H)]
    gates = []
    for x_t in x:
        h, c = states[-1][..., :H], states[-1][..., H:]
        a = x_t @ weights.weight_ih.T + weights.bias_ih + h @ weights.weight_hh.T + weights.bias_hh
        a_i, a_f, a_g, a_o = np.split(a, 4, axis=-1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        c = f * c + i * g
        h = o * np.tanh(c)
        states.append(np.concatenate([h, c], axis=-1))
        gates.append(Gates(i, f, g, o))
    return Run(x, weights, float64(states), gates)


def backward(run: Run, direct: Array) -> Gradients:
    """Total, input and weight gradients from e_1..e_T (T, …, 2H), over (h, c)."""
    delta = with_time_zero(direct, run.states)
    dx = np.zeros_like(run.x)
    dw = zeros_like(run.weights)
    for t in range(len(run.x), 0, -1):
        i, f, g, o = run.gates[t - 1]
        dh, dc = np.split(delta[t], 2, axis=-1)
        tanh_c = np.tanh(run.c[t])
        dc = dc + dh * o * tanh_slope(tanh_c)  # c_t is also read by h_t
        da_i = dc * g * sigmoid_slope(i)
        da_f = dc * run.c[t - 1] * sigmoid_slope(f)
        da_g = dc * i * tanh_slope(g)
        da_o = dh * tanh_c * sigmoid_slope(o)
        da = np.concatenate([da_i, da_f, da_g, da_o], axis=-1)
        through_the_gates = da @ run.weights.weight_hh
        carousel = f * dc
        delta[t - 1] += np.concatenate([through_the_gates, carousel], axis=-1)
        dx[t - 1] = da @ run.weights.weight_ih
        add_outer(dw.weight_ih, da, run.x[t - 1])
        add_outer(dw.weight_hh, da, run.h[t - 1])
        add_rows(dw.bias_ih, da)
        add_rows(dw.bias_hh, da)
    return Gradients(delta, dx, dw)


def jacobian(run: Run, t: int) -> Array:
    """J_t = ∂(h_t, c_t)/∂(h_{t-1}, c_{t-1}) (…, 2H, 2H), t = 1..T, block by block."""
    i, f, g, o = run.gates[t - 1]
    W_i, W_f, W_g, W_o = np.split(run.weights.weight_hh, 4)
    tanh_c = np.tanh(run.c[t])
    dh_dc_now = o * tanh_slope(tanh_c)
    dc_dh = (
        rows_times(g * sigmoid_slope(i), W_i)
        + rows_times(run.c[t - 1] * sigmoid_slope(f), W_f)
        + rows_times(i * tanh_slope(g), W_g)
    )
    dc_dc = rows_times(f, np.eye(f.shape[-1]))
    dh_dh = rows_times(tanh_c * sigmoid_slope(o), W_o) + rows_times(dh_dc_now, dc_dh)
    dh_dc = rows_times(dh_dc_now, dc_dc)
    top = np.concatenate([dh_dh, dh_dc], axis=-1)
    bottom = np.concatenate([dc_dh, dc_dc], axis=-1)
    return np.concatenate([top, bottom], axis=-2)


def carousel(run: Run, direct_c: Array) -> Array:
    """What the carousel alone brings back of ∂L/∂c_T: ∂L/∂c_T ⊙ Π_{s=t+1..T} f_s, t = 0..T.

    direct_c is ∂L/∂c_T (…, H); returns (T+1, …, H).
    Put it beside `backward(...).total`: the difference came through the gates.
    """
    back = [float64(direct_c)]
    for gates in reversed(run.gates):
        back.append(gates.f * back[-1])
    return float64(back[::-1])
