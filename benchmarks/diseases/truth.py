"""What a network suffers from: figures of one run, from explicit Jacobian products in float64.

The definitions, for a span of L steps, P_k = ∂s_t/∂s_{t−k} and the loss's own gradients e_t; the
gain g_k is the median, over loss steps t and sequences, of log10 ‖P_kᵀ e_t‖ / ‖e_t‖:

- vanishing: g_L < −2. exploding: g_L > 2.
- transient growth: the largest g_k up to L is at least 1, and g_L lies at least 1 below it; not
  exploding.
- chaotic: the largest Lyapunov exponent is above 0.02 nats per step, and the states are bounded.
- saturated: vanishing, and at least half of the candidate's tanh slopes are below 0.1 (ReLU: at
  least 95 % of its slopes are 0).
- gates closed: vanishing, and with the carrying gate at 1 all else equal it would not be.
- truncated: the state is detached on the way, and the longest window is shorter than the span.
- bottleneck: neither vanishing nor exploding, at least 8 numbers in the state, and the
  participation ratio of the singular values of P_L below 1.5.
- non-finite: a NaN or an infinity in the float32 run, forward or backward. Excludes all others.

None of them is healthy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.diseases.networks import Reader
from benchmarks.diseases.tasks import Task
from benchmarks.diseases.unrolled import Run, finite, run

NON_FINITE, HEALTHY = "non-finite", "healthy"
LABELS = (
    "vanishing",
    "exploding",
    "transient growth",
    "chaotic",
    "saturated",
    "gates closed",
    "truncated",
    "bottleneck",
    NON_FINITE,
    HEALTHY,
)
DIRECTIONS = 4  # tangent vectors that are followed; the largest exponent is read off


@dataclass(frozen=True)
class Figures:
    """What the definitions are about; gains in log10, rates per step.

    Attributes:
        gain: g_L. peak: the largest g_k for 0 < k <= L. operator_gain: log10 ‖P_L‖₂ at the last
            loss step, the median over sequences (for information).
        exponent: the largest Lyapunov exponent, in nats per step, the mean over sequences.
        growth: of the state's norm, in decades per step.
        stuck: share of the slopes of the candidate that are below 0.1; of ReLU's that are 0.
        carousel: g_L with the carrying gate at 1; None without gates.
        participation: (Σσ²)²/Σσ⁴ of P_L at the last loss step, the median over sequences.
        window: the longest stretch without a wall, in steps; None without walls.
        size: entries of the joint state.
    """

    gain: float
    peak: float
    operator_gain: float
    exponent: float
    growth: float
    stuck: float
    carousel: float | None
    participation: float
    window: int | None
    size: int


@dataclass(frozen=True)
class Truth:
    """The set of diseases, empty if healthy; figures None of a run that is not finite."""

    diseases: frozenset[str]
    figures: Figures | None


def figures(model: Reader, inputs: Tensor, targets: Tensor, task: Task) -> Figures:
    """All figures of a run that stays finite."""
    seen = run(model, inputs, targets, task.loss)
    by_lag = gains(seen.cut(seen.jacobians), seen.sources, task.span)
    carousel = None
    if seen.stack.gated:
        carousel = float(gains(seen.cut(seen.carousel()), seen.sources, task.span)[-1])
    last = int(_loss_steps(seen.sources)[-1])
    product = seen.cut(seen.jacobians)[last - task.span + 1 : last + 1]
    singular, scale = singular_values(product)
    burn_in = len(seen.states) // 5
    return Figures(
        gain=float(by_lag[-1]),
        peak=float(by_lag[1:].max()),
        operator_gain=float(np.median((singular.amax(-1).log10() + scale).numpy())),
        exponent=largest_exponent(seen.jacobians, burn_in),
        growth=growth(seen.states, burn_in),
        stuck=float((seen.slopes() < (0.1 if squashes(model) else 1e-12)).double().mean()),
        carousel=carousel,
        participation=participation(singular),
        window=_longest_window(seen),
        size=seen.states.shape[-1],
    )


def diseases(model: Reader, inputs: Tensor, targets: Tensor, task: Task) -> Truth:
    """The truth about one network on one batch."""
    if not finite(model, inputs, targets, task.loss):
        return Truth(frozenset({NON_FINITE}), None)
    found = figures(model, inputs, targets, task)
    return Truth(labels(found, task.span, tanh=squashes(model)), found)


def squashes(model: Reader) -> bool:
    """Whether the candidate of the recurrence goes through tanh, and not through ReLU."""
    return model.rnn.mode != "RNN_RELU"


def labels(found: Figures, span: int, *, tanh: bool) -> frozenset[str]:
    """The set of diseases, by the definitions above; empty if healthy."""
    vanishing, exploding = found.gain < -2, found.gain > 2
    rate = found.exponent / math.log(10)
    closed = found.carousel is not None and found.carousel >= -2
    has = {
        "vanishing": vanishing,
        "exploding": exploding,
        "transient growth": found.peak >= 1 and found.gain <= found.peak - 1 and not exploding,
        "chaotic": found.exponent > 0.02 and found.growth < 0.1 * rate,
        "saturated": vanishing and found.stuck >= (0.5 if tanh else 0.95),
        "gates closed": vanishing and closed,
        "truncated": found.window is not None and found.window < span,
        "bottleneck": not vanishing
        and not exploding
        and found.size >= 8
        and found.participation < 1.5,
    }
    return frozenset(name for name, present in has.items() if present)


def gains(jacobians: Tensor, sources: Tensor, span: int) -> np.ndarray:
    """g_0 … g_span: each source e_t goes back alone; the median over all t >= k, and sequences.

    A vector is kept near 1 and the logarithm of its norm carried; −inf is an exact zero.
    """
    steps, first = len(sources), int(_loss_steps(sources)[0])
    size = sources[first:].norm(dim=-1)
    rows, logs = sources[first:] / size.unsqueeze(-1), torch.zeros_like(size)
    found = [0.0]
    for lag in range(1, span + 1):
        # From s_{t−lag+1} to s_{t−lag}, for every loss step t that has so many steps before it.
        reach = max(first, lag)
        rows, logs = rows[reach - steps :], logs[reach - steps :]
        passed = jacobians[reach - lag + 1 : steps - lag + 1]
        rows = (rows.unsqueeze(-2) @ passed).squeeze(-2)
        norms = rows.norm(dim=-1)
        logs = logs + norms.log10()
        rows = rows / norms.clamp_min(torch.finfo(rows.dtype).tiny).unsqueeze(-1)
        found.append(float(np.median(logs[~logs.isnan()].numpy())))
    return np.array(found)


def singular_values(jacobians: Tensor) -> tuple[Tensor, Tensor]:
    """Of the product of J_t (K B S S), latest on the left: (B S), over 10 to the scale (B)."""
    product, exponent = jacobians[0], jacobians.new_zeros(jacobians.shape[1])
    for jacobian in jacobians[1:]:
        scale = product.abs().amax((1, 2)).clamp_min(torch.finfo(product.dtype).tiny)
        product, exponent = jacobian @ (product / scale[:, None, None]), exponent + scale.log10()
    return torch.linalg.svdvals(product), exponent


def participation(singular: Tensor) -> float:
    """(Σσ²)²/Σσ⁴, the median over sequences; how many directions survive. NaN if none does."""
    squares = (singular / singular.amax(-1, keepdim=True)).square()
    return float(np.median((squares.sum(-1).square() / squares.square().sum(-1)).numpy()))


def largest_exponent(jacobians: Tensor, burn_in: int) -> float:
    """Nats per step: QR at every step, the mean over the steps after the burn-in."""
    steps, batch, size, _ = jacobians.shape
    start = torch.Generator().manual_seed(0)
    width = min(DIRECTIONS, size)
    frame = torch.randn(batch, size, width, dtype=jacobians.dtype, generator=start)
    frame, total = torch.linalg.qr(frame)[0], jacobians.new_zeros(batch, width)
    for t, jacobian in enumerate(jacobians):
        frame, upper = torch.linalg.qr(jacobian @ frame)
        if t >= burn_in:
            total += upper.diagonal(dim1=-2, dim2=-1).abs().log()
    return float((total / (steps - burn_in)).amax(-1).mean())


def growth(states: Tensor, burn_in: int) -> float:
    """Decades per step: the slope of log10 ‖s_t‖ after the burn-in, the mean over sequences."""
    norms = states[burn_in:].norm(dim=-1).log10().numpy()
    return float(np.polyfit(np.arange(len(norms)), norms, 1)[0].mean())


def _loss_steps(sources: Tensor) -> Tensor:
    """The steps t at which the loss sends anything into the state."""
    return (sources != 0).flatten(1).any(1).nonzero().flatten()


def _longest_window(seen: Run) -> int | None:
    if not seen.walls:
        return None
    return max(
        b - a for a, b in zip((0, *seen.walls), (*seen.walls, len(seen.states)), strict=True)
    )
