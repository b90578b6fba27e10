"""A planting: a model with one NaN or infinity put in, and what has to be said of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime.findings import Diagnosis, Finding

Grade = Literal["right", "unknown", "wrong"]


@dataclass(frozen=True)
class Case:
    """What is captured; ``lengths`` are handed to ``observe``."""

    model: nn.Module
    closure: Callable[[], Tensor]
    lengths: Sequence[int] | None = None


@dataclass(frozen=True)
class Planting:
    """One planted number.

    Attributes:
        name: unique.
        group: the kind of place where it is planted.
        make: builds the model from a seed.
        cause: which ``cause`` is right.
        holds: what the evidence of the first finding must hold beside it.
        subject: the layer that has it first; empty where several may.
        said: what its sentence must contain.
        unsaid: what its sentence must not contain.
        clean: nothing at all may be found.
    """

    name: str
    group: str
    make: Callable[[int], Case]
    cause: str
    holds: dict[str, Any] = field(default_factory=dict)
    subject: str = ""
    said: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()
    clean: bool = False


@dataclass(frozen=True)
class Result:
    """What was said of a planting, and how good that is; ``why`` it is not right."""

    planting: Planting
    grade: Grade
    sentence: str
    why: str = ""


def run(planting: Planting, seed: int) -> Result:
    """Build it, diagnose it, and grade the first finding."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        case = planting.make(seed)
        found = tt.diagnose(tt.observe(case.model, case.closure, lengths=case.lengths))
    return grade(planting, found)


def grade(planting: Planting, found: Diagnosis) -> Result:
    """Right: cause and place. Unknown: the right place, and the cause said to be not known."""
    first = _first(found)
    if planting.clean or first is None:
        fine = planting.clean and first is None
        said = "" if first is None else first.sentence
        return Result(planting, "right" if fine else "wrong", said, "" if fine else "found or not")
    wrong = [
        f"{key} is {first.evidence.get(key)!r}, not {value!r}"
        for key, value in planting.holds.items()
        if first.evidence.get(key) != value
    ]
    if planting.subject and planting.subject != first.subject:
        wrong.append(f"layer {first.subject!r}, not {planting.subject!r}")
    wrong += [f"{text!r} is not said" for text in planting.said if text not in first.sentence]
    wrong += [f"{text!r} is said" for text in planting.unsaid if text in first.sentence]
    cause = first.evidence.get("cause")
    if cause == "not known" != planting.cause:
        # What was not found out cannot be said; the place still has to be right.
        places = ("time_step", "sample", "pass")
        placed = all(
            first.evidence.get(key) == planting.holds[key]
            for key in places
            if key in planting.holds
        )
        return Result(planting, "unknown" if placed else "wrong", first.sentence, "not known")
    if cause != planting.cause:
        wrong.insert(0, f"cause {cause!r}, not {planting.cause!r}")
    return Result(planting, "wrong" if wrong else "right", first.sentence, "; ".join(wrong))


def _first(found: Diagnosis) -> Finding | None:
    return next((one for one in found.findings if "pass" in one.evidence), None)
