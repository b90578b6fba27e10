"""A grid: a TOML file that names the axes of a sweep. Its format is told in docs/sweeps.md."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from throughtime.cells.registry import CELLS
from throughtime.errors import InputError, LoadError, plain, unknown
from throughtime.files import read_plainly
from throughtime.tasks import TASKS
from throughtime.training import SCHEDULES
from throughtime.trials import remedy
from throughtime.trials.setting import Setting

AXES = {"cells": "cell", "remedies": "remedy", "lengths": "length", "seeds": "seed"}
"""Each axis of a grid, and what it is called in a setting."""

_LARGEST = 2**63 - 1
_LOOKS, _FEWEST = 20, 100  # evaluations of a training where nothing is said; updates between two

Check = Callable[[Any], Any]  # raises InputError; returns what it takes the value for


@dataclass(frozen=True)
class Grid:
    """What a file of TOML asks for: all its settings, in the order of its axes."""

    settings: tuple[Setting, ...]


def read_grid(path: str | os.PathLike[str]) -> Grid:
    """Read a grid and check every word of it.

    Raises:
        LoadError: there is no such file, it is no TOML, or something in it is wrong: which key, and
            what to write instead.
    """
    name = plain(path)
    try:
        content = read_plainly(Path(path)).decode("utf-8-sig")
        return make_grid(tomllib.loads(content))
    except UnicodeDecodeError:
        raise LoadError(f"{name} is no text in UTF-8: a grid is a file of TOML") from None
    except tomllib.TOMLDecodeError as error:
        raise LoadError(f"{name} is no TOML: {plain(error)}") from None
    except OSError as error:
        raise LoadError(f"{name} cannot be read: {plain(error.strerror)}") from error
    except (InputError, RecursionError) as error:
        raise LoadError(f"{name}: {plain(error)}") from None


def make_grid(found: dict[str, Any]) -> Grid:
    """The settings of a grid.

    Raises:
        InputError: a key is missing, not known, or its value is wrong.
    """
    for key in found:
        if key not in CHECKS:
            raise InputError(unknown("key", key, CHECKS))
    for key in ("task", *AXES, "steps"):
        if key not in found:
            raise InputError(f"the key {key!r} is missing: write  {key} = {_EXAMPLES[key]}")
    checked = {key: _checked(key, value) for key, value in found.items()}
    seldom = max(_FEWEST, checked["steps"] // _LOOKS)
    common = {"evaluate_every": seldom, "measure_every": seldom}
    common |= {key: value for key, value in checked.items() if key not in AXES}
    points = product(*(checked[axis] for axis in AXES))
    named = [dict(zip(AXES.values(), point, strict=True)) for point in points]
    clip = common.pop("clip", 1.0)
    return Grid(
        tuple(
            Setting(**common, **point, clip=clip if remedy.clips(point["remedy"]) else None)
            for point in named
        )
    )


def _checked(key: str, value: object) -> Any:
    try:
        return CHECKS[key](value)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def _whole(least: int) -> Check:
    def check(value: object) -> int:
        if type(value) is not int or not least <= value <= _LARGEST:
            raise InputError(f"{_shown(value)} is no whole number from {least}")
        return value

    return check


def _positive(value: object) -> float:
    if type(value) not in (int, float) or not 0 < value < math.inf:  # type: ignore[operator]  # the type was looked at
        raise InputError(f"{_shown(value)} is no number above 0")
    return float(value)  # type: ignore[arg-type]  # and found to be a number


def _switch(value: object) -> bool:
    if type(value) is not bool:
        raise InputError(f"{_shown(value)} is neither true nor false")
    return value


def _word(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{_shown(value)} is no name in quotation marks")
    return value


def _one_of(what: str, known: Iterable[str]) -> Check:
    def check(value: object) -> str:
        if _word(value) not in known:
            raise InputError(unknown(what, value, known))
        return str(value)

    return check


def _remedy(value: object) -> str:
    return remedy.canonical(_word(value))


def _each(check: Check) -> Check:
    """Every value of a list, which is not empty and names none twice."""

    def check_all(values: object) -> list[Any]:
        if not isinstance(values, list):
            raise InputError(f"{_shown(values)} is no list: write it in brackets, [ ]")
        if not values:
            raise InputError("the list is empty: name at least one")
        checked = [check(value) for value in values]
        twice = next((one for one in checked if checked.count(one) > 1), None)
        if twice is not None:
            raise InputError(f"{_shown(twice)} is there twice")
        return checked

    return check_all


def _shown(value: object) -> str:
    text = plain(repr(value))
    return text if len(text) <= 60 else f"{text[:60]} …"


CHECKS: dict[str, Check] = {
    "task": _one_of("task", TASKS),
    "variant": _word,
    "cells": _each(_one_of("cell", CELLS)),
    "remedies": _each(_remedy),
    "lengths": _each(_whole(1)),
    "seeds": _each(_whole(0)),
    "steps": _whole(1),
    "hidden": _whole(1),
    "batch": _whole(1),
    "lr": _positive,
    "schedule": _one_of("schedule", SCHEDULES),
    "clip": _positive,
    "window": _whole(1),
    "until_solved": _switch,
    "evaluate_every": _whole(1),
    "measure_every": _whole(0),
    "checkpoint_every": _whole(1),
}
"""Every key of a grid, and what checks its value."""

_EXAMPLES = {
    "task": '"adding"',
    "cells": '["lstm", "gru"]',
    "remedies": '["none", "clip"]',
    "lengths": "[50, 100]",
    "seeds": "[0, 1, 2]",
    "steps": "2000",
}
