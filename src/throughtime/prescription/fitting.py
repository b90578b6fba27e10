"""Which remedies to try for what was found, the best guess first.

The order is a guess, from what trained how far in our own trainings (``docs/forecast.md``, "What
was learned"): of the cells JANET, then GRU and LSTM with chrono biases, learned over the longest
distances; of the first weights of a plain network the identity did, under ReLU. In the development
half of ``docs/repair.md`` JANET solved every case that first weights alone, tried first, did not.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from throughtime.errors import InputError
from throughtime.findings import Diagnosis
from throughtime.prescription.treated import TREATMENTS, canonical
from throughtime.problem import Problem
from throughtime.remedies.catalogue import CATALOGUE
from throughtime.remedies.remedy import SLOTS
from throughtime.remedies.weights import recurrent_weights

_CELLS = ("janet+chrono", "gru+chrono", "lstm+chrono", "lru")
_BEST = _CELLS[0]
_TAME = ("orthogonal+clip", "janet+chrono+clip", "gru+chrono+clip", "lstm+chrono+clip", "clip")
_OTHERS = ("indrnn", "cornn", "omega", "reconstruction", "lem")
_BOUNDS = {"states", "clipping"}
_ROWS_OF_SEVERAL = {"series", "stack"}
_WHATEVER_RUNS = {"clipping", "window"}  # what these set is no layer's

PLAIN: dict[str, tuple[str, ...]] = {
    "vanishing": (
        _BEST,
        "identity",
        *_CELLS,
        "flossing",
        "critical",
        "orthogonal-weights",
        "orthogonal",
        *_OTHERS,
    ),
    "exploding": (*_TAME, "flossing+clip", "critical+clip", "orthogonal-weights+clip"),
    "chaotic": (*_TAME, "flossing+clip", "critical+clip", "window"),
    "transient growth": (*_TAME, "flossing+clip", "orthogonal-weights+clip"),
    "saturated": (_BEST, "orthogonal", "identity", *_CELLS, "flossing", "critical"),
    "bottleneck": (_BEST, "orthogonal", *_CELLS, "flossing", "orthogonal-weights"),
    "non-finite": (*_TAME, "critical+clip"),
}
"""By disease, for a network without a gate that keeps its state."""

GATED: dict[str, tuple[str, ...]] = {
    "vanishing": (
        "chrono",
        *_CELLS,
        "uniform-gates",
        "forget-bias",
        "orthogonal+chrono",
        "flossing",
        "critical",
        *_OTHERS,
    ),
    "gates closed": ("chrono", "uniform-gates", "forget-bias", *_CELLS),
    "exploding": ("orthogonal+clip", "chrono+clip", "clip", "critical+clip", *_TAME),
    "chaotic": ("orthogonal+clip", "chrono+clip", "critical+clip", "clip", *_TAME, "window"),
    "transient growth": ("orthogonal+clip", "chrono+clip", *_TAME, "orthogonal-weights+clip"),
    "saturated": ("orthogonal+chrono", "chrono", *_CELLS),
    "bottleneck": ("orthogonal+chrono", "chrono", *_CELLS),
    "non-finite": ("orthogonal+clip", "chrono+clip", *_TAME, "critical+clip"),
}
"""By disease, for a network with one: LSTM, GRU, JANET, minGRU."""


def fitting(diagnosis: Diagnosis, problem: Problem, *, keep_cell: bool = False) -> tuple[str, ...]:
    """The remedies, and joined ones, that are meant for what was found; the best guess first.

    Clipping is joined to others where the problem is trained without any, and not tried by itself
    where the forward pass breaks already. Where the training is truncated before the span, nothing
    helps without a longer window: every name has it. Remedies of the catalogue are tried where the
    model has the parameters that they set, before all others; where scans alone were recorded,
    nothing that needs a layer of torch's is.

    Args:
        diagnosis: of the problem.
        problem: whose model and settings decide what there is to choose from.
        keep_cell: leave out what puts another cell in the place of a layer.

    Returns:
        Names for ``treated``; none where the diagnosis is healthy.
    """
    keeps = _keeps(problem)
    table = GATED if keeps else PLAIN
    own = list(_catalogued(diagnosis, problem))
    names = [name for disease in diagnosis.diseases for name in table.get(disease, ())]
    names += [
        one.name
        for one in TREATMENTS.values()
        if set(one.fits) & set(diagnosis.diseases)
        and (keeps or one.slot != "gates")
        and one.name not in CATALOGUE
    ]
    if {layer.kind for layer in diagnosis.layers} - _ROWS_OF_SEVERAL == {"scan"}:
        names = [name for name in names if _slots(name) <= _WHATEVER_RUNS]
    names = own + names
    names = [_without_clip(name, problem) for name in names]
    if "truncated" in diagnosis.diseases and problem.window is not None:
        names = ["window", *(f"window+{name}" for name in names if "window" not in name)]
    known = [name for name in names if name and set(name.split("+")) <= TREATMENTS.keys()]
    if keep_cell:
        known = [name for name in known if "cell" not in _slots(name)]
    if _breaks_forwards(diagnosis):
        known = [name for name in known if not _slots(name) <= _BOUNDS]
    return tuple(dict.fromkeys(canonical(name) for name in known))


def _catalogued(diagnosis: Diagnosis, problem: Problem) -> Iterator[str]:
    """What sets parameters that this model has: one of each kind alone, then together."""
    found = [
        one.name
        for one in CATALOGUE.values()
        if set(one.fits) & set(diagnosis.diseases) and one.found_in(problem.model)
    ]
    yield from found
    by_slot = [[name for name in found if CATALOGUE[name].slot == slot] for slot in SLOTS]
    several = [names for names in by_slot if names]
    if len(several) > 1:
        yield from ("+".join(names) for names in product(*several))


def _without_clip(name: str, problem: Problem) -> str:
    """The same without ``clip`` where the problem is clipped as it is."""
    if problem.clip is None:
        return name
    return "+".join(part for part in name.split("+") if part != "clip")


def _keeps(problem: Problem) -> bool:
    """Whether a layer of the model has a gate that keeps its state."""
    try:
        return any(weights.keeping is not None for weights in recurrent_weights(problem.model))
    except InputError:
        return False


def _slots(name: str) -> set[str]:
    return {TREATMENTS[part].slot for part in name.split("+")}


def _breaks_forwards(diagnosis: Diagnosis) -> bool:
    """Whether a state was not finite: no bound on a gradient mends that."""
    return any(finding.evidence.get("pass") == "forward" for finding in diagnosis.findings)
