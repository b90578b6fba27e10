"""What the demo measured, as tables and sentences for the terminal and for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from throughtime.demo.reading import Reader
from throughtime.demo.recall import MEASURED_OVER, RECALLED, Recall
from throughtime.report import Section


def reading_table(readers: Mapping[str, Reader]) -> Section:
    """How well each language model reads, beside the trivial answer."""
    trivial = next(iter(readers.values())).trivial
    return Section(
        "Reading the manual of Python",
        "Losses are in nats per word on the part of the text kept for validation. An answer that "
        f"never looks at what it read, word frequencies alone, has {trivial:.2f} on the text that "
        "was trained on.",
        ("network", "validation loss", "perplexity"),
        tuple(
            (label, f"{reader.trained:.2f}", f"{reader.perplexity:.0f}")
            for label, reader in readers.items()
        ),
    )


def recall_table(recalls: Sequence[Recall], example: str, steps: int) -> Section:
    """How far back each network learned to recall, beside the horizon measured before training."""
    return Section(
        "Recalling a name",
        f"{example}\n\n"
        f"Distances are in tokens. A fresh network was trained at each, from short to long, for at "
        f"most {steps} updates, until one gave less than {_percent(RECALLED)} right answers to new "
        "stories: there it fails. The horizon was measured before any training, over "
        f"{MEASURED_OVER} tokens: the largest lag at which at least 1 % of the gradient is left.",
        ("network", "horizon", "recalls", "fails at", "accuracy there"),
        tuple(
            (
                one.label,
                _horizon(one),
                "nothing" if one.recalls is None else one.recalls,
                "never" if one.forgets is None else one.forgets,
                _percent(one.accuracies[-1][1]),
            )
            for one in recalls
        ),
    )


def seen(recalls: Sequence[Recall]) -> str:
    """One sentence: how far back the gradient reached before training, and what was learned."""
    told = "; ".join(
        f"{one.label}: gradient {_horizon(one)}, recall {_learned(one)} tokens" for one in recalls
    )
    if _in_step(recalls):
        return (
            "The further back a gradient reached before training, the further back its network "
            f"learned to recall ({told})."
        )
    return (
        "This time a network whose gradient reached further back before training did not learn to "
        f"recall further back ({told})."
    )


def _in_step(recalls: Sequence[Recall]) -> bool:
    """Whether, of any two networks, the one with the longer horizon learned to recall further."""
    return all(
        a.horizon == b.horizon or (a.horizon - b.horizon) * (_learned(a) - _learned(b)) > 0
        for a, b in combinations(recalls, 2)
    )


def _learned(one: Recall) -> int:
    return one.recalls or 0


def _horizon(one: Recall) -> str:
    return f"at least {one.horizon}" if one.reaches_end else str(one.horizon)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
