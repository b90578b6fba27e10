"""Verdicts and numbers in words: the same ones in the terminal, in the pictures and on the page."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from throughtime.errors import InputError, plain
from throughtime.findings import Diagnosis, Finding, LayerDiagnosis
from throughtime.report.language import say, spoken

THRESHOLD = -2.0
"""log10 of the gain at which the horizon ends: 1 %."""

_UNPRINTABLE = re.compile("[\ud800-\udfff\ufffe\uffff]")


def check_diagnosis(given: object) -> None:
    """Raise ``InputError`` unless this is a ``Diagnosis``."""
    if isinstance(given, Diagnosis):
        return
    kind = type(given).__name__
    hint = {
        "Trace": ": tt.diagnose(trace) makes one",
        "LayerTrace": ": tt.diagnose makes one of its Trace",
        "capture": ": tt.diagnose(run) makes one",
        "Prescription": ": it has one as .before",
    }.get(kind, "")
    raise InputError(f"a report takes a Diagnosis, not {plain(kind)}{hint}")


def clean(text: object) -> str:
    """One line without control characters, and without what no encoding or XML can carry."""
    return _UNPRINTABLE.sub("\ufffd", plain(text))


def width(text: str) -> int:
    """The columns that a text takes: two for a wide letter, such as those of Korean."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def short(text: object, most: int) -> str:
    """A cleaned name of at most ``most`` columns; a longer one loses its middle, not its ends."""
    name = clean(text)
    if width(name) <= most:
        return name
    head = tail = ""
    for first, last in zip(name, reversed(name), strict=True):
        if width(head + first + tail) < most:
            head += first
        if width(head + last + tail) < most:
            tail = last + tail
    return f"{head}…{tail}"


def head(diagnosis: Diagnosis) -> list[str]:
    """The lines before the verdict: how long, how many, the loss, and what it reads."""
    language = "english" if spoken() == "en" else "korean"
    return [clean(line) for line in diagnosis.head_in(language)]


class VerdictWords(NamedTuple):
    """A verdict as a headline, and as a symbol beside it, so that colour alone never tells it."""

    title: str
    symbol: str
    tone: str


_VERDICTS = {
    "healthy": VerdictWords("Healthy", "✓", "healthy"),
    "vanishing": VerdictWords("Vanishing", "↓", "vanishing"),
    "exploding": VerdictWords("Exploding", "↑", "exploding"),
    "non-finite": VerdictWords("Non-finite", "!", "non-finite"),
    "unknown": VerdictWords("Unknown", "?", "unknown"),
}


def verdict(word: str) -> VerdictWords:
    """The words for a verdict; one that this version does not know is shown as it is."""
    known = _VERDICTS.get(word, VerdictWords(clean(word).capitalize(), "?", "unknown"))
    return known._replace(title=say(known.title))


def steps(number: int) -> str:
    """``1 step``, ``9 steps``, ``1,000 steps``."""
    if number == 1:
        return say("{number} step", number=1)
    return say("{number} steps", number=f"{number:,}")


def horizon(found: Diagnosis | LayerDiagnosis) -> str:
    """The horizon in steps; "at least" where the capture ended before the gradient did."""
    if found.horizon is None:
        return say("unknown")
    at_least = found.reaches_end and found.horizon > 0
    number = f"{found.horizon:,}"
    return say("at least {number}", number=number) if at_least else number


def reach(found: Diagnosis | LayerDiagnosis) -> str:
    """``9 of 100 steps``: the horizon against the span that the task needs; or ``unknown``."""
    if found.horizon is None:
        return say("unknown")
    return say("{horizon} of {span}", horizon=horizon(found), span=steps(found.span))


def covered(found: Diagnosis | LayerDiagnosis) -> float:
    """The share of the span within the horizon, between 0 and 1."""
    if found.horizon is None:
        return 0.0
    return min(1.0, found.horizon / found.span) if found.span > 0 else 1.0


def rate(value: float | None) -> str:
    """A rate in decades per step, signed; ``none`` or ``not finite`` where there is no number."""
    if value is None:
        return say("none")
    if not math.isfinite(value):
        return say("not finite")
    digits = 4 if abs(value) < 0.1 else 3
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if text.strip("+−0.") else text.lstrip("+−")


def slope(value: float | None) -> str:
    """The rate with its unit."""
    known = value is not None and math.isfinite(value)
    return say("{rate} decades per step", rate=rate(value)) if known else rate(value)


