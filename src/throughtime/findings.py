"""What was found, as plain data: measurements, findings, a diagnosis. Standard library only.

Everything here is frozen, compares by value, and goes to JSON and back without loss. A reader of
these classes needs neither the model nor torch.
"""

from __future__ import annotations

import html
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from throughtime.errors import plain
from throughtime.typed import build, refuse_ragged

SCHEMA = 2

Verdict = Literal["healthy", "vanishing", "exploding", "non-finite", "unknown"]

MISTAKES = (
    "spoilt record",
    "check failed",
    "not checked",
    "no gradient",
    "non-finite",
    "weights changed",
    "axes swapped",
    "partial loss",
    "dead parameters",
    "state not handed on",
    "partly detached",
    "truncated",
    "other routes",
    "too short",
    "series",
)
"""What stands before any statement on the recurrence, in the order in which it is told.

Either the user's program does something else than its author believes, or the measurement cannot
carry a verdict.
"""

CONDITIONS = (
    "exploding",
    "chaotic",
    "vanishing",
    "gates closed",
    "saturated",
    "transient growth",
    "bottleneck",
)
"""What ails the recurrence itself, the gravest first."""

DISEASES = (*MISTAKES, *CONDITIONS)
"""Everything that a rule can find wrong."""

REMARKS = ("episodes", "assumed span", "state carried", "budget", "not recorded", "every route")
"""What a reader must know, with which nothing is wrong."""

_FIRST = (*MISTAKES, "state carried", "episodes")
_EXPLAINS = (*_FIRST, *CONDITIONS, "budget")


