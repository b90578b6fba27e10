"""What a network suffers from: figures of one run, from explicit Jacobian products in float64.

The definitions, for a span of L steps, P_k = ∂s_t/∂s_{t−k} and the loss's own gradients e_t; the
gain g_k is the median, over loss steps t and sequences, of log10 ‖P_kᵀ e_t‖ / ‖e_t‖:

- vanishing: g_L < −2.
- exploding: not vanishing, and g_L is above 2, or the largest g_k up to L is above 2 and g_L less
  than 1 below it (else it swelled and passed: transient growth).
- transient growth: the largest g_k up to L is at least 1, and g_L lies at least 1 below it; not
  where a wall cut it off.
- chaotic: not vanishing, the largest Lyapunov exponent is above 0.02 nats per step, and the states
  are bounded: their norm grows by less than a tenth of that rate.
- saturated: vanishing, and at least half of the candidate's tanh slopes are below 0.1 (ReLU: at
  least 95 % of its slopes are 0).
- gates closed: vanishing, and with the carrying gate at 1, all else equal, it would not be.
- truncated: the state is detached on the way, and the longest window is shorter than the span.
- bottleneck: neither vanishing nor exploding, and of the directions that the loss asks for (the
  participation ratio of all e_t, each scaled to norm 1, is at least 3) one comes back (that of
  P_Lᵀ times all of them, from the last loss step, is below 1.5 in the median sequence).
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
from benchmarks.diseases.products import (
    directions,
    gains,
    growth,
    largest_exponent,
    loss_steps,
    multiplied,
)
from benchmarks.diseases.tasks import Task
from benchmarks.diseases.unrolled import Run, finite, run
from benchmarks.verdicts.truth import EXPLODED, VANISHED

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


@dataclass(frozen=True)
class Figures:
    """What the definitions are about; gains in log10, rates per step.

    Attributes:
        gain: g_L. peak: the largest g_k for 0 < k <= L. operator_gain: log10 ‖P_L‖₂ at the last
            loss step, the median over sequences (for information).
        exponent: the largest Lyapunov exponent, in nats per step, the mean over sequences.
        growth: of the state's norm, in decades per step.
        stuck: share of the slopes of the candidate that are below 0.1; of ReLU's that are 0.
        carousel: g_L with the carrying gate at 1; None without gates, or where it does not matter.
        asked: participation ratio (Σσ²)²/Σσ⁴ of the loss's own gradients, each of norm 1.
        left: that of what P_L sends back of them, from the last loss step; the median sequence.
        window: the longest stretch without a wall, in steps; None without walls.
    """

    gain: float
    peak: float
    operator_gain: float
    exponent: float
    growth: float
    stuck: float
    carousel: float | None
    asked: float
    left: float
    window: int | None


@dataclass(frozen=True)
class Truth:
    """The set of diseases, empty if healthy; figures None of a run that is not finite.

    ``near``: a figure that decides lies near its threshold.
    """

    diseases: frozenset[str]
    figures: Figures | None
    near: bool = False


def figures(model: Reader, inputs: Tensor, targets: Tensor, task: Task) -> Figures:
    """All figures of a run that stays finite."""
    seen = run(model, inputs, targets, task.loss)
    by_lag = gains(seen.cut(seen.jacobians), seen.sources, task.span)
    carousel = None
    if seen.stack.gated and by_lag[-1] < VANISHED:
        carousel = float(gains(seen.cut(seen.carousel()), seen.sources, task.span)[-1])
    last = int(loss_steps(seen.sources)[-1])
    product, scale = multiplied(seen.cut(seen.jacobians)[last - task.span + 1 : last + 1])
    norms = torch.linalg.matrix_norm(product, ord=2).log10() + scale
    asked, left = directions(seen.sources, product)
    burn_in = len(seen.states) // 5
    return Figures(
        gain=float(by_lag[-1]),
        peak=float(by_lag[1:].max()),
        operator_gain=float(np.median(norms.numpy())),
        exponent=largest_exponent(seen.jacobians, burn_in),
        growth=growth(seen.states, burn_in),
        stuck=float((seen.slopes() < (0.1 if squashes(model) else 1e-12)).double().mean()),
        carousel=carousel,
        asked=asked,
        left=left,
        window=_longest_window(seen),
    )


def diseases(model: Reader, inputs: Tensor, targets: Tensor, task: Task) -> Truth:
    """The truth about one network on one batch."""
    if not finite(model, inputs, targets, task.loss):
        return Truth(frozenset({NON_FINITE}), None)
    found = figures(model, inputs, targets, task)
    tanh = squashes(model)
    near = near_a_threshold(found, tanh=tanh)
    return Truth(labels(found, task.span, tanh=tanh), found, near)


def squashes(model: Reader) -> bool:
    """Whether the candidate of the recurrence goes through tanh, and not through ReLU."""
    return model.rnn.mode != "RNN_RELU"


def labels(found: Figures, span: int, *, tanh: bool) -> frozenset[str]:
    """The set of diseases, by the definitions above; empty if healthy."""
    vanishing = found.gain < VANISHED
    stays = found.gain > EXPLODED or found.gain > found.peak - 1
    exploding = not vanishing and found.peak > EXPLODED and stays
    rate = found.exponent / math.log(10)
    chaotic = found.exponent > 0.02 and found.growth < 0.1 * rate
    cut = found.window is not None and found.gain == -math.inf
    has = {
        "vanishing": vanishing,
        "exploding": exploding,
        "transient growth": found.peak >= 1 and found.gain <= found.peak - 1 and not cut,
        "chaotic": not vanishing and chaotic,
        "saturated": vanishing and found.stuck >= (0.5 if tanh else 0.95),
        "gates closed": vanishing and found.carousel is not None and found.carousel >= VANISHED,
        "truncated": found.window is not None and found.window < span,
        "bottleneck": not (vanishing or exploding) and found.asked >= 3 and found.left < 1.5,
    }
    return frozenset(name for name, present in has.items() if present)


def near_a_threshold(found: Figures, *, tanh: bool) -> bool:
    """Whether a figure that decides lies so close to its threshold that a little would turn it."""
    close = {
        "gain": abs(found.gain - VANISHED) < 0.3,
        "peak": abs(found.peak - EXPLODED) < 0.3,
        "rise": abs(found.peak - 1) < 0.2 and found.gain < found.peak - 0.8,
        "fall": found.peak > 0.8 and abs(found.peak - found.gain - 1) < 0.2,
        "exponent": abs(found.exponent - 0.02) < 0.01 and found.growth < 0.002,
        "stuck": abs(found.stuck - (0.5 if tanh else 0.95)) < 0.05 and found.gain < VANISHED,
        "carousel": found.carousel is not None and abs(found.carousel - VANISHED) < 0.3,
        "directions": found.gain > VANISHED and found.asked > 2.7 and abs(found.left - 1.5) < 0.2,
    }
    return any(close.values())


def _longest_window(seen: Run) -> int | None:
    if not seen.walls:
        return None
    return max(
        b - a for a, b in zip((0, *seen.walls), (*seen.walls, len(seen.states)), strict=True)
    )
