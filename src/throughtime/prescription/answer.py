"""What ``prescribe`` answers, as plain data: readings, options, a prescription. To JSON and back.

Nothing here needs the model.
"""

from __future__ import annotations

import html
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from throughtime.errors import plain
from throughtime.findings import Diagnosis, Verdict
from throughtime.runs import plain_json
from throughtime.typed import build

SCHEMA = 1


@dataclass(frozen=True)
class Reading:
    """How far back a gradient reaches, of the layer or stack that decides.

    Attributes:
        verdict: healthy, vanishing, exploding or non-finite, as in a ``Diagnosis``.
        horizon: the largest lag, in steps, with a gain of at least 1 %; None if nothing was finite.
        reaches_end: the horizon is as long as what was captured: read it as "at least".
        gain_at_span: log10 of the median gain at the span; None if nothing was finite.
        rate: slope of log10 gain, in decades per step; None if it has no slope.
    """

    verdict: Verdict
    horizon: int | None
    reaches_end: bool
    gain_at_span: float | None
    rate: float | None


BROKEN = Reading("non-finite", None, False, None, None)


@dataclass(frozen=True)
class Option:
    """What one remedy, or several together, did to a copy of the model.

    Attributes:
        name: as ``treated`` takes it: ``"chrono+clip"``; ``"none"`` is the untreated copy.
        first: how far the gradient reached before any update.
        later: ... and after some; None where the copy diverged, or made none.
        loss: on the captured batch after these updates; None as above.
        seconds: that the quickest update took, on this machine and at this moment.
        cost: the same as a multiple of the untreated copy's.
        sentence: what it does, in one line.
        paper: whose it is.
        code: the lines to paste.
        note: what it does not do; often empty.
    """

    name: str
    first: Reading
    later: Reading | None
    loss: float | None
    seconds: float
    cost: float
    sentence: str = ""
    paper: str = ""
    code: str = ""
    note: str = ""

    @property
    def reading(self) -> Reading:
        """The reading to judge by: the later one, where there is one."""
        return self.later or self.first

    @property
    def verdict(self) -> Verdict:
        """Of ``reading``."""
        return self.reading.verdict

    @property
    def horizon(self) -> int | None:
        """Of ``reading``, in steps."""
        return self.reading.horizon

    @property
    def gain_at_span(self) -> float | None:
        """Of ``reading``, as log10."""
        return self.reading.gain_at_span

    @property
    def rate(self) -> float | None:
        """Of ``reading``, in decades per step."""
        return self.reading.rate


@dataclass(frozen=True)
class Refused:
    """A remedy that does not fit this model, and why."""

    name: str
    reason: str


@dataclass(frozen=True, repr=False)
class Prescription:
    """The remedies for what was found, the best first.

    Attributes:
        before: the diagnosis of the untreated model.
        span: how many steps back the task needs to see.
        sentence: what it comes to.
        untreated: the untreated copy, measured as the options were; None where nothing is wrong.
        options: what was tried, the best first.
        refused: what does not fit this model.
        updates: how many updates each copy made between its two readings.
        left_out: what would have been tried next, had there been more time.
        notes: what a reader must know beside it, those of the diagnosis among them.
    """

    before: Diagnosis
    span: int
    sentence: str
    untreated: Option | None = None
    options: tuple[Option, ...] = ()
    refused: tuple[Refused, ...] = ()
    updates: int = 0
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether nothing was found that a remedy is for."""
        return self.untreated is None and str(self.before.verdict) != "unknown"

    @property
    def found(self) -> tuple[str, ...]:
        """What the diagnosis found beside its verdict, a sentence each."""
        sentences = (finding.sentence for finding in self.before.findings)
        more = [sentence for sentence in sentences if sentence != self.before.sentence]
        return tuple(dict.fromkeys(more))

    @property
    def refusals(self) -> tuple[tuple[str, str], ...]:
        """Names of remedies, and why they do not fit: each reason once."""
        names: dict[str, list[str]] = {}
        for one in self.refused:
            names.setdefault(one.reason, []).append(one.name)
        return tuple((", ".join(found), reason) for reason, found in names.items())

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        own |= {
            "before": self.before.to_dict(),
            "untreated": None if self.untreated is None else asdict(self.untreated),
            "options": [asdict(option) for option in self.options],
            "refused": [asdict(one) for one in self.refused],
        }
        return {"schema": SCHEMA, **own}

    def to_json(self, indent: int | None = None) -> str:
        """Valid JSON in ASCII, also where a number is not finite. See ``from_json``."""
        return plain_json.to_json(self.to_dict(), "a prescription", indent)

    @classmethod
    def from_json(cls, text: str) -> Prescription:
        """The prescription that ``to_json`` wrote; ValueError for a newer schema or other JSON."""
        data = plain_json.from_json(text)
        schema = data.pop("schema", None)
        if type(schema) is not int or not 1 <= schema <= SCHEMA:
            raise ValueError(
                f"prescription schema {plain(schema)[:40]}, and this version reads up to {SCHEMA}: "
                "upgrade throughtime"
            )
        try:
            Diagnosis.from_json(json.dumps(data.get("before")))  # of a schema that is known
            return build(cls, data)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not a complete throughtime prescription: {error}") from None

    def __repr__(self) -> str:
        names = ", ".join(option.name for option in self.options) or "none"
        return plain(f"Prescription({self.before.verdict}, span {self.span}, options: {names})")

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        lines = [f"{self.before.verdict.upper()}: {self.before.sentence}"]
        lines += [f"  found: {sentence}" for sentence in self.found]
        lines.append(self.sentence)
        measured = [] if self.untreated is None else [self.untreated]
        for place, option in enumerate((*measured, *self.options)):
            lines.append(f"  {place or '-'} {option.name}: {_measured(option, self.span)}")
            lines += [f"      {line}" for line in option.code.splitlines()]
        lines += [f"  does not fit: {names}: {reason}" for names, reason in self.refusals]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(plain(line) for line in lines)


def _measured(option: Option, span: int) -> str:
    reading = option.reading
    horizon = "unknown" if reading.horizon is None else f"{reading.horizon}"
    at_least = "at least " if reading.reaches_end else ""
    gain = "" if reading.gain_at_span is None else f", gain there 10^{reading.gain_at_span:.1f}"
    loss = "diverged" if option.loss is None else f"loss {option.loss:.3g}"
    return (
        f"{reading.verdict}, horizon {at_least}{horizon} of {span}{gain}, {loss}, "
        f"{option.cost:.1f} times the time"
    )
