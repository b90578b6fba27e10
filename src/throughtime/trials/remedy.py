"""A remedy by name: ``none``, ``clip``, an initialisation, or several joined by ``+``.

Initialisations are applied from left to right to the same first weights, whatever the remedy: the
arms of a trial are paired.
"""

from __future__ import annotations

from torch import Generator

from throughtime.errors import InputError, unknown
from throughtime.problem import Problem
from throughtime.remedies import INITIALISATIONS

NONE, CLIP = "none", "clip"
_UNTOUCHED = "default"  # an initialisation that changes nothing is here called none
_OVERWRITE = ({"orthogonal", "identity"}, {"chrono", "forget-bias"})

REMEDIES = (NONE, CLIP, *(name for name in INITIALISATIONS if name != _UNTOUCHED))
"""What ``+`` may join; ``none`` stands alone."""


def canonical(name: str) -> str:
    """The same remedy with its parts in the order in which they are applied, clipping last.

    Raises:
        InputError: a part is not known, there twice, or would be overwritten by another.
    """
    parts = name.split("+")
    for part in parts:
        if part not in REMEDIES:
            raise InputError(unknown("remedy", part, REMEDIES, "combine these with +"))
    if len(set(parts)) < len(parts):
        raise InputError(f"{name!r} names a remedy twice")
    if NONE in parts and len(parts) > 1:
        raise InputError(f"{name!r}: none stands alone")
    for rivals in _OVERWRITE:
        if rivals <= set(parts):
            raise InputError(f"{name!r}: {' and '.join(sorted(rivals))} overwrite each other")
    order = [*INITIALISATIONS, CLIP, NONE]
    return "+".join(sorted(parts, key=order.index))


def clips(name: str) -> bool:
    """Whether the remedy clips the gradient."""
    return CLIP in name.split("+")


def initialise(problem: Problem, name: str, seed: int) -> None:
    """Give the model of a problem the weights of a remedy, in place.

    Raises:
        InputError: the cell has not got what the remedy sets.
    """
    for part in name.split("+"):
        if part in INITIALISATIONS:
            draw = Generator().manual_seed(seed)
            INITIALISATIONS[part](problem.model, problem.span, draw)
