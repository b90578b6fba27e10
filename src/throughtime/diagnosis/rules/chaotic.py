"""Chaotic: small differences between states grow along the data, although the states stay bounded.

Mikhaeil, Monfared & Durstewitz, "On the difficulty of learning chaotic dynamics with RNNs",
NeurIPS 2022: it holds for RNN, LSTM and GRU alike, and ``τ = ln 2 / λ_max`` is the useful window.
An exponent is a limit, and a run has some steps: growth that the second half of the run does not
show as well is a transient.
"""

from __future__ import annotations

import math

from throughtime.diagnosis.chaos import LaterHalf
from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.words import Said, finding, steps
from throughtime.findings import Finding
from throughtime.measures.lyapunov import CHAOTIC

# A state that grows by this share of the exponent does not fold back: it explodes, without chaos.
_UNBOUNDED = 0.1
# Over the steps that were measured a small difference grows at least so much.
_TIMES = 10.0


def find(evidence: Evidence) -> Finding | None:
    """The largest Lyapunov exponent along the data is positive, and the states stay bounded.

    Also in the second half of the run alone, with all but 2.5 % of a bootstrap.
    """
    if evidence.reach.verdict == "vanishing" or evidence.exponent is None:
        return None
    exponent, later = evidence.exponent["mean"], evidence.later
    if not exponent > CHAOTIC or later is None or not later.low > CHAOTIC:
        return None
    if exponent * later.steps < math.log(_TIMES):
        return None
    if evidence.growth > _UNBOUNDED * exponent / math.log(10):
        return None
    window = max(1, round(math.log(2) / exponent))
    figures = {
        "largest_exponent_nats_per_step": exponent,
        "largest_exponent_decades_per_step": exponent / math.log(10),
        "statistical_error_nats_per_step": evidence.exponent["statistical error"],
        "second_half_nats_per_step": later.exponent,
        "second_half_low_nats_per_step": later.low,
        "second_half_high_nats_per_step": later.high,
        "measured_steps": later.steps,
        "window_steps": window,
        "state_growth_decades_per_step": evidence.growth,
    }
    return finding("chaotic", evidence.name, said(exponent, window, later), figures, later.share)


def said(exponent: float, window: int, later: LaterHalf) -> Said:
    """What a positive exponent means, over how many steps, and the window that is still useful."""
    double = math.log(2) / exponent
    return Said(
        f"The network behaves chaotically along this data: over the {later.steps} steps measured, "
        f"small differences double every {double:.1f} steps (largest Lyapunov exponent "
        f"{exponent:+.3f} nats or {exponent / math.log(10):+.3f} decades per step; "
        f"{later.exponent:+.3f} nats in the second half, 95 % interval {later.low:.3f} to "
        f"{later.high:.3f}) although the states stay bounded. Gradients from more than about "
        f"{steps(window)} back mostly reflect this growth.",
        f"이 데이터에서 신경망은 카오스처럼 움직입니다. 측정한 {later.steps}스텝 동안 상태는 "
        f"유계인데도 작은 차이가 {double:.1f}스텝마다 두 배가 됩니다(최대 랴푸노프 지수 "
        f"{exponent:+.3f} nat/스텝 또는 {exponent / math.log(10):+.3f} 데케이드/스텝, 후반부 "
        f"{later.exponent:+.3f} nat/스텝, 95 % 구간 {later.low:.3f}~{later.high:.3f}). 약 "
        f"{window}스텝보다 먼 과거에서 온 기울기는 대부분 이 증폭만 반영합니다.",
    )
