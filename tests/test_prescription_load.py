"""What a prescription may depend on: its arguments; never on how busy the machine is."""

import itertools
import time
from dataclasses import asdict, replace
from typing import Any

import pytest
from prescribed_problems import SPAN, reading

from throughtime.findings import Diagnosis
from throughtime.prescription import Option, Prescription, prescribe
from throughtime.prescription.bench import Bench

NAMES = ["chrono", "orthogonal", "forget-bias"]
STALLED = [0.0, 3.0, 0.001, 40.0, 0.002, 7.0]  # seconds that pass between two looks at the clock


def measured(option: Option | None) -> dict[str, Any]:
    """All but what the clock said."""
    assert option is not None
    return {
        name: value for name, value in asdict(option).items() if name not in ("seconds", "cost")
    }


def stalling(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pauses = time.perf_counter(), itertools.cycle(STALLED)

    def look() -> float:
        nonlocal clock
        clock += next(pauses)
        return clock

    monkeypatch.setattr(time, "perf_counter", look)
    monkeypatch.setattr(time, "process_time", look)


def test_on_a_busy_machine_the_same_is_measured_and_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    calm = prescribe(reading("lstm"), updates=4, seconds=1e9)
    stalling(monkeypatch)
    busy = prescribe(reading("lstm"), updates=4, seconds=1e9)
    assert [measured(one) for one in busy.options] == [measured(one) for one in calm.options]
    assert measured(busy.untreated) == measured(calm.untreated)
    assert (len(calm.options), busy.updates) == (12, 4)
    assert [one.cost for one in busy.options] != [one.cost for one in calm.options]


def test_where_time_is_short_fewer_are_tried_and_that_is_said() -> None:
    whole = prescribe(reading("lstm"), updates=4, remedies=NAMES)
    short = prescribe(reading("lstm"), updates=4, remedies=NAMES, seconds=0.0)
    assert ([one.name for one in short.options], short.left_out) == (["chrono"], tuple(NAMES[1:]))
    assert (short.updates, whole.updates, whole.left_out) == (4, 4, ())
    assert measured(short.options[0]) == measured(whole.options[0])
    assert short.notes[0].startswith("left out, since 0 seconds were over: orthogonal, forget-bias")


def test_what_was_left_out_goes_to_json_and_back() -> None:
    short = prescribe(reading("lstm"), updates=2, remedies=NAMES, seconds=0.0)
    assert Prescription.from_json(short.to_json()) == short


def test_what_most_forbids_is_not_left_out_for_want_of_time() -> None:
    short = prescribe(reading("lstm"), updates=2, remedies=NAMES, seconds=0.0, most=2)
    assert short.left_out == ("orthogonal",)
    assert any("not tried: forget-bias" in note for note in short.notes)


# The diagnosis decides, and is carried over.


def diagnosed(monkeypatch: pytest.MonkeyPatch, **change: Any) -> Prescription:
    """What is prescribed on a diagnosis that is changed like this."""
    make = Bench.diagnosis

    def other(bench: Bench) -> Diagnosis:
        return replace(make(bench), **change)

    monkeypatch.setattr(Bench, "diagnosis", other)
    return prescribe(reading("lstm"), updates=2, remedies=["chrono"])


def test_on_an_unknown_verdict_nothing_is_prescribed(monkeypatch: pytest.MonkeyPatch) -> None:
    why, note = "no gradient: the head is dead.", "linear.bias got no gradient"
    found = diagnosed(monkeypatch, verdict="unknown", sentence=why, findings=(), notes=(note,))
    assert (found.options, found.untreated, found.healthy) == ((), None, False)
    assert found.sentence.endswith(f"is not known: {why}")
    assert found.notes == (note,)


def test_notes_and_findings_of_the_diagnosis_are_carried_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    note = "1 of 12 sequences is read by the loss"
    found = diagnosed(monkeypatch, notes=(note,))
    assert note in found.notes
    assert [finding.sentence in str(found) for finding in found.before.findings] == [True] * len(
        found.before.findings
    )
    assert len(found.before.findings) > 1


def test_a_healthy_diagnosis_keeps_its_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnosed(monkeypatch, verdict="healthy", findings=(), notes=("head.bias is frozen",))
    assert (found.healthy, found.notes, found.span) == (True, ("head.bias is frozen",), SPAN)
