"""throughtime: see, explain and repair how gradients travel through time in recurrent networks."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from throughtime.errors import (
    DivergedError,
    InputError,
    LoadError,
    MissingExtraError,
    NoGradientError,
    NothingRecordedError,
    ReachError,
    RunError,
    StateCarriedError,
    StorageError,
    ThroughtimeError,
    ThroughtimeWarning,
    UnsupportedError,
)
from throughtime.findings import Diagnosis, Finding, LayerDiagnosis, Measurement

if TYPE_CHECKING:
    from throughtime import cells, measures, recurrences, remedies, report, tasks
    from throughtime.assertions import assert_reaches
    from throughtime.diagnosis import diagnose
    from throughtime.prescription import Prescription, prescribe
    from throughtime.problem import Clipper, Criterion, Problem
    from throughtime.recording import capture, mark, observe, scan
    from throughtime.report import write_report
    from throughtime.trace import LayerTrace, Trace
    from throughtime.training import Training, train
    from throughtime.trials import Treated, treat

    __version__: str

__all__ = [
    "Clipper",
    "Criterion",
    "Diagnosis",
    "DivergedError",
    "Finding",
    "InputError",
    "LayerDiagnosis",
    "LayerTrace",
    "LoadError",
    "Measurement",
    "MissingExtraError",
    "NoGradientError",
    "NothingRecordedError",
    "Prescription",
    "Problem",
    "ReachError",
    "RunError",
    "StateCarriedError",
    "StorageError",
    "ThroughtimeError",
    "ThroughtimeWarning",
    "Trace",
    "Training",
    "Treated",
    "UnsupportedError",
    "assert_reaches",
    "capture",
    "cells",
    "diagnose",
    "mark",
    "measures",
    "observe",
    "prescribe",
    "recurrences",
    "remedies",
    "report",
    "scan",
    "tasks",
    "train",
    "treat",
    "write_report",
]

# What needs torch is loaded at its first use, so that `throughtime --help` does not wait for it.
_HOMES = {
    "Clipper": "problem",
    "Criterion": "problem",
    "LayerTrace": "trace",
    "Prescription": "prescription",
    "Problem": "problem",
    "Trace": "trace",
    "Training": "training",
    "Treated": "trials",
    "assert_reaches": "assertions",
    "capture": "recording",
    "cells": "",
    "diagnose": "diagnosis",
    "mark": "recording",
    "measures": "",
    "observe": "recording",
    "prescribe": "prescription",
    "recurrences": "",
    "remedies": "",
    "report": "",
    "scan": "recording",
    "tasks": "",
    "train": "training",
    "treat": "trials",
    "write_report": "report",
}

if not TYPE_CHECKING:  # a type checker would take every misspelt name for one of these

    def __getattr__(name: str) -> object:
        if name == "__version__":
            return version(__name__)
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = _HOMES[name]
        value = import_module(f"{__name__}.{home or name}")
        globals()[name] = value = getattr(value, name) if home else value
        return value


def __dir__() -> list[str]:
    own = {name for name in globals() if name.startswith("__")}
    return sorted({*own, *__all__, "__version__"})
