"""throughtime: see, explain and repair how gradients travel through time in recurrent networks."""

from __future__ import annotations

from throughtime import measures, recurrences
from throughtime.assertions import assert_reaches
from throughtime.capture import capture, mark, observe
from throughtime.diagnosis import diagnose
from throughtime.errors import (
    InputError,
    LoadError,
    MissingExtraError,
    NoGradientError,
    NothingRecordedError,
    ReachError,
    StateCarriedError,
    ThroughtimeError,
    ThroughtimeWarning,
    UnsupportedError,
)
from throughtime.findings import Diagnosis, Finding, LayerDiagnosis, Measurement
from throughtime.problem import Problem
from throughtime.report import write_report
from throughtime.trace import LayerTrace, Trace

__all__ = [
    "Diagnosis",
    "Finding",
    "InputError",
    "LayerDiagnosis",
    "LayerTrace",
    "LoadError",
    "Measurement",
    "MissingExtraError",
    "NoGradientError",
    "NothingRecordedError",
    "Problem",
    "ReachError",
    "StateCarriedError",
    "ThroughtimeError",
    "ThroughtimeWarning",
    "Trace",
    "UnsupportedError",
    "assert_reaches",
    "capture",
    "diagnose",
    "mark",
    "measures",
    "observe",
    "recurrences",
    "write_report",
]
