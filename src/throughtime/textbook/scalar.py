"""One recurrent unit: the gradient through time is a product of factors.

    h_t = tanh(a h_{t-1} + b x_t + c),   t = 1..T          y = d h_T + e

    ∂h_t/∂h_{t-1} = a (1 - h_t²)                           the factor of step t
    dy/dh_k = d Π_{t=k+1..T} a (1 - h_t²)                  one factor for every step between
    |dy/dh_1| ≤ |d| |a|^{T-1}                              since tanh' ≤ 1

So |a| < 1 suffices for the gradient to vanish. |a| > 1 is necessary for it to explode, and not
sufficient: a state that drives tanh into saturation has 1 - h_t² near 0, whatever a is.

Source: Pascanu, Mikolov and Bengio 2013, section 2, for one unit.
"""

from typing import NamedTuple

import numpy as np

from .notation import Array, float64, tanh_slope


class Chain(NamedTuple):
    """The five parameters of the chain; the same tuple also carries dy/da, dy/db, ... dy/de."""

    a: float
    b: float
    c: float
    d: float
    e: float


def forward(chain: Chain, x: Array, h0: float = 0.0) -> Array:
    """States h_0..h_T (T+1,) for the inputs x_1..x_T (T,). `h[t]` is h_t, and `x[t-1]` is x_t."""
    h = [h0]
    for x_t in float64(x):
        h.append(float(np.tanh(chain.a * h[-1] + chain.b * x_t + chain.c)))
    return float64(h)


def output(chain: Chain, h: Array) -> float:
    """y = d h_T + e."""
    return float(chain.d * h[-1] + chain.e)


def factors(chain: Chain, h: Array) -> Array:
    """∂h_t/∂h_{t-1} = a (1 - h_t²) of every step, t = 1..T (T,). `factors[t-1]` is step t."""
    return float64([chain.a * tanh_slope(h_t) for h_t in h[1:]])


def dy_dh(chain: Chain, h: Array) -> Array:
    """dy/dh_k = d Π_{t=k+1..T} a (1 - h_t²) for k = 0..T (T+1,), each product taken anew."""
    factor = factors(chain, h)
    T = len(factor)
    return float64([chain.d * np.prod(factor[k:]) for k in range(T + 1)])


def gradients(chain: Chain, x: Array, h: Array) -> Chain:
    """dy/da .. dy/de, summed over time, since all steps share a, b and c.

    dy/da = Σ_t dy/dh_t (1 - h_t²) h_{t-1}      dy/db = Σ_t dy/dh_t (1 - h_t²) x_t
    dy/dc = Σ_t dy/dh_t (1 - h_t²)              dy/dd = h_T        dy/de = 1
    """
    dh = dy_dh(chain, h)
    da = db = dc = 0.0
    for t in range(1, len(h)):
        before_tanh = dh[t] * tanh_slope(h[t])
        da += before_tanh * h[t - 1]
        db += before_tanh * x[t - 1]
        dc += before_tanh
    return Chain(a=float(da), b=float(db), c=float(dc), d=float(h[-1]), e=1.0)


def bound(chain: Chain, T: int) -> float:
    """|a|^{T-1}, which |∂h_T/∂h_1| never exceeds; inf where float64 cannot hold it."""
    with np.errstate(over="ignore"):
        return float(np.power(float64(abs(chain.a)), T - 1))
