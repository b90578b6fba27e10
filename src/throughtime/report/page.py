"""The HTML page: what stands on it, in which order. How it looks is in ``templates/``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from throughtime.findings import Diagnosis, Finding, LayerDiagnosis, Measurement
from throughtime.report import curves, wording
from throughtime.report.album import Album, Picture
from throughtime.report.section import Section

MOST_LAYERS = 60
"""Sections for more layers than this are left out, and said to be: the table has them all."""


@dataclass(frozen=True)
class LayerView:
    """A layer with those of its pictures that there is something to draw in.

    ``left_out`` says that there was no room for them on the page.
    """

    layer: LayerDiagnosis
    gain: Picture | None = None
    matrix: Picture | None = None
    gradients: Picture | None = None
    states: Picture | None = None
    left_out: bool = False


@dataclass(frozen=True)
class NetworkView:
    """One diagnosis: the layer that decided it, the others, and what was found."""

    name: str
    diagnosis: Diagnosis
    deciding: LayerView | None
    others: tuple[LayerView, ...]
    hidden: int
    findings: tuple[Finding, ...]
    numbers: tuple[tuple[str, ...], ...]


def render(diagnoses: Mapping[str, Diagnosis], extra: Sequence[Section]) -> str:
    """The page for one diagnosis, or for several that are compared; see ``render_html``."""
    album = Album()
    several = len(diagnoses) > 1
    compared = album.compare(diagnoses) if several else None
    tops = {name: _deciding(one, album, wide=not several) for name, one in diagnoses.items()}
    networks = [_network(name, one, tops[name], album) for name, one in diagnoses.items()]
    return _template().render(
        networks=networks,
        several=several,
        compared=compared,
        extra=extra,
        methods=_methods(diagnoses),
        run_keys=list(dict.fromkeys(key for one in diagnoses.values() for key in one.run)),
        version=next(
            (one.run["throughtime"] for one in diagnoses.values() if "throughtime" in one.run), ""
        ),
    )


def _deciding(diagnosis: Diagnosis, album: Album, wide: bool) -> LayerView | None:
    layer = curves.deciding(diagnosis)
    return None if layer is None else _drawn(layer, album, wide)


def _network(name: str, diagnosis: Diagnosis, top: LayerView | None, album: Album) -> NetworkView:
    rest = [layer for layer in diagnosis.layers if top is None or layer is not top.layer]
    every = [*diagnosis.findings, *(f for one in diagnosis.layers for f in one.findings)]
    findings = {
        (f.subject, f.disease, f.sentence): f for f in every if f.sentence != diagnosis.sentence
    }
    return NetworkView(
        name,
        diagnosis,
        top,
        tuple(_drawn(layer, album) for layer in rest[:MOST_LAYERS]),
        len(rest[MOST_LAYERS:]),
        tuple(findings.values()),
        () if top is None else _numbers(top.layer),
    )


def _drawn(layer: LayerDiagnosis, album: Album, wide: bool = False) -> LayerView:
    if not album.has_room():
        return LayerView(layer, left_out=bool(layer.measurements))
    return LayerView(
        layer,
        album.gain(layer, wide),
        album.matrix(layer),
        album.gradients(layer),
        album.states(layer),
    )


def _numbers(layer: LayerDiagnosis) -> tuple[tuple[str, ...], ...]:
    """The gain at lags 0, 1, 2, 5, 10, ...: the picture as a table."""
    curve = curves.gain(layer)
    if curve is None:
        return ()
    wanted = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]
    places = {0, len(curve.at) - 1}
    places |= {int(place) for place in np.flatnonzero(np.isin(curve.at, wanted))}
    return tuple(
        (
            f"{curve.at[p]:,.0f}",
            *(wording.power(edge[p]) for edge in (curve.low, curve.middle, curve.high)),
        )
        for p in sorted(places)
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
        wording.trusted,
        wording.value,
    ):  # fmt: skip
        environment.filters[function.__name__] = function
    return environment.get_template("report.html.j2")
