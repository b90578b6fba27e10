"""The HTML page: what stands on it, in which order. How it looks is in ``templates/``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from throughtime.findings import Diagnosis, Finding, LayerDiagnosis, Measurement
from throughtime.report import abridged, causes, curves, language, place, tables, wording
from throughtime.report.album import ROOM, Album, Picture
from throughtime.report.glossary import GLOSSARY
from throughtime.report.plates import Plate, deep, reach, why
from throughtime.report.section import Section

MOST_LAYERS = 60
"""Sections for more layers than this are left out, and said to be."""

_MOST_ROWS = 200  # of the table of layers
_LARGEST = 1_000_000  # bytes of a page


@dataclass(frozen=True)
class LayerView:
    """A layer with those of its pictures that there is something to draw in.

    ``left_out`` says that there was no room for some of them on the page.
    """

    layer: LayerDiagnosis
    gain: list[Picture]
    pictures: list[Picture]
    left_out: bool


@dataclass(frozen=True)
class WhyView:
    """What explains a verdict: sentences, the place of a broken number, the layer measured for it.

    ``advice`` says what to do next about a number that is not finite; else it is empty. ``layer``
    is the one whose measurements explain the verdict, of which ``deep`` is seen further below.
    """

    findings: list[Finding]
    place: place.Place | None
    advice: str
    strip: list[Picture]
    layer: LayerDiagnosis | None
    pictures: list[Picture]
    asides: list[str]
    deep: list[Picture]


@dataclass(frozen=True)
class NetworkView:
    """One diagnosis: what is told first, why, the layer that decided it, the others, the rest."""

    name: str
    diagnosis: Diagnosis
    opening: list[Finding | Diagnosis]
    why: WhyView
    deciding: LayerView | None
    others: tuple[LayerView, ...]
    hidden: int
    rows: tuple[LayerDiagnosis, ...]
    more_rows: list[str]
    findings: list[Finding]
    more_findings: list[str]
    numbers: tuple[tables.Grid, ...]


def render(diagnoses: Mapping[str, Diagnosis], extra: Sequence[Section], spoken: str) -> str:
    """The page for one diagnosis, or for several that are compared; see ``render_html``."""
    with language.speaking(spoken):
        room = ROOM
        while True:
            page = _rendered(diagnoses, extra, spoken, Album(room))
            excess = len(page.encode()) - _LARGEST
            if excess <= 0 or not room:
                return page
            room = max(0, room - excess - _LARGEST // 20)


def _rendered(
    diagnoses: Mapping[str, Diagnosis], extra: Sequence[Section], spoken: str, album: Album
) -> str:
    several = len(diagnoses) > 1
    compared = album.add(reach.compare(diagnoses)) if several else []
    # What stands on top is drawn first: there is room for it, and it explains the pictures.
    tops = {name: _top(one, album, wide=not several) for name, one in diagnoses.items()}
    networks = [_network(name, one, *tops[name], album) for name, one in diagnoses.items()]
    return _template(spoken).render(
        language=spoken,
        networks=networks,
        several=several,
        compared=compared,
        extra=extra,
        methods=_methods(diagnoses),
        glossary=GLOSSARY.items(),
        run_keys=list(
            dict.fromkeys(
                key
                for one in diagnoses.values()
                for key, value in one.run.items()
                if not isinstance(value, dict)  # the head tells those
            )
        ),
        version=next(
            (one.run["throughtime"] for one in diagnoses.values() if "throughtime" in one.run),
            "",
        ),
    )


def _top(diagnosis: Diagnosis, album: Album, wide: bool) -> tuple[WhyView, LayerView | None]:
    """Why, and the layer that decided the verdict."""
    layer, decided = causes.explaining(diagnosis), curves.deciding(diagnosis)
    broken = place.first_bad(diagnosis)
    strip = album.add(why.first_non_finite(diagnosis))
    pictures = [] if layer is None else album.add(*why.all_of(layer))
    deciding = None if decided is None else _seen(decided, album, reach.inside(decided), wide)
    because = WhyView(
        causes.sentences(diagnosis),
        broken,
        place.advice(broken) if broken else "",
        strip,
        layer,
        pictures,
        [] if layer is None else causes.asides(layer),
        [] if layer is None else album.add(*deep.all_of(layer)),
    )
    return because, deciding


def _network(
    name: str, diagnosis: Diagnosis, because: WhyView, deciding: LayerView | None, album: Album
) -> NetworkView:
    decided = deciding.layer if deciding else None
    rest = [layer for layer in diagnosis.layers if layer is not decided]
    told = {diagnosis.sentence, *(finding.sentence for finding in because.findings)}
    every = [*diagnosis.findings, *(f for layer in diagnosis.layers for f in layer.findings)]
    rows, more_rows = abridged.rows(diagnosis.layers, _MOST_ROWS)
    shown, more = abridged.few(abridged.untold(every, told))
    on_top = [decided, *([because.layer] if because.layer is not decided else [])]
    return NetworkView(
        name,
        diagnosis,
        causes.opening(diagnosis),
        because,
        deciding,
        tuple(_other(layer, because, album) for layer in rest[:MOST_LAYERS]),
        len(rest[MOST_LAYERS:]),
        rows,
        more_rows,
        shown,
        more,
        (
            *tables.evidence(because.findings),
            *tables.of(layer for layer in on_top if layer is not None),
        ),
    )


def _other(layer: LayerDiagnosis, because: WhyView, album: Album) -> LayerView:
    """A layer further down: why, unless that stands above already; how far; and more."""
    if layer is because.layer:
        return _seen(layer, album, reach.inside(layer))
    return _seen(layer, album, [*why.all_of(layer), *reach.inside(layer), *deep.all_of(layer)])


def _seen(
    layer: LayerDiagnosis, album: Album, plates: list[Plate | None], wide: bool = False
) -> LayerView:
    before = album.left_out
    gain, pictures = album.add(reach.gain(layer, wide)), album.add(*plates)
    return LayerView(layer, gain, pictures, album.left_out > before)


def _methods(diagnoses: Mapping[str, Diagnosis]) -> list[tuple[Measurement, list[str]]]:
    """Each way of measuring once, with the layers that were measured so."""
    found: dict[tuple[str, str, str], tuple[Measurement, list[str]]] = {}
    for name, diagnosis in diagnoses.items():
        for layer in diagnosis.layers:
            subject = f"{name}: {layer.name}" if len(diagnoses) > 1 else layer.name
            for one in layer.measurements:
                key = (one.name, one.unit, one.how)
                found.setdefault(key, (one, []))[1].append(subject)
    return list(found.values())


def _finalised(value: object) -> object:
    """What every ``{{ ... }}`` passes before it is escaped: no control or direction characters."""
    return (
        wording.clean(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
    )


@cache
def _template(_spoken: str) -> Template:
    """One for each language: jinja works out what it takes for constant only once."""
    environment = Environment(
        loader=PackageLoader("throughtime.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalised,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        wording.verdict, wording.horizon, wording.reach, wording.covered, wording.rate,
        wording.slope, wording.pace, wording.power, wording.check, wording.steps, wording.named,
        wording.trusted, wording.value, wording.confidence, wording.head,
        language.say, language.told,
    ):  # fmt: skip  # a list, not a column
        environment.filters[function.__name__] = function
    return environment.get_template("report.html.j2")
