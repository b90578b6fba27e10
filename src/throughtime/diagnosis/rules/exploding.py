"""Exploding: on its way back to the span the gradient grows more than a hundredfold."""

from __future__ import annotations

from throughtime.diagnosis.course import course
from throughtime.diagnosis.evidence import Evidence
from throughtime.diagnosis.reach import EXPLODED, Reach
from throughtime.diagnosis.words import Said, finding, steps, ten_to
from throughtime.findings import Finding


def find(evidence: Evidence) -> Finding | None:
    """The median gain exceeds 100 somewhere up to the span, and has not vanished there."""
    reach = evidence.reach
    if reach.verdict != "exploding":
        return None
    figures = {
        "log10_gain_at_span": reach.gain_at_span,
        "span_steps": reach.span,
        "rate_decades_per_step": reach.rate,
        "log10_largest_gain": reach.largest,
    }
    agreeing = evidence.share(evidence.gains.max(1) > EXPLODED)
    return finding("exploding", evidence.name, said(reach), figures, agreeing)


def said(reach: Reach) -> Said:
    """How fast it grows, and what one such step does."""
    pace = course(reach)
    there = Said("", "")
    if reach.gain_at_span is not None:
        beyond = (
            (" (more than was captured)", "(캡처한 것보다 김)") if reach.extrapolated else ("", "")
        )
        times = ten_to(reach.gain_at_span)
        there = Said(
            f", in all by {times} over {steps(reach.span)}{beyond[0]}",
            f" {reach.span}스텝{beyond[1]}이면 모두 {times}배가 됩니다.",
        )
    return Said(
        f"On its way back the gradient {pace.english}{there.english}: one such step can "
        "throw the weights far away, or to NaN.",
        f"기울기는 과거로 거슬러 가면서 {pace.korean},{there.korean} 이런 갱신 한 번이면 "
        "가중치가 멀리 튀거나 NaN이 됩니다.",
    )
