"""Build one network, work out the truth, and ask everyone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import throughtime as tt
from benchmarks.diseases.networks import Network
from benchmarks.diseases.truth import HEALTHY, LABELS, Truth, diseases
from benchmarks.verdicts import peers
from throughtime.findings import DISEASES, Diagnosis

OURS = "throughtime"
UNKNOWN = "unknown"
WHO = (OURS, *peers.RULES)
# The other tools have words for these alone; silence is their word for healthy.
PEERS_LABELS = ("vanishing", "exploding", HEALTHY)


@dataclass(frozen=True)
class Case:
    """One network under one seed: what it has, and what each one says it has.

    ``said`` holds labels; ``frozenset({"healthy"})`` stands for none, there and in ``wanted``.
    """

    network: str
    trained: bool
    seed: int
    span: int
    truth: Truth
    said: dict[str, frozenset[str]]
    evidence: str

    @property
    def wanted(self) -> frozenset[str]:
        return self.truth.diseases or frozenset({HEALTHY})

    @property
    def right(self) -> bool:
        """Whether throughtime names all that it has and nothing else."""
        return self.said[OURS] == self.wanted


def case(network: Network, seed: int) -> Case:
    """The truth about a network, and everyone's word, from one backward pass."""
    model, inputs, targets = network.build(seed)
    truth = diseases(model, inputs, targets, network.task)
    model.zero_grad()
    with tt.capture(model) as run:
        network.task.loss(model(inputs), targets).backward()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tt.ThroughtimeWarning)
        found = tt.diagnose(run.trace, span=network.task.span)
    gradients = peers.gradients_of(model)
    said = {name: frozenset({_word(rule(gradients))}) for name, rule in peers.RULES.items()}
    said[OURS] = labels_of(found)
    trained = network.training is not None
    return Case(network.name, trained, seed, network.task.span, truth, said, _evidence(found))


def labels_of(found: Diagnosis) -> frozenset[str]:
    """What throughtime says in the labels of the suite; ``unknown`` goes with them, never right.

    Mistakes of the program around the recurrence are no labels here.
    """
    undeclared = set(found.diseases) - {*DISEASES, found.verdict}
    assert not undeclared, f"diseases that findings.py does not declare: {undeclared}"
    known = frozenset(found.diseases) & {*LABELS}
    if known and found.verdict != UNKNOWN:
        return known
    return known | {found.verdict}


def _word(said: str) -> str:
    return HEALTHY if said == peers.SILENT else said


def _evidence(found: Diagnosis) -> str:
    """The figures that throughtime's own rules went by."""
    shown = []
    for finding in found.findings:
        for name, value in finding.evidence.items():
            if isinstance(value, float):
                shown.append(f"{finding.disease}.{name} {value:.3g}")
    gain = found.layers[-1].gain_at_span
    return ", ".join([f"gain at the span {gain if gain is None else round(gain, 2)}", *shown])
