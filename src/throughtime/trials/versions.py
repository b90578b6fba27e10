"""Which versions a worker computes with: other versions of throughtime or torch, other numbers."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version

import torch

from throughtime.errors import plain

Versions = dict[str, str]


def versions_here() -> Versions:
    """Of this process: what the numbers of a training depend on."""
    return {
        "throughtime": version("throughtime"),
        "torch": torch.__version__,
        "Python": ".".join(platform.python_version_tuple()[:2]),  # pickles of another one may break
    }


def difference(worker: object, found: object, here: Mapping[str, str] | None = None) -> str:
    """What a worker has in another version than this process, in one line; empty where nothing.

    Args:
        worker: its name or address.
        found: its ``versions_here()``.
        here: those to compare with; None for those of this process.
    """
    here = versions_here() if here is None else here
    told = found if isinstance(found, Mapping) else {}
    other = [
        f"{name} {plain(told.get(name, 'of an unknown version'))}, and here it is {expected}"
        for name, expected in here.items()
        if told.get(name) != expected
    ]
    if not other:
        return ""
    return (
        f"the worker {plain(worker)} has {'; '.join(other)}: install the same versions on every "
        "worker, or the results of one table are not comparable"
    )
