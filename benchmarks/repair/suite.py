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
        "rnn": ("adding", "temporal order", "name recall", "latch", "delayed xor"),
        "lstm": ("adding", "temporal order", "name recall", "adding"),
        "gru": ("name recall", "name recall"),
        "mingru": ("name recall", "adding"),
        "lem": ("name recall", "temporal order"),
        "antisymmetric": ("name recall", "latch"),
    },
    "small recurrent weights": {
        "rnn": ("adding", "temporal order", "name recall", "latch", "delayed xor", "copy"),
        "relu-rnn": ("adding", "temporal order", "name recall", "latch", "copy"),
        "indrnn": ("name recall", "latch"),
    },
    "short orthogonal": {
        "rnn": ("temporal order", "delayed xor", "latch", "adding"),
        "relu-rnn": ("adding", "latch", "temporal order"),
    },
    "gates closed": {
        "lstm": ("adding", "temporal order", "name recall", "latch", "copy", "adding"),
        "gru": ("temporal order", "name recall", "name recall", "latch", "adding", "delayed xor"),
        "janet": ("name recall", "name recall"),
    },
    "large recurrent weights": {
        "rnn": ("adding", "temporal order", "temporal order", "latch", "delayed xor", "adding"),
    },
    "large inputs": {
        "rnn": ("adding", "temporal order", "name recall", "copy", "latch", "delayed xor"),
    },
    "stuck candidates": {
        "rnn": ("adding", "temporal order", "name recall", "latch", "delayed xor"),
        "lstm": ("adding", "temporal order", "name recall", "latch"),
    },
    "large gain": {"relu-rnn": ("adding", "temporal order", "name recall", "latch", "adding")},
    "large identity": {"relu-rnn": ("adding", "temporal order", "name recall", "latch", "adding")},
    "unclipped": {"relu-rnn": ("adding", "temporal order", "name recall", "latch", "adding")},
    "chaotic": {
        "rnn": ("adding", "temporal order", "name recall", "name recall", "latch", "adding"),
    },
    "relayed": {"relu-rnn": ("adding", "temporal order", "name recall", "name recall", "latch")},
    "short windows": {
        "gru": ("temporal order", "name recall"),
        "lstm": ("temporal order", "name recall", "name recall", "adding"),
        "relu-rnn": ("adding", "temporal order", "name recall", "adding"),
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
