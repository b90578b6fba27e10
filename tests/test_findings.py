"""Findings as plain data: to JSON and back without loss, whatever the numbers and the names."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import report_samples as samples
from hypothesis import given
from hypothesis import strategies as st

from throughtime.findings import SCHEMA, Diagnosis, Finding, LayerDiagnosis, Measurement

SPELT_LIKE_NUMBERS = {"nan", "inf", "-inf"}

# A NaN equals nothing, itself only by identity: the one that `math` has is the one in every plain
# measurement.
floats = st.floats().map(lambda number: math.nan if math.isnan(number) else number)
names = st.text(st.characters(), max_size=12)
numbers = st.none() | floats
labels = st.integers() | floats | st.text(max_size=5).filter(lambda t: t not in SPELT_LIKE_NUMBERS)
values = st.recursive(
    st.none() | st.booleans() | labels,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple) | st.dictionaries(names, inner, max_size=3)
    ),
    max_leaves=8,
)
evidence = st.dictionaries(names, values, max_size=3)
findings = st.builds(Finding, names, names, names, evidence)
measurements = st.builds(
    Measurement,
    name=names,
    values=st.lists(st.lists(floats, min_size=2, max_size=2), max_size=3),
    axes=st.just(("row", "column")),
    unit=names,
    how=names,
    coords=st.dictionaries(names, st.lists(labels, max_size=3).map(tuple), max_size=2),
).map(Measurement.plain)
verdicts = st.sampled_from(["healthy", "vanishing", "exploding", "non-finite", "unknown"])
unhealthy = st.builds(
    LayerDiagnosis,
    verdict=verdicts.filter(lambda verdict: verdict != "healthy"),
    rate=numbers,
    gain_at_span=numbers,
    verified=numbers,
    name=names,
    findings=st.lists(findings, max_size=2).map(tuple),
    measurements=st.lists(measurements, max_size=2).map(tuple),
)
layers = unhealthy | unhealthy.map(
    lambda layer: replace(layer, verdict="healthy", gain_at_span=-0.1, checked_by="autograd")
)
diagnoses = st.builds(
    Diagnosis,
    verdict=verdicts,
    rate=numbers,
    sentence=names,
    decided_by=names,
    layers=st.lists(layers, max_size=2).map(tuple),
    findings=st.lists(findings, max_size=2).map(tuple),
    notes=st.lists(names, max_size=2).map(tuple),
    run=evidence,
)


@given(diagnoses)
def test_json_brings_back_an_equal_diagnosis(diagnosis: Diagnosis) -> None:
    assert Diagnosis.from_json(diagnosis.to_json()) == diagnosis


@pytest.mark.parametrize("sample", samples.ALL.values(), ids=samples.ALL)
def test_json_brings_back_every_sample(sample: Any) -> None:
    assert Diagnosis.from_json(sample().to_json(indent=2)) == sample()


@given(diagnoses)
def test_the_json_is_valid_and_plain_ascii(diagnosis: Diagnosis) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    text = diagnosis.to_json()
    assert text.isascii()
    assert json.loads(text, parse_constant=refuse)["schema"] == SCHEMA


def edited(**changes: Any) -> str:
    return json.dumps({**samples.vanishing().to_dict(), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ("[1, 2]", "no 'schema'"),
        ("{}", "no 'schema'"),
        (edited(schema=SCHEMA + 1), f"reads up to {SCHEMA}: upgrade"),
        (edited(schema="1"), "diagnosis schema 1"),
        (edited(schema=True), "diagnosis schema True"),
        (edited(schema=0), "diagnosis schema 0"),
        (json.dumps({"schema": SCHEMA}), "not a complete throughtime diagnosis"),
        (edited(layers=None), "not a complete throughtime diagnosis"),
        (edited(layers=[[]]), "not a complete throughtime diagnosis"),
        (edited(layers=[{"name": "rnn"}]), "not a complete throughtime diagnosis"),
        (edited(findings=["vanishing"]), "not a complete throughtime diagnosis"),
    ],
)
def test_other_json_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        Diagnosis.from_json(text)
    assert "\n" not in str(raised.value)


WRONG = [None, True, 7, 1.5, "x", [], [1], {}, {"a": 1}, "\x1b[31m"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every field; of a list to its first entry alone."""
    yield path
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value[:1])
        if isinstance(value, list)
        else ()
    )
    for key, one in inner:
        yield from places(one, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The same value with ``new`` at this place."""
    if not path:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


def test_a_mistyped_text_is_refused_or_can_be_read_to_its_end() -> None:
    """Every field of a small diagnosis with a value of every other type."""
    whole = samples.vanishing().to_dict()
    layer = {**whole["layers"][0], "measurements": whole["layers"][0]["measurements"][:1]}
    whole |= {"layers": [layer], "findings": [asdict(Finding("vanishing", "rnn", "x", {"a": 1}))]}
    refused = leaked = 0
    for path in places(whole):
        for new in WRONG:
            try:
                found = Diagnosis.from_json(json.dumps(put(whole, path, new)))
            except ValueError as error:
                refused += str(error).isprintable()
                leaked += not str(error).isprintable()
                continue
            assert "\x1b" not in f"{found} {found!r} {found.causes} {found.diseases}"
            Diagnosis.from_json(found.to_json())
    assert (refused > 300, leaked) == (True, 0)


MISTYPED: dict[str, tuple[dict[str, Any], str]] = {
    "verdict": ({"verdict": "fine"}, "Diagnosis.verdict is 'fine': one of 'healthy'"),
    "rate": ({"rate": "-0.1"}, "Diagnosis.rate is '-0.1': a number is needed"),
    "horizon": ({"horizon": 1.5}, "Diagnosis.horizon is 1.5: a whole number is needed"),
    "span": ({"span": True}, "Diagnosis.span is True: a whole number is needed"),
    "reaches_end": ({"reaches_end": 1}, "Diagnosis.reaches_end is 1: true or false is needed"),
    "notes": ({"notes": "a note"}, "Diagnosis.notes is 'a note': a list is needed"),
    "a note": ({"notes": [1]}, "Diagnosis.notes[0] is 1: text is needed"),
    "run": ({"run": []}, "Diagnosis.run is []: an object is needed"),
    "escapes": ({"sentence": ["\x1b[31m"]}, "Diagnosis.sentence is ['\\x1b[31m']: text"),
}


@pytest.mark.parametrize(("changes", "said"), MISTYPED.values(), ids=MISTYPED)
def test_a_mistyped_field_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Diagnosis.from_json(edited(**changes))


VALUES: list[tuple[dict[str, Any], str]] = [
    ({"values": "abc"}, "'abc' lies where the axis part is"),
    ({"values": 1.0}, "1.0 lies where the axis part is"),
    ({"values": [[1.0, 2.0]]}, "lies where the axis lag is"),
    ({"values": [[[1.0, None, 2.0]]]}, "None is not a number in 3 axes"),
    ({"coords": {"lag": [1]}}, "entries and 1 labels"),
    ({"coords": {"lag": 1}}, "coords.lag is 1: a list is needed"),
    ({"axes": ["part"]}, "is not a number in 1 axes"),
]


@pytest.mark.parametrize(("changes", "said"), VALUES, ids=[said for _, said in VALUES])
def test_the_numbers_of_a_measurement_are_a_rectangle(changes: dict[str, Any], said: str) -> None:
    layer = samples.vanishing().to_dict()["layers"][0]
    gain = {"coords": {}, **layer["measurements"][0], **changes}
    gain["coords"] = changes.get("coords", {})
    with pytest.raises(ValueError, match=re.escape(said)):
        Diagnosis.from_json(edited(layers=[{**layer, "measurements": [gain]}]))


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"schema": 2, "run": ' + '{"a": ' * 500])
def test_a_deep_text_is_one_error(deep: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Diagnosis.from_json(deep)


def test_a_text_just_too_deep_is_refused_and_not_accepted_to_crash_later() -> None:
    run: Any = 1
    for _ in range(200):
        run = {"a": run}
    with pytest.raises(ValueError, match="is nested too deep"):
        Diagnosis.from_json(edited(run=run))


def test_the_repr_of_a_diagnosis_sends_no_control_character_to_the_terminal() -> None:
    assert "\x1b" not in repr(samples.hostile())
    assert "\x1b" not in repr(Measurement("\x1b[31m", 1.0, (), "\x1b", ""))


def test_a_field_that_a_later_version_added_is_ignored() -> None:
    assert Diagnosis.from_json(edited(mood="calm")) == samples.vanishing()


def test_arrays_become_plain_numbers() -> None:
    values = np.array([[0.5, -np.inf], [np.nan, 2.0]])
    measured = Measurement("norms", values, ("row", "column"), "log10", "by hand").plain()
    assert measured.values == ((0.5, -math.inf), (math.nan, 2.0))


def test_a_measurement_shows_its_shape() -> None:
    measured = Measurement("norms", np.zeros((3, 2)), ("time", "batch"), "log10", "by hand")
    assert repr(measured) == repr(measured.plain()) == "Measurement(norms: time=3 batch=2, log10)"


def test_a_layer_finds_its_measurement_by_name() -> None:
    layer = samples.layer()
    found = [layer.measurement(name) for name in ("gain", "no such")]
    assert [one and one.name for one in found] == ["gain", None]


def test_printing_a_diagnosis_sends_no_control_character_to_the_terminal() -> None:
    shown = str(samples.hostile())
    assert "\x1b" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {},
            "rnn (RNN): vanishing, horizon 9 of 100, -0.2200 decades per step (verified to 3e-07)",
        ),
        ({"horizon": None, "rate": None}, "horizon unknown of 100 (verified"),
        ({"reaches_end": True}, "horizon at least 9 of 100"),
        (
            {"verified": None, "unverified_because": "dropout", "checked_by": ""},
            "(not verified: dropout)",
        ),
    ],
)
def test_printing_names_layer_horizon_and_check(change: dict[str, Any], expected: str) -> None:
    assert expected in str(samples.diagnosis(replace(samples.layer("rnn"), **change)))


@pytest.mark.parametrize("head", [1.5, "text", {"english": 1.5}, {"english": "text"}, None])
def test_a_head_of_another_type_is_none(head: object) -> None:
    found = replace(samples.healthy(), run={"head": head})
    assert (found.head, str(found).startswith("HEALTHY")) == ((), True)
