"""``docs/modern.md``: every number in it comes from the records, and every table is printed too."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.modern import figures, forgetting, prose, summary
from benchmarks.modern.mixers import all_mixers
from benchmarks.modern.summary import STAGES, Cell
from benchmarks.modern.training import LAG
from benchmarks.tables import Table

DOCS = Path(__file__).parents[2] / "docs"
_HORIZONS = (
    "architecture", "trained numbers", "state, untrained", "state, trained", "inputs, untrained",
    "inputs, trained", "learned after",
)  # fmt: skip  # a list, not a column


def tables(cells: Sequence[Cell], forgot: Sequence[Cell]) -> list[Table]:
    """All of them, as they are printed."""
    found = [horizons(cells), exponents(cells), sizes(cells), layers(cells)]
    return [*found, forgetting_table(forgot)] if forgot else found


def horizons(cells: Sequence[Cell]) -> Table:
    """How far back, by the state's own recurrence and by every route."""
    rows = []
    for name, ones in summary.by_architecture(cells).items():
        of_state = [summary.horizons(summary.state_gains(ones, stage)) for stage in STAGES]
        of_inputs = [summary.horizons(summary.input_gains(ones, stage)) for stage in STAGES]
        learned = [one["learned at"] for one in ones]
        rows.append((name, f"{ones[0]['sizes'][1]:,}", *of_state, *of_inputs, _learned(learned)))
    return Table(
        "How far back the gradient reaches",
        "Horizon: the largest lag at which the median gain is at least 1 %. *State*: of the layer "
        "that reaches furthest, along its own recurrence. *Inputs*: of the embeddings, by every "
        "route, against the largest gain beyond lag 0. Median of the seeds, and their spread; ≥: "
        "the last lag that was measured still has 1 %. *Learned after*: updates until at least "
        "90 % of the answers were right at every distance.",
        _HORIZONS,
        tuple(rows),
    )


def _learned(updates: Sequence[int | None]) -> str:
    known = [one for one in updates if one is not None]
    missed = f"; {len(updates) - len(known)} of {len(updates)} did not" if None in updates else ""
    return f"{summary.spread(known, '.0f')}{missed}"


def exponents(cells: Sequence[Cell]) -> Table:
    """The largest exponent: measured of any recurrence, and exactly of a diagonal one."""
    rows = []
    for name, ones in summary.by_architecture(cells).items():
        if not ones[0]["untrained"]["layers"]:
            continue
        row = [name]
        for key in ("exponent", "exact"):
            for stage in STAGES:
                found = summary.of_layers(ones, stage, lambda layer, key=key: _first(layer[key]))
                row.append(summary.spread(list(found), "+.4f"))
        for stage in STAGES:
            factors = list(summary.of_layers(ones, stage, lambda layer: layer["factor"]))
            row.append(f"{max(factors):.4f}")
        rows.append(tuple(row))
    return Table(
        "The largest Lyapunov exponent",
        "Nats per step. *Measured*: `tt.measures.lyapunov` with one direction, the mean over the "
        "sequences. *Exact*: of a diagonal recurrence the largest mean logarithm of one entry's "
        "decays. Median of layers and seeds, and extremes. *Largest factor*: the largest singular "
        "value of any single step's Jacobian, over all layers, seeds, sequences and steps.",
        (
            "architecture",
            "measured, untrained",
            "trained",
            "exact, untrained",
            "trained",
            "largest factor, untrained",
            "trained",
        ),
        tuple(rows),
    )


def _first(values: Sequence[float] | None) -> float | None:
    return None if values is None else values[0]


def sizes(cells: Sequence[Cell]) -> Table:
    """Effective state size beside the directions that come back."""
    rows = []
    for name, ones in summary.by_architecture(cells).items():
        if not ones[0]["untrained"]["layers"]:
            continue
        row = [name, str(ones[0]["untrained"]["layers"][0]["state size"][1])]
        for key, place in (("state size", 0), ("directions", 0), ("directions", 1)):
            for stage in STAGES:

                def value(layer: Cell, key: str = key, place: int = place) -> Any:
                    return layer[key][place]

                row.append(summary.spread(list(summary.of_layers(ones, stage, value)), ".1f"))
        rows.append(tuple(row))
    return Table(
        "Effective state size, and directions",
        "*K*: numbers of state that one value channel has (an LSTM and a GRU: all of them). "
        "*Effective size*: the effective number of singular values of the operator from the first "
        "half of the inputs to the second half of the outputs (Parnichkun et al. 2025), the "
        "median over heads and sequences. *Asked* and *left*: `tt.measures.directions`, of the "
        f"whole state, and {LAG} steps back. Median of layers and seeds, and extremes.",
        (
            "architecture",
            "K",
            "effective size, untrained",
            "trained",
            "asked, untrained",
            "trained",
            "left, untrained",
            "trained",
        ),
        tuple(rows),
    )


