"""``python -m benchmarks.verdicts``: print the table, and write results.md beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.tables import Table
from benchmarks.verdicts import compare, peers, truth
from benchmarks.verdicts.compare import OURS, Case
from benchmarks.verdicts.networks import BATCH, HIDDEN, INPUTS, NETWORKS, PLACEMENTS, STEPS

PAGE = Path(__file__).parent / "results.md"
SEEDS = range(10)
WHO = (OURS, *peers.RULES)


def main() -> None:
    console = Console()
    total = len(NETWORKS) * len(SEEDS) * len(PLACEMENTS)
    found = list(track(compare.cases(NETWORKS, SEEDS), "networks", total, console=console))
    result = table(found)
    result.show(console)
    opening = "# Verdicts against the truth\n\nWritten by `python -m benchmarks.verdicts`.\n\n"
    PAGE.write_text(opening + result.markdown(), encoding="utf-8")


def table(found: Sequence[Case]) -> Table:
    """How many of the cases each one gets right, by network and in all."""
    seeds = len({case.seed for case in found})
    rows = [_row(found, name) for name in dict.fromkeys(case.network for case in found)]
    sums = [f"{sum(case.right(who) for case in found)} of {len(found)}" for who in WHO]
    return Table(
        f"{len(rows)} networks, {seeds} seeds, loss on the last step / on all steps",
        f"How many verdicts are right. T = {STEPS}, B = {BATCH}, H = {HIDDEN}, {INPUTS} input "
        f"features, float32. Truth: the operator norm of ∂s_T/∂s_(T−{truth.LAG}), joint state for "
        "LSTM, by autograd in float64; below 0.01 it is vanishing, above 100 exploding. "
        f"throughtime is asked for a span of {truth.LAG}. The others' rules see the parameter "
        "gradients of the same backward pass: the mean absolute gradient of a parameter below 1e-7 "
        "(SageMaker Debugger); the first layer's norm below 1e-3 of the last one's and below 1e-4, "
        "or above 70 times it (AutoTrainer); a parameter's norm below 1e-7 or above 1e4 "
        "(TorchLens). Silence counts as right where the network is healthy.",
        ("network", "truth", "measured gain", *WHO),
        (*rows, ("in all", "", "", *sums)),
        _wrong(found),
    )


def _row(found: Sequence[Case], name: str) -> tuple[str, ...]:
    these = [case for case in found if case.network == name]
    true_gains = [case.true_gain for case in these]
    truths = " or ".join(dict.fromkeys(case.truth for case in these))
    return (
        name,
        f"{compare.typical(true_gains)} {truths}",
        compare.typical([case.measured_gain for case in these]),
        *(compare.score(these, who) for who in WHO),
    )


def _wrong(found: Sequence[Case]) -> str:
    wrong = [case for case in found if not case.right(OURS)]
    if not wrong:
        return "throughtime is wrong about none of them."
    listed = "; ".join(
        f"{case.network}, seed {case.seed}, loss on {case.placement}: {case.said[OURS]}, "
        f"gain 1e{case.measured_gain:.1f}, truth 1e{case.true_gain:.1f}"
        for case in wrong
    )
    return f"throughtime is wrong about: {listed}."


if __name__ == "__main__":
    main()
