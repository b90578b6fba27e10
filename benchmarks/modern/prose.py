"""The sentences of ``docs/modern.md``, from ``words/``; their numbers come from the records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.modern import forgetting as forgotten
from benchmarks.modern import summary
from benchmarks.modern.mixers.mixer import DEPTH, WIDTH
from benchmarks.modern.mixers.of_transformers import SICK, TREATED
from benchmarks.modern.network import BUDGET
from benchmarks.modern.summary import STAGES, Cell
from benchmarks.modern.task import TRIVIAL, VALUES
from benchmarks.modern.training import BATCH, CLIP, RATE, REAL

_WORDS = Path(__file__).parent / "words"
_PICTURES = {
    "state": "Gain by lag of the state, untrained and trained",
    "inputs": "Gain by lag at the inputs, untrained and trained",
    "forgetting": "Loss within and beyond the trained length, by that length and the state size",
}


def picture(name: str) -> str:
    """The line that shows it."""
    return f"![{_PICTURES[name]}](modern/{name}.svg)\n"


def opening(cells: Sequence[Cell], forgot: Sequence[Cell]) -> str:
    """What was run."""
    totals = [one["sizes"][1] for one in cells]
    return _words(
        "opening",
        minutes=f"{sum(one['seconds'] for one in (*cells, *forgot)) / 60:.0f}",
        width=WIDTH,
        depth=DEPTH,
        budget=f"{BUDGET * DEPTH:,}",
        least=f"{min(totals):,}",
        most=f"{max(totals):,}",
        steps=REAL.steps,
        values=VALUES,
        distances=", ".join(map(str, REAL.distances)),
        trivial=f"{TRIVIAL:.3f}",
        updates=REAL.updates,
        batch=BATCH,
        rate=f"{RATE:g}",
        clip=f"{CLIP:g}",
        seeds=_seeds(cells),
    )


def inputs(cells: Sequence[Cell]) -> str:
    """What lies between the two kinds of reach."""
    told = []
    for name, ones in summary.by_architecture(cells).items():
        if name in ("Mamba", "Mamba-2"):
            of_state = summary.horizons(summary.state_gains(ones, "untrained"))
            of_inputs = summary.horizons(summary.input_gains(ones, "untrained"))
            told.append(f"{of_state} and {of_inputs} steps ({name})")
    return _words("inputs", mambas=", ".join(told))


def remedy(cells: Sequence[Cell]) -> str:
    """What a remedy does to a start without memory; nothing where either is not recorded."""
    found = summary.by_architecture(cells)
    sick, treated = found.get(SICK, []), found.get(TREATED, [])
    if not sick or not treated:
        return ""
    learned = [float(one["learned at"] or REAL.updates) for one in treated]
    missed = sum(one["learned at"] is None for one in sick)
    told = summary.spread(learned, ".0f")
    return _words("remedy", missed=missed, seeds=len(sick), updates=REAL.updates, learned=told)


def stability(cells: Sequence[Cell]) -> str:
    """What the exponents say of Mamba."""
    mamba = summary.by_architecture(cells).get("Mamba", [])
    highest = {
        stage: max(summary.of_layers(mamba, stage, lambda layer: layer["exact"][2]), default=0.0)
        for stage in STAGES
    }
    counted = REAL.steps - REAL.steps // 5
    told = {stage: f"{value:+.5f}" for stage, value in highest.items()}
    return _words("stability", steps=counted, **told)


def sizes() -> str:
    """How the two counts differ."""
    return _words("sizes")


def forgetting() -> str:
    """What is compared."""
    return _words("forgetting", tolerated=f"{forgotten.TOLERATED:g}", updates=forgotten.UPDATES)


def limits(cells: Sequence[Cell]) -> str:
    """What the numbers can and cannot say."""
    return _words("limits", depth=DEPTH, width=WIDTH, seeds=_seeds(cells))


def _words(name: str, **values: object) -> str:
    return (_WORDS / f"{name}.md").read_text(encoding="utf-8").format(**values)


def _seeds(cells: Sequence[Cell]) -> int:
    return len({one["seed"] for one in cells})
