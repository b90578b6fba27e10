"""Every task by its short name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from throughtime.errors import InputError, unknown
from throughtime.problem import Problem
from throughtime.tasks.adding import adding
from throughtime.tasks.copy_memory import copy_memory
from throughtime.tasks.delayed_xor import delayed_xor
from throughtime.tasks.digits import digits
from throughtime.tasks.language_model import language_model
from throughtime.tasks.latch import latch
from throughtime.tasks.model import Cell
from throughtime.tasks.name_recall import name_recall
from throughtime.tasks.parity import parity
from throughtime.tasks.temporal_order import temporal_order

TASKS: dict[str, Callable[..., Problem]] = {
    "adding": adding,
    "copy": copy_memory,
    "copy-ten": partial(copy_memory, variant="ten"),
    "temporal-order": temporal_order,
    "delayed-xor": delayed_xor,
    "parity": parity,
    "latch": latch,
    "name-recall": name_recall,
    "name-recall-ko": partial(name_recall, language="ko"),
    "digits": digits,
    "digits-permuted": partial(digits, permuted=True),
    "words": language_model,
    "characters": partial(language_model, unit="characters"),
}
"""What makes each problem: ``(cell, …)``, as its own documentation says."""

LENGTH_NAMES = ("length", "distance", "window")  # what each task calls its length


def make_task(
    name: str,
    *,
    cell: Cell = "lstm",
    length: int | None = None,
    hidden: int = 128,
    batch: int | None = None,
    seed: int = 0,
    **more: Any,
) -> Problem:
    """The problem of this name.

    Args:
        name: one of ``TASKS``.
        cell: name of a cell (``throughtime.cells.CELLS``), or a layer with ``nn.LSTM``'s signature.
        length: how long: steps, the delay of copy, the distance of name recall, the window of a
            language model; None for the task's own default.
        hidden: hidden units H of a layer that is made here.
        batch: sequences at a time; None for the task's own default.
        seed: of the initialisation.
        more: what the task takes beside these: its ``variant``, ``text``, ``forget_bias`` …

    Raises:
        InputError: no task has this name, or it does not take these settings.
        LoadError: a text is too short.
    """
    if name not in TASKS:
        raise InputError(unknown("task", name, TASKS))
    make = TASKS[name]
    takes = [setting for setting in inspect.signature(make).parameters if setting != "cell"]
    for setting in more:
        if setting not in takes:
            raise InputError(f"task {name!r}: {unknown('setting', setting, takes)}")
    settings = {"hidden": hidden, "seed": seed, **more}
    if length is not None:
        settings[next(known for known in LENGTH_NAMES if known in takes)] = length
    if batch is not None:
        settings["batch"] = batch
    return make(cell, **settings)
