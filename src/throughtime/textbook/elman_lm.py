"""The Elman language model, and backpropagation through time written twice.

    h_t = tanh(U x_t + W h_{t-1} + b)         x_t one-hot (M,), h_t (H,)
    ŷ_t = softmax(V h_t + c)                  (M,)
    L   = Σ_t L_t,   L_t = -log ŷ_t[y_t]      in nats, summed over time

`c` is the bias of the output; lectures that have none set it to zero. There are two ways to the
same gradient:

    the double sum   ∂L/∂W = Σ_t Σ_{k≤t} ∂L_t/∂h_t (∂h_t/∂h_k) ∂⁺h_k/∂W,
                     ∂h_t/∂h_k = J_t J_{t-1} … J_{k+1}, latest on the left
    the recursion    δ_t = e_t + J_{t+1}ᵀ δ_{t+1},   ∂L/∂W = Σ_t (δ_t ⊙ (1 - h_t²)) h_{t-1}ᵀ

    with J_t = ∂h_t/∂h_{t-1} = diag(1 - h_t²) W,   e_t = ∂L_t/∂h_t = Vᵀ (ŷ_t - y_t)

∂⁺ is the immediate derivative: h_{k-1} is held still, so it is the part of this one use of W.

Sources: Elman 1990; Werbos 1990; Goodfellow, Bengio and Courville 2016, section 10.2;
Pascanu, Mikolov and Bengio 2013, equations 3 to 5.
"""

from typing import NamedTuple

import numpy as np

from .notation import Array, float64, tanh_slope


class Parameters(NamedTuple):
    """U (H, M), W (H, H), V (M, H), b (H,), c (M,), or the gradients of the loss by them."""

    U: Array
    W: Array
    V: Array
    b: Array
    c: Array


class Run(NamedTuple):
    """One forward pass over T predictions. Index t of `h` is time t, of the others time t+1."""

    x: Array  #: one-hot inputs x_1..x_T (T, M)
    y: Array  #: one-hot targets y_1..y_T (T, M)
    h: Array  #: states h_0..h_T (T+1, H)
    y_hat: Array  #: predicted probabilities (T, M)
    losses: Array  #: L_1..L_T in nats (T,)

    @property
    def loss(self) -> float:
        """L = Σ_t L_t in nats."""
        return float(self.losses.sum())


def one_hot(tokens: list[int], M: int) -> Array:
    """(T, M): row t is zero but for a 1 at `tokens[t]`; ValueError if that is not in 0..M-1."""
    for token in tokens:
        if not 0 <= token < M:
            raise ValueError(f"token {token} is outside the vocabulary 0..{M - 1}")
    return np.eye(M)[tokens]


def log_softmax(o: Array) -> Array:
    """o - log Σ exp(o), (M,) -> (M,); the largest entry goes first, so that exp cannot overflow."""
    o = o - o.max()
    return float64(o - np.log(np.exp(o).sum()))


def forward(p: Parameters, tokens: list[int], h0: Array | None = None) -> Run:
    """Read tokens 0..T-1, predict tokens 1..T, from h_0 (H,), zero by default.

    Raises ValueError for fewer than two tokens, or one outside the vocabulary.
    """
    if len(tokens) < 2:
        raise ValueError(
            f"a language model predicts the next token: give 2 or more, got {len(tokens)}"
        )
    M, H = p.V.shape
    x, y = one_hot(tokens[:-1], M), one_hot(tokens[1:], M)
    h = [np.zeros(H) if h0 is None else float64(h0)]
    y_hat, losses = [], []
    for x_t, y_t in zip(x, y, strict=True):
        h.append(np.tanh(p.U @ x_t + p.W @ h[-1] + p.b))
        log_y_hat = log_softmax(p.V @ h[-1] + p.c)
        y_hat.append(np.exp(log_y_hat))
        losses.append(-y_t @ log_y_hat)
    return Run(x, y, float64(h), float64(y_hat), float64(losses))


