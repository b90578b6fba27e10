"""Transient growth: the gradient swells on its way back, then dies: the matrix is not normal.

Eigenvalues give the rate at infinity; singular values and pseudospectra the transient (Trefethen &
Embree, "Spectra and Pseudospectra", 2005).
"""

from __future__ import annotations

import numpy as np

from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.reach import FALL
from throughtime.diagnosis.words import Said, finding, steps, ten_to
from throughtime.findings import Finding

# Decades up; FALL is how many down again.
RISE = 1.0


def find(evidence: Evidence) -> Finding | None:
    """The median gain rises tenfold within the span, and falls back tenfold by its end."""
    reach = evidence.reach
    if reach.largest is None or reach.gain_at_span is None or reach.peak is None:
        return None
    if evidence.walls and reach.cut:  # it did not die away: it was cut
        return None
    if reach.largest < RISE or reach.gain_at_span > reach.largest - FALL:
        return None
    figures = {
        "log10_largest_gain": reach.largest,
        "peak_lag_steps": reach.peak,
        "log10_gain_at_span": reach.gain_at_span,
    }
    highest = evidence.gains.max(1, initial=-np.inf)
    agreeing = evidence.share((highest >= RISE) & (evidence.gains[:, -1] <= highest - FALL))
    return finding(
        "transient growth", evidence.name, said(reach.largest, reach.peak), figures, agreeing
    )


def said(largest: float, peak: int) -> Said:
    """How high it rises, and where."""
    times = f"{10**largest:.0f}" if largest < 4 else ten_to(largest)
    return Said(
        f"On its way back the gradient first grows {times}-fold, at {steps(peak)}, and then falls "
        "again: the recurrent matrix is far from normal, and its eigenvalues do not show it.",
        f"기울기는 거슬러 가면서 {peak}스텝에서 {times}배까지 커졌다가 다시 줄어듭니다. 순환 "
        "행렬이 "
        "정규 행렬과 거리가 멀어서이며, 고윳값에는 이것이 나타나지 않습니다.",
    )
