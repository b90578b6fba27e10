"""The page of results: scores by label, what was wrong and by how much, and the suite itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.diseases.compare import OURS, PEERS_LABELS, WHO, Case
from benchmarks.diseases.scores import false_alarms, macro_f1, scores
from benchmarks.diseases.truth import LABELS, Figures
from benchmarks.tables import Table
from benchmarks.verdicts import peers

ENOUGH_F1, TOLERATED_ALARMS = 0.95, 0.02


def tables(cases: Sequence[Case]) -> list[Table]:
    return [_by_label(cases), _suite(cases)]


def _by_label(cases: Sequence[Case]) -> Table:
    found = {who: scores(cases, who) for who in WHO}
    ours = found[OURS]
    rows = []
    for label in LABELS:
        score = ours[label]
        figures = (score.precision, score.recall, score.f1)
        others = [
            f"{found[who][label].f1:.2f}" if label in found[who] else "–" for who in peers.RULES
        ]
        rows.append((label, str(score.support), *(f"{figure:.2f}" for figure in figures), *others))
    rows.append(("macro-F1, all labels", "", "", "", f"{macro_f1(ours):.3f}", "–", "–", "–"))
    shared = [f"{macro_f1(found[who], PEERS_LABELS):.3f}" for who in WHO]
    rows.append(("macro-F1, the labels that all can say", "", "", "", *shared))
    alarms = [f"{false_alarms(cases, who):.1%}" for who in WHO]
    rows.append(("false alarms on healthy", "", "", "", *alarms))
    trained = sum(case.trained for case in cases)
    exact = sum(case.right for case in cases)
    near = [case for case in cases if case.truth.near]
    return Table(
        f"{len(cases)} networks, {trained} of them trained",
        "A network has a set of diseases; having none is the label healthy. The first three "
        f"columns of figures, and the F1 beside them, are of {OURS}. The rules of the others see "
        "the parameter gradients of the same backward pass, have words for vanishing and exploding "
        "alone, and are not asked about runs that are not finite; their silence means healthy.",
        ("label", "support", "precision", "recall", f"F1, {OURS}", *peers.RULES),
        tuple(rows),
        f"{OURS} names the whole set right for {exact} of {len(cases)} networks; of the "
        f"{len(near)} whose figures lie near a threshold, for {sum(case.right for case in near)}. "
        f"{_bar(macro_f1(ours), false_alarms(cases))}",
    )


def _bar(macro: float, alarms: float) -> str:
    return (
        f"Bars: macro-F1 at least {ENOUGH_F1}: {_held(macro >= ENOUGH_F1)}; false alarms on "
        f"healthy networks at most {TOLERATED_ALARMS:.0%}: {_held(alarms <= TOLERATED_ALARMS)}."
    )


def _held(held: bool) -> str:
    return "held" if held else "MISSED"


def errors(cases: Sequence[Case]) -> str:
    """Every network of which something wrong was said, with the figures of both sides."""
    lines = []
    for case in cases:
        if case.right:
            continue
        missed, wrong = case.wanted - case.said[OURS], case.said[OURS] - case.wanted
        said = [f"not named: {', '.join(sorted(missed))}"] if missed else []
        said += [f"wrongly named: {', '.join(sorted(wrong))}"] if wrong else []
        truth = (
            "not finite" if case.truth.figures is None else in_words(case.truth.figures, case.span)
        )
        lines.append(
            f"- {case.network} (seed {case.seed}): {'; '.join(said)}. "
            f"Truth: {truth}. {OURS}: {case.evidence}."
        )
    none = f"{OURS} is wrong about none of them."
    return "\n".join(["## Every error\n", *(lines or [none]), ""])


def in_words(found: Figures, span: int) -> str:
    """The figures of the truth, as a line."""
    said = [
        f"gain at {span} {found.gain:.2f}",
        f"peak {found.peak:.2f}",
        f"‖P‖ {found.operator_gain:.2f}",
        f"λ {found.exponent:+.3f}",
        f"growth {found.growth:+.4f}",
        f"stuck {found.stuck:.0%}",
        f"directions {found.left:.2f} of {found.asked:.1f}",
    ]
    if found.carousel is not None:
        said.append(f"gain with the carrying gate at 1 {found.carousel:.2f}")
    if found.window is not None:
        said.append(f"longest window {found.window}")
    return ", ".join(said)


def _suite(cases: Sequence[Case]) -> Table:
    """How often each set of diseases occurs, and for an example of it."""
    counted = Counter(case.wanted for case in cases)
    rows = []
    for wanted, count in sorted(counted.items(), key=lambda item: (-item[1], sorted(item[0]))):
        names = dict.fromkeys(case.network for case in cases if case.wanted == wanted)
        right = sum(case.right for case in cases if case.wanted == wanted)
        ordered = [label for label in LABELS if label in wanted]
        rows.append((", ".join(ordered), str(count), f"{right}", "; ".join(list(names)[:3])))
    header = ("what they suffer from", "networks", "named right", "for example")
    about = f"Every network counts once, under its whole set; named right: by {OURS}, all of it."
    return Table("The suite, by what is true of it", about, header, tuple(rows))
