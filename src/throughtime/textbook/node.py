"""One gradient walks back through the nodes of a recurrent step: tanh, + and MatMul.

    h_prev ──MatMul Wh──┐
                        +──+ b──tanh── h          h = tanh(h_prev Wh + x Wx + b)
    x ──────MatMul Wx───┘

Each node multiplies what arrives from above by its own derivative, and by nothing else:

    tanh     dt      = dh ⊙ (1 - h²)              shrinks (tanh' ≤ 1)
    +        dt to both sides, db = Σ_N dt        copies
    MatMul   dh_prev = dt Whᵀ,  dWh = h_prevᵀ dt  multiplies by Whᵀ, the same one at every step
             dx      = dt Wxᵀ,  dWx = xᵀ dt

Rows are samples here, N to a batch: x (N, D), h (N, H), Wx (D, H), Wh (H, H), b (H,). That is the
layout of the source, Saito, "Deep Learning from Scratch 2", chapter 6.
"""

from typing import NamedTuple

import numpy as np

from .notation import Array, float64, tanh_slope


class MatMul:
    """out = x W."""

    def forward(self, x: Array, W: Array) -> Array:
        """(N, D), (D, H) -> (N, H)."""
        self.x, self.W = x, W
        return x @ W

    def backward(self, dout: Array) -> tuple[Array, Array]:
        """(N, H) -> dx = dout Wᵀ (N, D) and dW = xᵀ dout (D, H)."""
        return dout @ self.W.T, self.x.T @ dout


class Add:
    """out = left + right. A right that is one row for all samples gets the sum over them."""

    def forward(self, left: Array, right: Array) -> Array:
        """(N, H) and (N, H) or (H,) -> (N, H)."""
        self.one_row = right.ndim == 1
        return left + right

    def backward(self, dout: Array) -> tuple[Array, Array]:
        """(N, H) -> the same gradient to both sides."""
        return dout, dout.sum(axis=0) if self.one_row else dout


class Tanh:
    """out = tanh(x)."""

    def forward(self, x: Array) -> Array:
        """(N, H) -> (N, H)."""
        self.out: Array = np.tanh(x)
        return self.out

    def backward(self, dout: Array) -> Array:
        """(N, H) -> dout ⊙ (1 - out²)."""
        return float64(dout * tanh_slope(self.out))


class Parameters(NamedTuple):
    """Wx (D, H), Wh (H, H), b (H,), or their gradients."""

    Wx: Array
    Wh: Array
    b: Array


class Walk(NamedTuple):
    """Every gradient met on the way back through one step, in the order of the walk."""

    dh: Array  #: what arrived, (N, H)
    dt: Array  #: after tanh, (N, H)
    dsum: Array  #: after +, (N, H)
    db: Array  #: what + left in the bias, (H,)
    dWh: Array  #: what MatMul left in Wh, (H, H)  # noqa: N815  — the book's name
    dWx: Array  #: what MatMul left in Wx, (D, H)  # noqa: N815  — the book's name
    dx: Array  #: what the input gets, (N, D)
    dh_prev: Array  #: what the step before gets, (N, H)

    def norms(self) -> dict[str, float]:
        """Frobenius norm of every gradient, by its name."""
        return {name: float(np.linalg.norm(gradient)) for name, gradient in self._asdict().items()}


class Step:
    """One time step, h = tanh(h_prev Wh + x Wx + b), built of nodes."""

    def __init__(self) -> None:
        self.matmul_h, self.matmul_x = MatMul(), MatMul()
        self.add, self.add_bias = Add(), Add()
        self.tanh = Tanh()

    def forward(self, p: Parameters, x: Array, h_prev: Array) -> Array:
        """x (N, D), h_prev (N, H) -> h (N, H)."""
        from_past = self.matmul_h.forward(h_prev, p.Wh)
        from_input = self.matmul_x.forward(x, p.Wx)
        t = self.add_bias.forward(self.add.forward(from_past, from_input), p.b)
        return self.tanh.forward(t)

    def backward(self, dh: Array) -> Walk:
        """The nodes in reverse order, each handing its gradient to the one before."""
        dt = self.tanh.backward(dh)
        dsum, db = self.add_bias.backward(dt)
        to_past, to_input = self.add.backward(dsum)
        dh_prev, dWh = self.matmul_h.backward(to_past)
        dx, dWx = self.matmul_x.backward(to_input)
        return Walk(dh=dh, dt=dt, dsum=dsum, db=db, dWh=dWh, dWx=dWx, dx=dx, dh_prev=dh_prev)


def forward(p: Parameters, x: Array, h0: Array) -> tuple[Array, list[Step]]:
    """x (T, N, D), h0 (N, H) -> states h_0..h_T (T+1, N, H) and the T steps that remember them."""
    h, steps = [h0], []
    for x_t in x:
        steps.append(Step())
        h.append(steps[-1].forward(p, x_t, h[-1]))
    return float64(h), steps


def walk_back(steps: list[Step], direct: Array) -> list[Walk]:
    """The walk through all steps, latest first, from the direct gradients (T, N, H) of h_1..h_T.

    A state feeds its own read-out and the next step, so the gradients of both are added.
    """
    walks: list[Walk] = []
    from_future = np.zeros_like(direct[0])
    for step, from_loss in zip(reversed(steps), direct[::-1], strict=True):
        walks.append(step.backward(from_loss + from_future))
        from_future = walks[-1].dh_prev
    return walks


def gradients(walks: list[Walk]) -> Parameters:
    """What the walks left in the shared parameters, summed over time."""
    return Parameters(
        Wx=float64(sum(walk.dWx for walk in walks)),
        Wh=float64(sum(walk.dWh for walk in walks)),
        b=float64(sum(walk.db for walk in walks)),
    )
