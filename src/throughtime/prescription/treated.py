"""``treated``: a copy of a problem with one remedy, or several joined by ``+``, applied to it."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from itertools import pairwise

from torch import Generator, nn

from throughtime.attributes import with_a_graph
from throughtime.errors import InputError, ThroughtimeWarning, unknown
from throughtime.prescription.catalogued import CATALOGUED
from throughtime.prescription.clipping import CLIPPING
from throughtime.prescription.constraining import CONSTRAINING
from throughtime.prescription.initialising import INITIALISING
from throughtime.prescription.regularising import REGULARISING
from throughtime.prescription.replacing import REPLACING
from throughtime.prescription.states import STATES
from throughtime.prescription.treatment import SLOTS, Treatment
from throughtime.prescription.tuning import TUNING
from throughtime.prescription.windowing import WINDOWING
from throughtime.problem import Problem
from throughtime.randomness import randomness
from throughtime.typed import checked_span

NONE = "none"

_KINDS = (
    REPLACING, INITIALISING, TUNING, CONSTRAINING, REGULARISING, STATES, CLIPPING, WINDOWING,
    CATALOGUED,
)  # fmt: skip  # a list, not a column

TREATMENTS: dict[str, Treatment] = {one.name: one for kind in _KINDS for one in kind}
"""Every remedy by name. ``+`` may join those of different slots; ``none`` stands alone."""


def treated(problem: Problem, name: str, span: int, seed: int = 0) -> Problem:
    """A copy of the problem with these remedies applied; the problem itself is left untouched.

    Its weights, gradients, modes, hooks and buffers stay as they are, and so do the random states
    of torch, numpy and Python.

    Args:
        problem: what to treat.
        name: a name in ``TREATMENTS``, several joined by ``+`` in any order (``"chrono+clip"``), or
            ``"none"`` for an untreated copy.
        span: how many steps back the task needs to see.
        seed: of what the remedies draw.

    Raises:
        InputError: a remedy is not known or does not fit, two overwrite each other, or the model
            cannot be copied.
    """
    return apply(replace(problem, model=copied(problem)), name, span, seed)


def apply(problem: Problem, name: str, span: int, seed: int = 0) -> Problem:
    """Apply remedies to the model of this very problem, which is a copy already.

    Arguments and errors are those of ``treated``.
    """
    parts, span = canonical(name).split("+"), checked_span(span, "treated")
    with randomness(seed, problem.model), warnings.catch_warnings():
        warnings.simplefilter("ignore", ThroughtimeWarning)  # what came of it will be measured
        draw = Generator().manual_seed(seed)
        for part in parts:
            problem = problem if part == NONE else TREATMENTS[part].apply(problem, span, draw)
    return problem


def canonical(name: str) -> str:
    """The same remedies in the order in which they are applied.

    Raises:
        InputError: one is not known, there twice, or would be overwritten by another.
    """
    parts = name.split("+")
    if parts == [NONE]:
        return NONE
    for part in parts:
        if part not in TREATMENTS:
            if part == NONE:
                raise InputError(f"{name!r}: {NONE} stands alone: leave it out")
            raise InputError(unknown("remedy", part, TREATMENTS, "combine these with +"))
    parts.sort(key=lambda part: SLOTS.index(TREATMENTS[part].slot))
    for first, second in pairwise(parts):
        if TREATMENTS[first].slot == TREATMENTS[second].slot:
            raise InputError(f"{name!r}: {first} and {second} overwrite each other: choose one")
    return "+".join(parts)


def copied(problem: Problem) -> nn.Module:
    """A copy of the model, without the gradients that its parameters hold.

    Of what a module keeps of a past forward pass, with its graph, the copy has the value alone.
    """
    past = {id(tensor): tensor.detach().clone() for tensor in with_a_graph(problem.model)}
    try:
        model = copy.deepcopy(problem.model, past)  # as if these were copied already
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        raise InputError(
            f"{problem.name}: its model cannot be copied ({error}): keep no open file or lock in it"
        ) from error
    model.zero_grad(set_to_none=True)
    return model