@dataclass(frozen=True)
class Measurement:
    """Numbers that know what they are.

    Attributes:
        name: what was measured, e.g. ``"lag matrix"``.
        values: an array, or nested tuples of floats once it is part of a ``Diagnosis``.
        axes: one name for each axis of ``values``, outermost first.
        unit: e.g. ``"log10"``, ``"decades per step"``.
        how: one sentence: how the numbers were obtained.
        coords: for an axis that is not simply 0, 1, 2, …: its labels (lags, quantiles, anchors).
    """

    name: str
    values: Any
    axes: tuple[str, ...]
    unit: str
    how: str
    coords: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def plain(self) -> Measurement:
        """The same measurement with ``values`` as nested tuples: no array library needed."""
        values = self.values.tolist() if hasattr(self.values, "tolist") else self.values
        return Measurement(
            self.name, _tuples(values), self.axes, self.unit, self.how, dict(self.coords)
        )

    def check_read(self) -> None:
        """Raise ``ValueError`` if what was read is no rectangle of numbers with its labels."""
        refuse_ragged(self.values, self.axes, self.coords)

    def __repr__(self) -> str:
        shape = " ".join(
            f"{axis}={size}" for axis, size in zip(self.axes, _shape(self.values), strict=False)
        )
        return plain(f"Measurement({self.name}: {shape or 'scalar'}, {self.unit})")


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found: what, where, how bad, and the sentence for a person.

    Attributes:
        disease: one of ``DISEASES``, or what else was noticed (``"budget"``, ``"carried"``, …).
        subject: the layer's name.
        sentence, korean: for a person, in English and in Korean (empty where there is none).
        evidence: the figures the rule used, units in the keys (``"rate_decades_per_step"``).
        confidence: the share of what was measured (sequences, loss steps) that says the same.
    """

    disease: str
    subject: str
    sentence: str
    evidence: dict[str, Any] = field(default_factory=dict)
    confidence: float = 1.0
    korean: str = ""


@dataclass(frozen=True)
class LayerDiagnosis:
    """One layer, or a stack of layers taken together.

    Attributes:
        name, kind: the layer's name in the model, and what it is (``"LSTM"``, ``"stack"``, ...).
        verdict: ``healthy``, ``vanishing``, ``exploding``, ``non-finite`` or ``unknown``.
        rate: slope of log10 gain, in decades per step; negative vanishes. None if it has no slope.
        horizon: the largest lag with a gain of at least 1 %. None if nothing was finite.
        reaches_end: the horizon is as long as what was captured: read it as "at least".
        span: how far back the task needs to see, in steps.
        gain_at_span: log10 of the median gain at the span (extrapolated if the capture is shorter).
        sentence: the verdict for a student.
        verified: relative difference of the rebuilt and autograd's parameter gradient, or None.
        unverified_because: why ``verified`` is None.
        measurements: ``gain``, ``lag matrix``, ``states``, ``gradients``, ... as plain tuples.
        korean: the sentence in Korean.
        checked_by: what agreed with autograd, in words; empty where nothing was compared or
            something differs.

    Raises:
        ValueError: for a verdict ``healthy`` without a gain at the span, or without a check.
    """

    name: str
    kind: str
    verdict: Verdict
    rate: float | None
    horizon: int | None
    reaches_end: bool
    span: int
    gain_at_span: float | None
    sentence: str
    verified: float | None
    unverified_because: str
    findings: tuple[Finding, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    korean: str = ""
    checked_by: str = ""

    def __post_init__(self) -> None:
        if self.verdict == "healthy" and (self.gain_at_span is None or not self.checked_by):
            raise ValueError(
                f"layer {self.name!r} cannot be healthy: nothing was measured at the span, or no "
                "check held"
            )

    def measurement(self, name: str) -> Measurement | None:
        """The measurement of that name, or None."""
        return next((m for m in self.measurements if m.name == name), None)


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """The answer: how far back the gradient reaches, layer by layer and for the whole.

    ``verdict``, ``rate``, ``horizon``, ``reaches_end`` and ``span`` are those of the worst layer on
    which the whole depends (``decided_by``). ``run`` holds how it was captured: steps, batch,
    dtype, versions. ``notes`` holds what a reader must know beside it
    (padding, truncation, no check).
    """

    verdict: Verdict
    rate: float | None
    horizon: int | None
    reaches_end: bool
    span: int
    sentence: str
    decided_by: str
    layers: tuple[LayerDiagnosis, ...]
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    run: dict[str, Any] = field(default_factory=dict)
    korean: str = ""

    @property
    def diseases(self) -> tuple[str, ...]:
        """The diseases that were found, mistakes first; else the verdict alone."""
        named = {finding.disease for finding in self.findings}
        return tuple(disease for disease in DISEASES if disease in named) or (self.verdict,)

    @property
    def head(self) -> tuple[str, ...]:
        """How long, how many, the loss and what it reads, in a line or two."""
        return self.head_in("english")

    def head_in(self, language: str) -> tuple[str, ...]:
        """The same in ``"english"`` or ``"korean"``; nothing where ``run`` holds something else."""
        lines = self.run.get("head")
        told = lines.get(language) if isinstance(lines, dict) else None
        return tuple(map(str, told)) if isinstance(told, tuple | list) else ()

    @property
    def causes(self) -> tuple[Finding, ...]:
        """The findings that explain the verdict: mistakes, then those of the deciding layer.

        What the verdict says of the whole is not said again of every layer: ``layers`` has it.
        """
        said = any(
            one.disease == self.verdict and one.subject == self.decided_by for one in self.findings
        )
        found = [
            one
            for one in self.findings
            if one.disease in _EXPLAINS
            and not (said and one.disease == self.verdict and one.subject != self.decided_by)
        ]
        return tuple(
            sorted(
                found,
                key=lambda one: (
                    one.disease not in _FIRST,
                    one.disease not in _FIRST and one.subject != self.decided_by,
                    _EXPLAINS.index(one.disease),
                    one.subject != self.decided_by,
                ),
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists; non-finite floats as ``"nan"``, ``"inf"``, ``"-inf"``.

        Text of just that spelling in ``evidence``, ``coords`` or ``run`` comes back as the number.
        """
        encoded = _encode({"schema": SCHEMA, **asdict(self)})
        assert isinstance(encoded, dict)
        return encoded

    def to_json(self, indent: int | None = None) -> str:
        """Valid JSON in ASCII, also where a number is not finite. See ``from_json``.

        ASCII because any locale can print it, and because a file name may hold what UTF-8 cannot.
        """
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Diagnosis:
        """The diagnosis that ``to_json`` wrote; ValueError for a newer schema or other JSON."""
        try:
            data = json.loads(text)
        except RecursionError:
            raise ValueError("not a throughtime diagnosis: nested too deep") from None
        if not isinstance(data, dict) or "schema" not in data:
            raise ValueError("not a throughtime diagnosis: the JSON has no 'schema'")
        schema = data.pop("schema")
        if type(schema) is not int or not 1 <= schema <= SCHEMA:
            raise ValueError(
                f"diagnosis schema {plain(schema)[:40]}, and this version reads up to {SCHEMA}: "
                "upgrade throughtime"
            )
        try:
            return build(cls, data)
        except ValueError as error:
            raise ValueError(f"not a complete throughtime diagnosis: {error}") from None

    def __repr__(self) -> str:
        layers = ", ".join(layer.name for layer in self.layers)
        return plain(
            f"Diagnosis({self.verdict}, horizon {self.horizon} of {self.span}, "
            f"decided by {self.decided_by} of: {layers})"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        causes = self.causes
        first = [one for one in causes if one.disease in MISTAKES and one.sentence != self.sentence]
        said = [*(one.sentence for one in first[:1]), self.sentence]
        lines = [*self.head, f"{self.verdict.upper()}: {' '.join(said)}"]
        for layer in self.layers:
            at_least = "at least " if layer.reaches_end else ""
            horizon = "unknown" if layer.horizon is None else f"{at_least}{layer.horizon}"
            rate = "" if layer.rate is None else f", {layer.rate:+.4f} decades per step"
            check = _check_in_words(layer)
            lines.append(
                f"  {layer.name} ({layer.kind}): {layer.verdict}, horizon {horizon} of {layer.span}"
                f"{rate} ({check})"
            )
        others = [found for found in self.findings if found not in causes]
        more = [
            found
            for found in (*causes, *others)
            if not any(found.sentence in told for told in said)
        ]
        lines += [f"  {finding.disease}: {finding.sentence}" for finding in more]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(plain(line) for line in lines)


def _check_in_words(layer: LayerDiagnosis) -> str:
    if layer.checked_by and layer.kind == "inputs":
        return f"checked by {layer.checked_by.partition(' at lag')[0]}"
    if layer.checked_by and layer.kind == "marked":
        return "read from the autograd graph itself"
    if layer.verified == 0 and layer.checked_by:
        return "nothing to compare" if layer.verdict == "unknown" else "agrees exactly"
    if layer.verified is not None:
        return f"verified to {layer.verified:.0e}" if layer.checked_by else "check failed"
    if layer.checked_by:
        return "compared with autograd"
    return f"not verified: {layer.unverified_because}"


def _encode(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, dict):
        return {str(key): _encode(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_encode(inner) for inner in value]
    return value


def _tuples(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_tuples(inner) for inner in value)
    # One NaN for all: tuples compare by identity first, so that equal data compares equal.
    return math.nan if isinstance(value, float) and math.isnan(value) else value


def _shape(value: Any) -> tuple[int, ...]:
    if hasattr(value, "shape"):
        return tuple(value.shape)
    return (len(value), *_shape(value[0])) if isinstance(value, tuple) and value else ()
