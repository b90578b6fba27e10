"""The public surface: a list that someone typed, and what each name on it is."""

import inspect
import subprocess
import sys
from importlib.metadata import version

import pytest

import throughtime as tt

SURFACE = {
    "Clipper": "throughtime.problem",
    "Criterion": "throughtime.problem",
    "Diagnosis": "throughtime.findings",
    "DivergedError": "throughtime.errors",
    "Finding": "throughtime.findings",
    "InputError": "throughtime.errors",
    "LayerDiagnosis": "throughtime.findings",
    "LayerTrace": "throughtime.trace",
    "LoadError": "throughtime.errors",
    "Measurement": "throughtime.findings",
    "MissingExtraError": "throughtime.errors",
    "NoGradientError": "throughtime.errors",
    "NothingRecordedError": "throughtime.errors",
    "Prescription": "throughtime.prescription",
    "Problem": "throughtime.problem",
    "ReachError": "throughtime.errors",
    "RunError": "throughtime.errors",
    "StateCarriedError": "throughtime.errors",
    "StorageError": "throughtime.errors",
    "ThroughtimeError": "throughtime.errors",
    "ThroughtimeWarning": "throughtime.errors",
    "Trace": "throughtime.trace",
    "Training": "throughtime.training",
    "Treated": "throughtime.trials",
    "UnsupportedError": "throughtime.errors",
    "assert_reaches": "throughtime.assertions",
    "capture": "throughtime.recording",
    "cells": "throughtime.cells",
    "diagnose": "throughtime.diagnosis",
    "mark": "throughtime.recording",
    "measures": "throughtime.measures",
    "observe": "throughtime.recording",
    "prescribe": "throughtime.prescription",
    "recurrences": "throughtime.recurrences",
    "remedies": "throughtime.remedies",
    "report": "throughtime.report",
    "scan": "throughtime.recording",
    "tasks": "throughtime.tasks",
    "train": "throughtime.training",
    "treat": "throughtime.trials",
    "write_report": "throughtime.report",
}
MODULES = {"cells", "measures", "recurrences", "remedies", "report", "tasks"}


def test_the_surface_is_this_list() -> None:
    assert tt.__all__ == list(SURFACE)


@pytest.mark.parametrize(("name", "home"), SURFACE.items(), ids=SURFACE)
def test_every_name_is_what_it_should_be(name: str, home: str) -> None:
    value = getattr(tt, name)
    assert inspect.ismodule(value) == (name in MODULES)
    where: str = value.__name__ if name in MODULES else value.__module__
    assert where.startswith(home)
    assert inspect.getdoc(value)


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(AttributeError, match="module 'throughtime' has no attribute 'captures'"):
        tt.captures  # noqa: B018  — to look it up is the test


def fresh(*lines: str) -> str:
    """What a new Python prints."""
    command = [sys.executable, "-W", "error", "-c", "\n".join(lines)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_nothing_heavy_is_loaded_before_it_is_used() -> None:
    printed = fresh(
        "import sys, throughtime as tt",
        "heavy = {'torch', 'numpy', 'rich', 'typer', 'jinja2', 'matplotlib'}",
        "print(set(dir(tt)) >= set(tt.__all__), heavy & set(sys.modules))",
        "tt.write_report",
        "print(heavy & set(sys.modules))",
    )
    assert printed == "True set()\nset()\n"


def test_capture_is_the_context_manager_in_whatever_order_things_are_imported() -> None:
    printed = fresh(
        "import throughtime.diagnosis, throughtime.recording.session",
        "import throughtime as tt",
        "from throughtime import *",
        "from throughtime.recording import observe as same",
        "print(type(tt.capture).__name__, capture is tt.capture, observe is same)",
    )
    assert printed == "type True True\n"


def test_the_version_and_the_report_are_at_hand() -> None:
    printed = fresh(
        "import throughtime as tt",
        "print(tt.__version__, tt.report.write_report is tt.write_report)",
        "print([name for name in dir(tt) if name not in tt.__all__ and name[:2] != '__'])",
    )
    assert printed == f"{version('throughtime')} True\n[]\n"
