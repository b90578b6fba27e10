"""The HTML page: what stands on it, in which order. How it looks is in ``templates/``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from throughtime.findings import Diagnosis, Finding, LayerDiagnosis, Measurement
from throughtime.report import causes, curves, language, place, tables, wording
from throughtime.report.album import Album, Picture
from throughtime.report.glossary import GLOSSARY
from throughtime.report.plates import deep, reach, why
from throughtime.report.section import Section

MOST_LAYERS = 60
"""Sections for more layers than this are left out, and said to be: the table has them all."""


@dataclass(frozen=True)
class LayerView:
    """A layer with those of its pictures that there is something to draw in.

    ``left_out`` says that there was no room for some of them on the page.
    """

    layer: LayerDiagnosis
    gain: list[Picture]
    inside: list[Picture]
    why: list[Picture]
    deep: list[Picture]
    left_out: bool


@dataclass(frozen=True)
class WhyView:
    """What explains a verdict: sentences, the place of a broken number, the layer measured for it.

    ``advice`` says what to do next about a number that is not finite; else it is empty.
    """

    findings: list[Finding]
    place: place.Place | None
    advice: str
    strip: list[Picture]
    view: LayerView | None
    asides: list[str]


@dataclass(frozen=True)
class NetworkView:
    """One diagnosis: the layer that decided it, why, the other layers, what else was found."""

    name: str
    diagnosis: Diagnosis
    deciding: LayerView | None
    why: WhyView
    others: tuple[LayerView, ...]
    hidden: int
    findings: tuple[Finding, ...]
    numbers: tuple[tables.Grid, ...]


def render(diagnoses: Mapping[str, Diagnosis], extra: Sequence[Section], spoken: str) -> str:
    """The page for one diagnosis, or for several that are compared; see ``render_html``."""
    with language.speaking(spoken):
        album = Album()
        several = len(diagnoses) > 1
        compared = album.add(reach.compare(diagnoses)) if several else []
        tops = {name: _top(one, album, wide=not several) for name, one in diagnoses.items()}
        networks = [_network(name, one, tops[name], album) for name, one in diagnoses.items()]
        return _template().render(
            language=spoken,
            networks=networks,
            several=several,
            compared=compared,
            extra=extra,
            methods=_methods(diagnoses),
            glossary=GLOSSARY.items(),
            run_keys=list(dict.fromkeys(key for one in diagnoses.values() for key in one.run)),
            version=next(
                (one.run["throughtime"] for one in diagnoses.values() if "throughtime" in one.run),
                "",
            ),
        )


def _top(diagnosis: Diagnosis, album: Album, wide: bool) -> tuple[LayerView | None, WhyView]:
    """The layer that decided the verdict, and why: drawn first, so that there is room for them."""
    decided, explaining = curves.deciding(diagnosis), causes.explaining(diagnosis)
    strip = album.add(why.first_non_finite(diagnosis))
    view = None if explaining is None else _drawn(explaining, album, wide)
    deciding = view if explaining is decided or decided is None else _drawn(decided, album, wide)
    broken = place.first_bad(diagnosis)
    return deciding, WhyView(
        causes.sentences(diagnosis),
        broken,
        place.advice(broken) if broken else "",
        strip,
        view,
        [] if explaining is None else causes.asides(explaining),
    )


def _network(
    name: str, diagnosis: Diagnosis, top: tuple[LayerView | None, WhyView], album: Album
) -> NetworkView:
    deciding, because = top
    drawn = {id(view.layer): view for view in (deciding, because.view) if view is not None}
    rest = [one for one in diagnosis.layers if deciding is None or one is not deciding.layer]
    told = {diagnosis.sentence, *(finding.sentence for finding in because.findings)}
    every = [*diagnosis.findings, *(f for one in diagnosis.layers for f in one.findings)]
    findings = {(f.subject, f.disease, f.sentence): f for f in every if f.sentence not in told}
    return NetworkView(
        name,
        diagnosis,
        deciding,
        because,
        tuple(drawn.get(id(one)) or _drawn(one, album) for one in rest[:MOST_LAYERS]),
        len(rest[MOST_LAYERS:]),
        tuple(findings.values()),
        (*tables.evidence(because.findings), *tables.of(view.layer for view in drawn.values())),
    )


def _drawn(layer: LayerDiagnosis, album: Album, wide: bool = False) -> LayerView:
    """All pictures of a layer: first those that say how far, then those that say why."""
    before = album.left_out
    return LayerView(
        layer,
        album.add(reach.gain(layer, wide)),
        album.add(reach.matrix(layer), reach.gradients(layer), reach.states(layer)),
        album.add(
            why.budget(layer),
            why.paths(layer),
            why.gates(layer),
            why.stuck_by_unit(layer),
            why.stuck_by_time(layer),
        ),
        album.add(
            deep.contributions(layer),
            deep.exponents(layer),
            deep.input_memory(layer),
            deep.memory_capacity(layer),
            deep.eigenvalues(layer),
            deep.norm_condition(layer),
            deep.singular_values(layer),
        ),
        album.left_out > before,
    )


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
def _template() -> Template:
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
        wording.slope, wording.pace, wording.power, wording.check, wording.count, wording.named,
        wording.trusted, wording.value, wording.confidence, language.say, language.told,
    ):  # fmt: skip
        environment.filters[function.__name__] = function
    return environment.get_template("report.html.j2")
