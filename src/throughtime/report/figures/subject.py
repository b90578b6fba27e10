"""What a picture is drawn of, and what every finished picture has."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from throughtime.errors import InputError
from throughtime.findings import Diagnosis, LayerDiagnosis
from throughtime.report import causes, curves, style


def deciding(subject: Diagnosis | LayerDiagnosis) -> LayerDiagnosis | None:
    """The layer itself, or the one that decided the verdict."""
    if isinstance(subject, LayerDiagnosis):
        return subject
    return curves.deciding(_diagnosis(subject))


def explaining(subject: Diagnosis | LayerDiagnosis) -> LayerDiagnosis | None:
    """The layer itself, or the one whose measurements explain the verdict."""
    if isinstance(subject, LayerDiagnosis):
        return subject
    return causes.explaining(_diagnosis(subject))


def _diagnosis(subject: object) -> Diagnosis:
    if isinstance(subject, Diagnosis):
        return subject
    raise InputError(
        "a picture is drawn of a Diagnosis or of one of its layers; this is "
        f"{type(subject).__name__}"
    )


def titled(axes: Axes, given: Axes | None, text: str) -> Figure:
    """The figure; with a heading only if it is ours: whoever brings axes brings the heading."""
    if given is None:
        style.title(axes, text)
    return style.figure_of(axes)
