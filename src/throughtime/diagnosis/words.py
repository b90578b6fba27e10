"""What the sentences of all rules share, in English and in Korean."""

from __future__ import annotations

from typing import Any, NamedTuple

from throughtime.errors import counted
from throughtime.findings import Finding


class Said(NamedTuple):
    """The same sentence in both languages."""

    english: str
    korean: str


def steps(number: int) -> str:
    """``1 step``, ``9 steps``."""
    return counted(number, "step")


def signed(rate: float) -> str:
    """A rate with its sign: ``−0.24``; three digits behind the point where it is small."""
    if rate == float("-inf"):
        return "−∞"
    text = f"{rate:+.{2 if abs(rate) >= 0.095 else 3}f}".replace("-", "−")
    return text if text.strip("+−0.") else "0"


def ten_to(log10: float) -> str:
    """The number whose log10 is given: ``10^-5.2``, ``10^-31,000``, ``10^-1.6e+32``."""
    size = abs(log10)
    digits = f"{log10:.1f}" if size < 1e4 else f"{log10:,.0f}" if size < 1e9 else f"{log10:.1e}"
    return f"10^{digits}"


def percent(share: float) -> str:
    """``87 %``."""
    text = f"{100 * share:.0f} %"
    return "0 %" if text == "-0 %" else text


def finding(
    disease: str, subject: str, said: Said, evidence: dict[str, Any], confidence: float = 1.0
) -> Finding:
    """A finding with both its sentences."""
    return Finding(disease, subject, said.english, evidence, confidence, said.korean)
