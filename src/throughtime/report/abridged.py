"""What many layers have in common: told of a few, and counted of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from throughtime.findings import Finding, LayerDiagnosis
from throughtime.report.language import say

MOST = 12
"""Of one disease so many findings are told."""


def untold(findings: Iterable[Finding], told: Collection[str]) -> list[Finding]:
    """Those that no sentence tells already, each once."""
    rest = (one for one in findings if not any(one.sentence in sentence for sentence in told))
    return list({(one.subject, one.disease, one.sentence): one for one in rest}.values())


def few(findings: Iterable[Finding], most: int = MOST) -> tuple[list[Finding], list[str]]:
    """The first findings of every disease, and a line for each disease that has more."""
    met, told = Counter[str](), list[Finding]()
    for one in findings:
        met[one.disease] += 1
        if met[one.disease] <= most:
            told.append(one)
    more = [
        say(
            "{disease}: {number} more, all in the JSON.",
            disease=say(disease).capitalize(),
            number=n - most,
        )
        for disease, n in met.items()
        if n > most
    ]
    return told, more


def rows(
    layers: Sequence[LayerDiagnosis], most: int
) -> tuple[tuple[LayerDiagnosis, ...], list[str]]:
    """At most so many layers in their own order, with a line on the others.

    A verdict that few have is what a reader looks for: those layers come in first.
    """
    shares = Counter(layer.verdict for layer in layers)
    order = sorted(range(len(layers)), key=lambda n: shares[layers[n].verdict])
    shown = tuple(layers[n] for n in sorted(order[:most]))
    left = len(layers) - len(shown)
    return shown, [say("{number} more layers: the JSON has them all.", number=left)] * bool(left)
