"""The suite: which diseases are put into which networks on which tasks, at what size.

What is listed here is drawn; what of it belongs to the suite is decided by running it
(``results.Outcome.belongs``).
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from benchmarks.repair.ailments import AILMENTS
from benchmarks.repair.case import Case

REPEATS = 2  # trainings of each case and remedy

LENGTHS: dict[str, tuple[int, int]] = {
    "adding": (28, 48),
    "temporal order": (32, 55),
    "copy": (4, 7),
    "name recall": (24, 48),
    "latch": (40, 60),
    "delayed xor": (2, 4),
}
"""The shortest and the longest of each task: a sound network learns it in the budget."""

HIDDEN = (24, 32, 40)

Listed = dict[str, dict[str, tuple[str, ...]]]

SICK: Listed = {
    "beyond its reach": {
        "rnn": ("adding", "temporal order", "name recall", "latch"),
        "lstm": ("adding", "temporal order", "name recall"),
        "gru": ("name recall", "name recall"),
    },
    "small recurrent weights": {
        "rnn": ("adding", "temporal order", "name recall", "latch", "delayed xor"),
        "relu-rnn": ("adding", "temporal order", "name recall"),
        "indrnn": ("name recall", "latch"),
    },
    "short orthogonal": {
        "rnn": ("temporal order", "delayed xor", "latch"),
        "relu-rnn": ("adding", "latch"),
    },
    "gates closed": {
        "lstm": ("adding", "temporal order", "name recall", "latch", "copy"),
        "gru": ("temporal order", "name recall", "name recall", "latch"),
        "janet": ("name recall",),
    },
    "large recurrent weights": {"rnn": ("adding", "temporal order", "temporal order", "latch")},
    "large inputs": {"rnn": ("adding", "temporal order", "name recall", "copy")},
    "stuck candidates": {
        "rnn": ("adding", "temporal order", "name recall"),
        "lstm": ("adding", "temporal order", "name recall"),
    },
    "large gain": {"relu-rnn": ("adding", "temporal order", "name recall", "latch")},
    "large identity": {"relu-rnn": ("adding", "temporal order", "name recall", "latch")},
    "unclipped": {"relu-rnn": ("adding", "temporal order", "name recall", "latch")},
    "chaotic": {"rnn": ("adding", "temporal order", "name recall", "name recall", "latch")},
    "relayed": {"relu-rnn": ("adding", "temporal order", "name recall", "name recall")},
    "short windows": {
        "gru": ("temporal order", "name recall"),
        "lstm": ("temporal order", "name recall", "name recall"),
        "relu-rnn": ("adding", "temporal order", "name recall"),
    },
    "one direction": {"rnn": ("name recall", "name recall", "name recall")},
}
"""By ailment: the cells, and the tasks of each; a task that is there twice is drawn twice."""

HEALTHY: Listed = {
    "as torch makes it": {
        "gru": ("adding", "latch"),
        "lstm": ("latch",),
        "janet": ("adding", "temporal order", "name recall"),
    },
    "chrono": {
        "lstm": ("adding", "temporal order", "name recall", "latch", "name recall"),
        "gru": ("adding", "temporal order", "name recall", "latch", "name recall"),
        "janet": ("adding", "temporal order", "name recall", "latch", "copy", "adding"),
    },
    "identity": {"relu-rnn": ("adding", "temporal order", "name recall", "latch")},
    "orthogonal": {"rnn": ("delayed xor", "copy")},
}
"""By how the layer starts (``sound.SOUND``): the cells, and the tasks of each."""

BASES = {"gru": "chrono", "lstm": "chrono", "relu-rnn": "identity"}
"""How a layer starts that is sound, but for being trained in short windows."""


def cases() -> Iterator[Case]:
    """All that are drawn, the sick ones first."""
    for listed in (SICK, HEALTHY):
        for state, cells in listed.items():
            for cell, tasks in cells.items():
                for number, task in enumerate(tasks):
                    yield case(state, cell, task, number)


def case(state: str, cell: str, task: str, number: int) -> Case:
    """Length, size and severity of each are drawn from a seed of its own."""
    draw = Random(f"{state}, {cell}, {task}, {number}")
    length = draw.randint(*LENGTHS[task])
    hidden = draw.choice(HIDDEN)
    ailment = AILMENTS.get(state)
    severity = 1.0 if ailment is None else round(draw.uniform(*ailment.severities), 2)
    base = BASES[cell] if state == "short windows" else "as torch makes it"
    return Case(task, length, cell, hidden, state, severity, base)


CASES = tuple(cases())
BEYOND = tuple(one.name for one in CASES if one.sick and one.digest // 2 % 2 == 0)
"""Cases that are trained with every remedy that fits, for docs/choosing.md."""