def jacobian(p: Parameters, h_t: Array) -> Array:
    """J_t = ∂h_t/∂h_{t-1} = diag(1 - h_t²) W (H, H)."""
    return np.diag(tanh_slope(h_t)) @ p.W


def direct_gradients(p: Parameters, run: Run) -> Array:
    """e_t = ∂L_t/∂h_t = Vᵀ (ŷ_t - y_t), t = 1..T (T, H): what L_t alone sends into h_t."""
    return float64([p.V.T @ (y_hat - y) for y_hat, y in zip(run.y_hat, run.y, strict=True)])


def total_gradients(p: Parameters, run: Run) -> Array:
    """δ_t = ∂L/∂h_t, t = 0..T (T+1, H): δ_T = e_T, δ_t = e_t + J_{t+1}ᵀ δ_{t+1}, e_0 = 0."""
    T = len(run.x)
    e = np.vstack([np.zeros(run.h.shape[1]), direct_gradients(p, run)])
    delta = e.copy()
    for t in range(T - 1, -1, -1):
        delta[t] = e[t] + jacobian(p, run.h[t + 1]).T @ delta[t + 1]
    return delta


def bptt(p: Parameters, run: Run) -> Parameters:
    """∂L/∂(U, W, V, b, c) by the one backward recursion: T steps."""
    delta = total_gradients(p, run)
    g = Parameters(*(np.zeros_like(parameter) for parameter in p))
    for t in range(1, len(run.h)):
        before_tanh = delta[t] * tanh_slope(run.h[t])
        before_softmax = run.y_hat[t - 1] - run.y[t - 1]
        g.U[...] += np.outer(before_tanh, run.x[t - 1])
        g.W[...] += np.outer(before_tanh, run.h[t - 1])
        g.b[...] += before_tanh
        g.V[...] += np.outer(before_softmax, run.h[t])
        g.c[...] += before_softmax
    return g


def pair_gradients(p: Parameters, run: Run, t: int, k: int) -> Parameters:
    """The part of ∂L_t that comes through the use of the parameters at step k, 1 ≤ k ≤ t ≤ T.

    V and c are used by the read-out, so they have a part at k = t only.
    """
    product = np.eye(run.h.shape[1])
    for step in range(k + 1, t + 1):
        product = jacobian(p, run.h[step]) @ product  # latest on the left
    error = run.y_hat[t - 1] - run.y[t - 1]
    before_tanh = (error @ p.V @ product) * tanh_slope(run.h[k])
    read_out = error if k == t else np.zeros_like(error)
    return Parameters(
        U=np.outer(before_tanh, run.x[k - 1]),
        W=np.outer(before_tanh, run.h[k - 1]),
        V=np.outer(read_out, run.h[t]),
        b=before_tanh,
        c=read_out,
    )


def bptt_double_sum(p: Parameters, run: Run) -> Parameters:
    """∂L/∂(U, W, V, b, c) = Σ_t Σ_{k≤t}, each product of Jacobians multiplied out anew: T³."""
    g = Parameters(*(np.zeros_like(parameter) for parameter in p))
    for t in range(1, len(run.h)):
        for k in range(1, t + 1):
            for total, part in zip(g, pair_gradients(p, run, t, k), strict=True):
                total[...] += part
    return g


def w_gradient_by_lag(p: Parameters, run: Run) -> Array:
    """∂L/∂W split by lag (T, H, H): entry k sums over t the part of ∂L_t that went back k steps."""
    T = len(run.x)
    by_lag = np.zeros((T, *p.W.shape))
    for t in range(1, T + 1):
        for k in range(1, t + 1):
            by_lag[t - k] += pair_gradients(p, run, t, k).W
    return by_lag


def update(p: Parameters, g: Parameters, alpha: float) -> Parameters:
    """One step of gradient descent on every parameter, W ← W - α ∂L/∂W."""
    return Parameters(*(w - alpha * dw for w, dw in zip(p, g, strict=True)))