def pace(value: float | None) -> str:
    """The same rate for a student: how many steps a factor of ten takes. Empty where none does."""
    if value is None or not math.isfinite(value) or abs(value) < 5e-5:
        return ""
    every = f"{1 / abs(value):,.0f}" if abs(value) <= 0.1 else f"{1 / abs(value):.1f}"
    if value < 0:
        return say("ten times smaller every {number} steps", number=every)
    return say("ten times larger every {number} steps", number=every)


def decades(value: float) -> str:
    """Decades per step in the three digits of a ledger, so that its parts are seen to add up."""
    if not math.isfinite(value):
        return say("unknown") if math.isnan(value) else ("+" if value > 0 else "−") + "∞"
    text = f"{value:+.3f}".replace("-", "−")
    return text if text.strip("+−0.") else "0"


def share(value: float) -> str:
    """A share in per cent; ``< 1 %`` where it is small and not nothing."""
    if not math.isfinite(value):
        return say("unknown")
    if 0 < value < 0.005:
        return "< 1 %"
    text = f"{100 * value:.0f} %".replace("-", "−")
    return "0 %" if text == "−0 %" else text


def confidence(found: Finding) -> str:
    """How sure a rule is of what it found; empty for the budget, which is measured, not judged."""
    value = found.confidence
    if found.disease == "budget" or not isinstance(value, (int, float)) or not math.isfinite(value):
        return ""
    return say("confidence {share}", share=share(min(1.0, max(0.0, value))))


_WHOLE, _LONG = 10_000, 10**9
"""Powers of ten beyond which a number has no digits of its own, and the exponent too many."""


def power(log10: float | None) -> str:
    """The number whose log10 is given: ``0.042``, ``3.2 × 10⁻⁹``, ``0`` for minus infinity."""
    if log10 is None or math.isnan(log10):
        return say("unknown")
    if math.isinf(log10):
        return say("infinite") if log10 > 0 else say("exactly 0")
    if -3 <= log10 < 4:
        return f"{10**log10:.2g}" if log10 < 2 else f"{10**log10:,.0f}"
    exponent = math.floor(log10)
    if abs(exponent) >= _WHOLE:
        return decade(round(log10)) if abs(exponent) < _LONG else f"10^{log10:.1e}"
    mantissa = f"{10 ** (log10 - exponent):.1f}"
    if mantissa == "10.0":
        mantissa, exponent = "1.0", exponent + 1
    return f"{mantissa} × {decade(exponent)}"


def decade(exponent: int) -> str:
    """``10⁻⁹``; plain ``1`` for the zeroth power."""
    digits = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{digits}" if exponent else "1"


def trusted(layer: LayerDiagnosis) -> bool:
    """Whether a comparison with autograd was made, and held."""
    return bool(layer.checked_by)


def check(layer: LayerDiagnosis) -> str:
    """How far the trace agrees with autograd (relative difference), or why that is not known."""
    if trusted(layer) and layer.kind == "inputs":
        forward = layer.checked_by.startswith("forward mode")
        return say("checked by forward mode" if forward else "checked by finite differences")
    if trusted(layer) and layer.kind == "marked":
        return say("read from the autograd graph itself")
    if layer.verified == 0 and trusted(layer):
        return say("nothing to compare" if layer.verdict == "unknown" else "agrees exactly")
    if layer.verified is not None:
        by = f"{layer.verified:.0e}"
        if trusted(layer):
            return say("verified to {number}", number=by)
        return say("check failed")
    if trusted(layer):
        return say("compared with autograd")
    reason = clean(layer.unverified_because).strip()
    return say("not verified: {reason}", reason=reason) if reason else say("not verified")


def named(key: object) -> str:
    """A key such as ``rate_decades_per_step`` as words."""
    return clean(key).replace("_", " ")


def value(item: object) -> str:
    """One line for a value of unspecified kind, such as those of ``Diagnosis.run``."""
    if isinstance(item, Mapping):
        return "; ".join(f"{named(key)}: {value(inner)}" for key, inner in item.items())
    if isinstance(item, (tuple, list)):
        return ", ".join(value(inner) for inner in item)
    if isinstance(item, float):
        return f"{item:.6g}"
    if isinstance(item, int) and not isinstance(item, bool):
        return f"{item:,}" if abs(item) >= 10_000 else str(item)
    return say("none") if item is None else clean(item)
