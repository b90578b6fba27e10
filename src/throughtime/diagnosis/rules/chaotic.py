"""Chaotic: nearby states part for ever. The gradient of almost every orbit then diverges.

Mikhaeil, Monfared & Durstewitz, "On the difficulty of learning chaotic dynamics with RNNs",
NeurIPS 2022: it holds for RNN, LSTM and GRU alike, and ``τ = ln 2 / λ_max`` is the useful window.
"""

from __future__ import annotations

import math

from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.words import Said, finding, steps
from throughtime.findings import Finding
from throughtime.measures.lyapunov import CHAOTIC

# A state that grows by this share of the exponent does not fold back: it explodes, without chaos.
_UNBOUNDED = 0.1


def find(evidence: Evidence) -> Finding | None:
    """The largest Lyapunov exponent along the data is positive, and the states stay bounded."""
    if evidence.reach.verdict == "vanishing" or evidence.exponent is None:
        return None
    exponent, error = evidence.exponent["mean"], evidence.exponent["statistical error"]
    if not exponent > CHAOTIC or evidence.growth > _UNBOUNDED * exponent / math.log(10):
        return None
    window = max(1, round(math.log(2) / exponent))
    figures = {
        "largest_exponent_nats_per_step": exponent,
        "largest_exponent_decades_per_step": exponent / math.log(10),
        "statistical_error_nats_per_step": error,
        "window_steps": window,
        "state_growth_decades_per_step": evidence.growth,
    }
    # The chance that the true exponent exceeds the threshold, given the error of this one.
    sure = 0.5 * (1 + math.erf((exponent - CHAOTIC) / (math.sqrt(2) * error))) if error else 1.0
    return finding("chaotic", evidence.name, said(exponent, window), figures, sure)


def said(exponent: float, window: int) -> Said:
    """What a positive exponent means, and the window that is still useful."""
    double = math.log(2) / exponent
    return Said(
        f"The network is chaotic along this data: small differences double every {double:.1f} "
        f"steps (largest Lyapunov exponent {exponent:+.3f} nats or "
        f"{exponent / math.log(10):+.3f} decades per step) although the states stay "
        f"bounded, so that the gradient diverges. Beyond about {steps(window)} it says nothing.",
        "이 데이터에서 네트워크는 카오스 상태입니다. 상태는 유계인데도 작은 차이가 "
        f"{double:.1f}스텝마다 "
        f"두 배가 되어(최대 랴푸노프 지수 {exponent:+.3f} nat/스텝, "
        f"{exponent / math.log(10):+.3f} 데케이드/스텝) 기울기가 발산합니다. 약 "
        f"{window}스텝보다 먼 기울기는 의미가 없습니다.",
    )
