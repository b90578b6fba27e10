"""Run the networks, and ask everyone for a verdict."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import throughtime as tt
from benchmarks.verdicts import peers, truth
from benchmarks.verdicts.networks import PLACEMENTS, Network, loss

OURS = "throughtime"


@dataclass(frozen=True)
class Case:
    """One network, one seed, one placement of the loss: the truth, and what each one says."""

    network: str
    seed: int
    placement: str
    true_gain: float
    measured_gain: float
    said: dict[str, str]

    @property
    def truth(self) -> str:
        return truth.verdict(self.true_gain)

    def right(self, who: str) -> bool:
        """A rule that has nothing to say is right about a healthy network."""
        wanted = {self.truth, peers.SILENT} if self.truth == "healthy" else {self.truth}
        return self.said[who] in wanted


def cases(networks: Sequence[Network], seeds: Sequence[int]) -> Iterator[Case]:
    """Every network under every seed and both placements."""
    for network in networks:
        for seed in seeds:
            model, inputs, targets = network.build(seed)
            true_gain = truth.log10_gain(model.rnn, inputs)
            for placement in PLACEMENTS:
                model.zero_grad()
                with tt.capture(model) as run:
                    loss(model, inputs, targets, placement).backward()
                found = tt.diagnose(run.trace, span=truth.LAG)
                gradients = peers.gradients_of(model)
                said = {name: rule(gradients) for name, rule in peers.RULES.items()}
                said[OURS] = found.verdict
                gain = found.layers[0].gain_at_span
                measured = float("nan") if gain is None else gain
                yield Case(network.name, seed, placement, true_gain, measured, said)


def score(found: Sequence[Case], who: str) -> str:
    """How many are right: loss on the last step / on all steps."""
    counts = []
    for placement in PLACEMENTS:
        these = [case for case in found if case.placement == placement]
        counts.append(f"{sum(case.right(who) for case in these)} of {len(these)}")
    return " / ".join(counts)


def typical(gains: Sequence[float]) -> str:
    """The median of log10 gains, as a number."""
    median = statistics.median(gains)
    if abs(median) < 1:
        return f"{10**median:.1f}"
    exponent = int(median // 1)
    return f"{10 ** (median - exponent):.0f}e{exponent}"