def layers(cells: Sequence[Cell]) -> Table:
    """What each architecture is, and how well its record was verified."""
    known = all_mixers()
    rows = []
    for name, ones in summary.by_architecture(cells).items():
        differences = [
            value
            for stage in STAGES
            for value in summary.of_layers(ones, stage, lambda layer: layer["verified"])
        ]
        spoilt = sum(bool(l["spoilt"]) for one in ones for s in STAGES for l in one[s]["layers"])
        verified = f"{max(differences):.0e}" if differences else "–"
        note = f" ({spoilt} layers spoilt)" if spoilt else ""
        mixer = known[name]
        rows.append((name, mixer.package, mixer.note, verified + note))
    return Table(
        "The layers",
        "*Verified*: the largest relative difference, over layers, seeds and moments, between a "
        "gradient rebuilt from the record and autograd's.",
        ("architecture", "package", "what it is", "verified"),
        tuple(rows),
    )


def forgetting_table(cells: Sequence[Cell]) -> Table:
    """The loss within the trained length and far beyond, by state size and trained length."""
    rows = []
    for states in forgetting.STATES:
        ones = [one for one in cells if one["states"] == states]
        by_length = [[o for o in ones if o["length"] == n] for n in forgetting.LENGTHS]
        found = [
            forgetting.t_forget([one for one in ones if one["seed"] == seed])
            for seed in sorted({one["seed"] for one in ones})
        ]
        rows.append(
            (
                str(states),
                *map(_within_beyond, by_length),
                ", ".join("none" if one is None else str(one) for one in found),
            )
        )
    header = tuple(f"length {length}" for length in forgetting.LENGTHS)
    return Table(
        "Learning to forget",
        f"A Mamba-2 of one layer, {forgetting.UPDATES} updates of {forgetting.WORDS:,} words on "
        "sequences of one length, then run on sequences of "
        f"{forgetting.LONG:,}: the loss in nats within the second half of the trained length → in "
        "the second half of the long ones, and in brackets the horizon of the state in steps (of "
        f"255), medians of seeds. *T_forget*: by seed, the shortest trained length from which on "
        f"the loss rises by at most {forgetting.TOLERATED:g} nats.",
        ("numbers a channel", *header, "T_forget"),
        tuple(rows),
    )


def _within_beyond(cells: Sequence[Cell]) -> str:
    if not cells:
        return "–"
    within, beyond, far = (
        statistics.median(one[key] for one in cells) for key in ("within", "beyond", "horizon")
    )
    return f"{within:.2f} → {beyond:.2f} ({far:.0f})"


def write(cells: Sequence[Cell], forgot: Sequence[Cell]) -> list[str]:
    """The page and its pictures; what was written, from the root of the repository."""
    pictures = figures.write(DOCS / "modern", cells, forgot)
    page = DOCS / "modern.md"
    page.write_text(text(cells, forgot), encoding="utf-8")
    return [file.relative_to(DOCS.parent).as_posix() for file in (page, *pictures)]


def text(cells: Sequence[Cell], forgot: Sequence[Cell]) -> str:
    """The whole page."""
    far, exponent, size, what = (table.markdown() for table in tables(cells, forgot)[:4])
    parts = [prose.opening(cells, forgot), far, prose.picture("state"), prose.inputs(cells)]
    parts += [
        prose.picture("inputs"),
        prose.remedy(cells),
        exponent,
        prose.stability(cells),
        size,
        prose.sizes(),
    ]
    if forgot:
        table = forgetting_table(forgot).markdown()
        parts += [table, prose.picture("forgetting"), prose.forgetting()]
    return "\n".join([*parts, what, prose.limits(cells)])
